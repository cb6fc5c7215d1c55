//! [`SharedSlice`]: a slice that several processes read in place.

use crate::error::{Error, ErrorKind, Result};
use crate::os::sealed::{Draft, Sealed};
use crate::wire::attach::{self, Attached};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::known::Known;
use super::not_made;
use super::plain::Plain;

/// Up to so many bytes travel as they are: a copy takes a fraction of the time of a descriptor, also of one that is known.
pub(super) const INLINE: usize = 32 << 10;

static SEALED: Known<Sealed> = Known::new();

/// An immutable slice in memory that processes share: made once, then sent at the price of a descriptor, whatever its size.
///
/// It derefs to `[T]`, and is read in place: nothing is copied, neither by whoever sends it nor by whoever receives it. That
/// is sound since the memory was sealed: no process can write, shrink or grow it any more. Clones share the memory; it is
/// gone with the last of them, in whatever process. A few numbers (up to 32 KiB) travel as a copy.
///
/// Who receives one has it mapped for a tenth of a second longer than it is held (64 MiB of such memory at most), so that
/// the next message with the same finds it there.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn sum(numbers: SharedSlice<f64>, from: usize, to: usize) -> f64 {
///     numbers[from..to].iter().sum()
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let numbers = SharedSlice::from_exact_iter((0..1_000_000).map(f64::from))?;
/// let halves = [(0, 500_000), (500_000, 1_000_000)].map(|(from, to)| (numbers.clone(), from, to));
/// let total: f64 = Pool::new(2).await?.map(sum, halves).await?.iter().sum();
/// assert_eq!(total, 499_999_500_000.0);
/// # Ok(())
/// # }
/// ```
///
/// `T` is [`Plain`]: nothing but its bytes.
///
/// # Errors
///
/// Memory is reserved when a slice is made: where there is not enough of it, or the kernel makes no anonymous memory or
/// does not seal it, that is an error of kind [`Io`](ErrorKind::Io), and no signal later.
///
/// ```
/// use procession::prelude::*;
///
/// let error = SharedSlice::<u64>::with(1 << 50, |_| ()).unwrap_err();
/// assert!(error.to_string().contains("no shared memory"), "{error}");
/// ```
pub struct SharedSlice<T: Plain>(Memory<T>);

pub(super) enum Memory<T> {
    Inline(Arc<[T]>),
    Sealed(Arc<Sealed>),
}

impl<T: Plain> SharedSlice<T> {
    /// A copy of `items`.
    ///
    /// # Errors
    ///
    /// See [above](SharedSlice#errors).
    pub fn from_slice(items: &[T]) -> Result<Self> {
        if size_of_val(items) <= INLINE {
            return Ok(SharedSlice(Memory::Inline(items.into())));
        }
        let draft = draft::<T>(items.len())?;
        let sealed = draft
            .write(bytemuck::cast_slice(items))
            .and_then(|()| seal(draft));
        let memory = sealed.map_err(|error| not_made(size_of_val(items), &error))?;
        Ok(SharedSlice(Memory::Sealed(memory)))
    }

    /// What an iterator gives that knows how much that is, written where it will be read.
    ///
    /// # Errors
    ///
    /// See [above](SharedSlice#errors); [`Invalid`](ErrorKind::Invalid) if it gave more or less than it said.
    pub fn from_exact_iter<I>(items: I) -> Result<Self>
    where
        I: IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
    {
        let mut items = items.into_iter();
        let len = items.len();
        let mut n_written = 0;
        let slice = Self::with(len, |room| {
            for (place, item) in room.iter_mut().zip(&mut items) {
                *place = item;
                n_written += 1;
            }
        })?;
        match n_written == len && items.next().is_none() {
            true => Ok(slice),
            false => Err(Error::with_kind(
                ErrorKind::Invalid,
                format_args!("an iterator gave more or less than the {len} items that it announced"),
            )),
        }
    }

    /// `len` items that `fill` writes, where they will be read. Before that they are zero.
    ///
    /// ```
    /// use procession::prelude::*;
    ///
    /// let squares = SharedSlice::with(10_000, |room| {
    ///     for (n, place) in room.iter_mut().enumerate() {
    ///         *place = n * n;
    ///     }
    /// })?;
    /// assert_eq!(squares[9_999], 99_980_001);
    /// # Ok::<(), procession::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [above](SharedSlice#errors).
    pub fn with(len: usize, fill: impl FnOnce(&mut [T])) -> Result<Self> {
        if len.saturating_mul(size_of::<T>()) <= INLINE {
            let mut items = vec![T::zeroed(); len];
            fill(&mut items);
            return Ok(SharedSlice(Memory::Inline(items.into())));
        }
        let mut draft = draft::<T>(len)?;
        let filled = draft.fill(|bytes| fill(bytemuck::cast_slice_mut(bytes)));
        let sealed = filled.and_then(|()| seal(draft));
        let memory = sealed.map_err(|error| not_made(len.saturating_mul(size_of::<T>()), &error))?;
        Ok(SharedSlice(Memory::Sealed(memory)))
    }

