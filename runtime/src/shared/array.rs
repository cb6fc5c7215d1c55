//! [`Array`]: cells of numbers that several processes change.

use crate::error::{Error, ErrorKind, Result};
use crate::os::map::Map;
use crate::os::memfd;
use crate::wire::attach::{self, Attached};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::fmt;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64};

use super::known::Known;
use super::not_made;

static MAPPED: Known<Memory> = Known::new();

/// Cells of numbers in memory that processes share and change: what one stores, the others load.
///
/// Each cell is an atomic, and all operations on all cells are seen in one order by all processes (they are
/// [`SeqCst`](std::sync::atomic::Ordering::SeqCst)). A death leaves each cell with the value before or after an operation.
/// Clones share the cells, and so does what is sent; the memory is gone with the last of them (it stays
/// mapped where it was received as a [`SharedSlice`](crate::SharedSlice) does). An index beyond the end
/// panics, as that of a slice does.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn count(hits: Array<u64>, times: usize) {
///     for n in 0..times {
///         hits.fetch_add(n % 2, 1);
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let hits = Array::<u64>::zeroed(2)?;
/// Pool::new(2).await?.map(count, [(hits.clone(), 1000), (hits.clone(), 500)]).await?;
/// assert_eq!(hits.to_vec(), [750, 750]);
/// # Ok(())
/// # }
/// ```
///
/// The cells are `u8` to `u64`, `i8` to `i64`, `usize`, `isize`, `bool`, `f32` or `f64`.
pub struct Array<T: Cell> {
    /// None where there are no cells.
    memory: Option<Arc<Memory>>,
    len: usize,
    cells: PhantomData<fn() -> T>,
}

/// Mapped cells, and the descriptor by which they travel.
#[derive(Debug)]
struct Memory {
    map: Map,
    fd: Arc<OwnedFd>,
}

/// What a cell of an [`Array`] can hold: the integers of up to 64 bits, `bool`, `f32` and `f64`.
#[diagnostic::on_unimplemented(
    message = "a cell of an `Array` cannot hold a `{Self}`",
    label = "not one of `u8` to `u64`, `i8` to `i64`, `usize`, `isize`, `bool`, `f32`, `f64`",
    note = "what is written once and then only read may be of more types in a `SharedSlice`"
)]
pub trait Cell: Copy + Send + Sync + 'static + sealed::Bits {}

/// A [`Cell`] that can be added to.
#[diagnostic::on_unimplemented(
    message = "a cell of `{Self}` cannot be added to in one step",
    label = "only cells of integers can",
    note = "use `compare_exchange` in a loop"
)]
pub trait Number: Cell + sealed::Add {}

mod sealed {
    use crate::os::map::Atomic;

    /// A value as the bits of an atomic integer.
    pub trait Bits: Sized {
        type Atomic: Atomic;
        fn load(cell: &Self::Atomic) -> Self;
        fn store(cell: &Self::Atomic, value: Self);
        fn swap(cell: &Self::Atomic, value: Self) -> Self;
        fn compare_exchange(cell: &Self::Atomic, current: Self, new: Self) -> Result<Self, Self>;
    }

    pub trait Add: Bits {
        fn add(cell: &Self::Atomic, value: Self) -> Self;
        fn sub(cell: &Self::Atomic, value: Self) -> Self;
    }
}

impl<T: Cell> Array<T> {
    /// `len` cells that hold zero.
    ///
    /// # Errors
    ///
    /// [`Io`](ErrorKind::Io) where there is not enough memory, or the kernel makes none that can be shared.
    pub fn zeroed(len: usize) -> Result<Self> {
        let size = size_of_cells::<T>(len).ok_or_else(|| {
            let what = format_args!("an array of {len} cells is more than can be addressed");
            Error::with_kind(ErrorKind::TooLarge, what)
        })?;
        let memory = (len > 0).then(|| reserve(size)).transpose();
        Ok(Array {
            memory: memory.map_err(|error| not_made(size, &error))?,
            len,
            cells: PhantomData,
        })
    }

    /// What a cell holds now.
    #[track_caller]
    pub fn load(&self, index: usize) -> T {
        T::load(self.cell(index))
    }

    /// Stores a value into a cell.
    #[track_caller]
    pub fn store(&self, index: usize, value: T) {
        T::store(self.cell(index), value);
    }

    /// Stores a value, and gives the one before.
    #[track_caller]
    pub fn swap(&self, index: usize, value: T) -> T {
        T::swap(self.cell(index), value)
    }

    /// Stores `new` if the cell holds `current`, bit for bit. What it held: as `Ok` if that was `current`.
    ///
    /// # Errors
    ///
    /// What the cell holds, where that is another value; nothing is stored then.
    #[track_caller]
    pub fn compare_exchange(&self, index: usize, current: T, new: T) -> Result<T, T> {
        T::compare_exchange(self.cell(index), current, new)
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What each cell held when it was looked at, one after another: not all at one moment.
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.len).map(|index| self.load(index)).collect()
    }

    /// Adds to a cell, and gives what it held before. It wraps around where it overflows.
    #[track_caller]
    pub fn fetch_add(&self, index: usize, value: T) -> T
    where
        T: Number,
    {
        T::add(self.cell(index), value)
    }

    /// Subtracts from a cell, and gives what it held before. It wraps around where it overflows.
    #[track_caller]
    pub fn fetch_sub(&self, index: usize, value: T) -> T
    where
        T: Number,
    {
        T::sub(self.cell(index), value)
    }

    #[track_caller]
    fn cell(&self, index: usize) -> &T::Atomic {
        match &self.memory {
            Some(memory) if index < self.len => memory.map.at(index),
            _ => panic!(
                "index out of bounds: the len is {} but the index is {index}",
                self.len
            ),
        }
    }
}

/// Whole words, of which a mapping is made.
fn size_of_cells<T: Cell>(len: usize) -> Option<usize> {
    len.checked_mul(size_of::<T::Atomic>())?
        .checked_next_multiple_of(8)
}

fn reserve(size: usize) -> std::io::Result<Arc<Memory>> {
    let fd = Arc::new(memfd::reserved(c"procession-array", size)?);
    MAPPED.get(fd, |fd| map(fd, size))
}

fn map(fd: Arc<OwnedFd>, size: usize) -> std::io::Result<Memory> {
    let map = Map::shared(fd.as_fd(), size)?;
    Ok(Memory { map, fd })
}

/// How it travels: the number of cells, and the memory where there are any.
type Sent = (u64, Option<Attached>);

impl<T: Cell> Serialize for Array<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !attach::is_within() {
            return Err(ser::Error::custom(attach::OUTSIDE));
        }
        let fd = self.memory.as_ref().map(|memory| Attached(memory.fd.clone()));
        Sent::serialize(&(self.len as u64, fd), serializer)
    }
}

impl<'de, T: Cell> Deserialize<'de> for Array<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (len, fd) = Sent::deserialize(deserializer)?;
        let size = usize::try_from(len).ok().and_then(size_of_cells::<T>);
        let size = size.ok_or_else(|| de::Error::custom(format_args!("an array of {len} cells")))?;
        let memory = fd.map(|fd| received(fd.0, size)).transpose();
        let memory = memory.map_err(de::Error::custom)?;
        match memory.is_some() == (len > 0) {
            true => Ok(Array {
                memory,
                len: len as usize,
                cells: PhantomData,
            }),
            false => Err(de::Error::custom(format_args!(
                "an array of {len} cells in memory that is not theirs"
            ))),
        }
    }
}

/// Maps what a peer has sent, if it is as large as was announced and cannot shrink.
fn received(fd: Arc<OwnedFd>, size: usize) -> std::io::Result<Arc<Memory>> {
    let is = memfd::sealed_size(fd.as_fd())?;
    if is != size {
        let what = format!("an array of {is} bytes where {size} were announced");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, what));
    }
    MAPPED.receive(fd, size, |fd| map(fd, size))
}

fn as_it_is<T>(value: T) -> T {
    value
}

macro_rules! cells {
    ($($value:ty, $atomic:ty, $to:expr, $from:expr;)*) => {$(
        impl Cell for $value {}

        impl sealed::Bits for $value {
            type Atomic = $atomic;

            fn load(cell: &$atomic) -> Self {
                $from(cell.load(SeqCst))
            }

            fn store(cell: &$atomic, value: Self) {
                cell.store($to(value), SeqCst);
            }

            fn swap(cell: &$atomic, value: Self) -> Self {
                $from(cell.swap($to(value), SeqCst))
            }

            fn compare_exchange(cell: &$atomic, current: Self, new: Self) -> Result<Self, Self> {
                cell.compare_exchange($to(current), $to(new), SeqCst, SeqCst).map($from).map_err($from)
            }
        }
    )*};
}

macro_rules! integers {
    ($($value:ty, $atomic:ty, $to:expr, $from:expr;)*) => {
        cells! { $($value, $atomic, $to, $from;)* }

        $(
            impl Number for $value {}

            impl sealed::Add for $value {
                fn add(cell: &$atomic, value: Self) -> Self {
                    $from(cell.fetch_add($to(value), SeqCst))
                }

                fn sub(cell: &$atomic, value: Self) -> Self {
                    $from(cell.fetch_sub($to(value), SeqCst))
                }
            }
        )*
    };
}

integers! {
    u8, AtomicU8, as_it_is, as_it_is;
    u16, AtomicU16, as_it_is, as_it_is;
    u32, AtomicU32, as_it_is, as_it_is;
    u64, AtomicU64, as_it_is, as_it_is;
    i8, AtomicU8, i8::cast_unsigned, u8::cast_signed;
    i16, AtomicU16, i16::cast_unsigned, u16::cast_signed;
    i32, AtomicU32, i32::cast_unsigned, u32::cast_signed;
    i64, AtomicU64, i64::cast_unsigned, u64::cast_signed;
    usize, AtomicU64, |value: usize| value as u64, |bits: u64| bits as usize;
    isize, AtomicU64, |value: isize| value as u64, |bits: u64| bits as isize;
}

// A peer may store any byte: all but 0 are true.
cells! {
    bool, AtomicU8, u8::from, |bits: u8| bits != 0;
    f32, AtomicU32, f32::to_bits, f32::from_bits;
    f64, AtomicU64, f64::to_bits, f64::from_bits;
}

impl<T: Cell> Clone for Array<T> {
    fn clone(&self) -> Self {
        Array {
            memory: self.memory.clone(),
            len: self.len,
            cells: PhantomData,
        }
    }
}

impl<T: Cell + fmt::Debug> fmt::Debug for Array<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.to_vec()).finish()
    }
}

#[cfg(test)]
mod tests;