    pub(super) fn of(memory: Memory<T>) -> Self {
        SharedSlice(memory)
    }

    pub(super) fn memory(&self) -> &Memory<T> {
        &self.0
    }

    /// The items.
    pub fn as_slice(&self) -> &[T] {
        match &self.0 {
            Memory::Inline(items) => items,
            Memory::Sealed(memory) => bytemuck::cast_slice(memory.bytes()),
        }
    }
}

fn draft<T: Plain>(len: usize) -> Result<Draft> {
    const { assert!(size_of::<T>() > 0, "items without a size need no shared memory") };
    let size = len.saturating_mul(size_of::<T>());
    Draft::new(size).map_err(|error| not_made(size, &error))
}

/// Sealed memory, in the table of what this process has.
fn seal(draft: Draft) -> std::io::Result<Arc<Sealed>> {
    let sealed = draft.seal()?;
    SEALED.get(sealed.fd().clone(), |_| Ok(sealed))
}

/// How it travels.
#[derive(Serialize, Deserialize)]
enum Sent {
    Inline(Bytes),
    /// The memory, and its size in bytes.
    Sealed(Attached, u64),
}

impl<T: Plain> Serialize for SharedSlice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !attach::is_within() {
            return Err(ser::Error::custom(attach::OUTSIDE));
        }
        let sent = match &self.0 {
            Memory::Inline(items) => Sent::Inline(Bytes::copy_from_slice(bytemuck::cast_slice(items))),
            Memory::Sealed(memory) => {
                Sent::Sealed(Attached(memory.fd().clone()), memory.bytes().len() as u64)
            }
        };
        sent.serialize(serializer)
    }
}

impl<'de, T: Plain> Deserialize<'de> for SharedSlice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Sent::deserialize(deserializer)? {
            Sent::Inline(bytes) => {
                is_whole::<T, D::Error>(bytes.len())?;
                let mut items = vec![T::zeroed(); bytes.len() / size_of::<T>()];
                bytemuck::cast_slice_mut(&mut items).copy_from_slice(&bytes);
                Ok(SharedSlice(Memory::Inline(items.into())))
            }
            Sent::Sealed(Attached(fd), len) => {
                let len = usize::try_from(len).map_err(de::Error::custom)?;
                is_whole::<T, D::Error>(len)?;
                let memory = SEALED
                    .receive(fd, len, |fd| Sealed::open(fd, len))
                    .map_err(de::Error::custom)?;
                match memory.bytes().len() == len {
                    true => Ok(SharedSlice(Memory::Sealed(memory))),
                    false => Err(de::Error::custom(format_args!(
                        "shared memory of {} bytes where {len} were announced",
                        memory.bytes().len()
                    ))),
                }
            }
        }
    }
}

fn is_whole<T, E: de::Error>(n_bytes: usize) -> Result<(), E> {
    match n_bytes.checked_rem(size_of::<T>()) {
        Some(0) => Ok(()),
        _ => Err(E::custom(format_args!(
            "{n_bytes} bytes are no number of items of {} bytes",
            size_of::<T>()
        ))),
    }
}

impl<T: Plain> Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Plain> AsRef<[T]> for SharedSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T: Plain> TryFrom<&[T]> for SharedSlice<T> {
    type Error = Error;

    fn try_from(items: &[T]) -> Result<Self> {
        Self::from_slice(items)
    }
}

impl<T: Plain> TryFrom<Vec<T>> for SharedSlice<T> {
    type Error = Error;

    fn try_from(items: Vec<T>) -> Result<Self> {
        Self::from_slice(&items)
    }
}

impl<'a, T: Plain> IntoIterator for &'a SharedSlice<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Plain> Clone for SharedSlice<T> {
    fn clone(&self) -> Self {
        SharedSlice(match &self.0 {
            Memory::Inline(items) => Memory::Inline(items.clone()),
            Memory::Sealed(memory) => Memory::Sealed(memory.clone()),
        })
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for SharedSlice<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Plain + PartialEq> PartialEq for SharedSlice<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Plain + Eq> Eq for SharedSlice<T> {}

impl<T: Plain + PartialOrd> PartialOrd for SharedSlice<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (**self).partial_cmp(&**other)
    }
}

impl<T: Plain + Ord> Ord for SharedSlice<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl<T: Plain + Hash> Hash for SharedSlice<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

#[cfg(test)]
mod tests;
