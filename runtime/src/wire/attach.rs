//! What travels beside the bytes of a message: descriptors.
//!
//! A value that holds a descriptor encodes it as a number: its place among those that go with the message. While a
//! message is encoded, [`collect`] takes the descriptors in; while one is decoded, [`provide`] gives each of them to
//! the one value that names its place.
//!
//! **Promised.** What was collected for a message that failed to encode is closed, but for what its owner holds of it. What
//! came with a message and no value has taken when it is decoded is closed. Messages may nest: a value that sends one
//! while it is encoded itself does not mix up the two.
//!
//! **Refused.** Outside a message a descriptor is neither encoded nor decoded, by whatever format. A place that the message
//! does not have, or that was taken already, is an error.

use crate::error::{Error, ErrorKind, Result};
use crate::os::memory;
use crate::os::socket::MAX_DESCRIPTORS;
use crate::wire::codec;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::vec;

use super::behind::{self, Blocks};
use super::encoded::Encoded;

/// Descriptors of a message. Whoever sends keeps what it shares, so that nothing is duplicated to be sent, or sent again.
///
/// Most messages have none: it is as small as can be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Descriptors(Option<Box<Lot>>);

type Lot = Vec<Arc<OwnedFd>>;

/// An encoded message, or a part of one: bytes, and the descriptors that the values in them name by their places.
///
/// Within another message it takes its descriptors along.
#[derive(Debug, Clone, Default)]
pub struct Payload {
    pub(crate) bytes: Encoded,
    /// Blocks that follow the bytes.
    pub(crate) behind: Blocks,
    pub(crate) fds: Descriptors,
}

/// A descriptor as a value: what everything that holds one is encoded as.
#[derive(Debug, Clone)]
pub(crate) struct Attached(pub(crate) Arc<OwnedFd>);

/// Why there is no descriptor at a place.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error("{OUTSIDE}")]
    Outside,
    #[error("descriptor {0} is named twice")]
    Taken(u32),
    #[error("descriptor {0} did not come: this process may be at its limit of open files, `ulimit -n`")]
    All(u32),
    #[error("descriptor {0} of a message that came with {1}")]
    Beyond(u32, u32),
}

/// Outside a message.
const NOWHERE: u32 = u32::MAX;

// Counts beside the descriptors, since most messages have none and are made of many small values.
thread_local! {
    /// How many descriptors the message that is encoded has, kept or not.
    static N_LEAVING: Cell<u32> = const { Cell::new(NOWHERE) };
    /// Those that are kept, behind those of the messages around it.
    static LEAVING: RefCell<Lot> = const { RefCell::new(Vec::new()) };
    /// How many descriptors came with the message that is decoded.
    static N_COME: Cell<u32> = const { Cell::new(NOWHERE) };
    /// Those that no value has taken, by their places, where there were any.
    static COME: RefCell<Vec<Option<Arc<OwnedFd>>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a message is being encoded on this thread.
pub(crate) fn is_collecting() -> bool {
    N_LEAVING.get() != NOWHERE
}

/// Runs `encode`, and gives the descriptors that it attached.
#[inline]
pub(crate) fn collect<T>(encode: impl FnOnce() -> Result<T>) -> Result<(T, Descriptors)> {
    let collecting = Collecting {
        outer: N_LEAVING.replace(0),
    };
    let encoded = encode();
    let fds = match N_LEAVING.get() {
        0 => Ok(Descriptors::new()),
        count => collected(count),
    };
    drop(collecting);
    Ok((encoded?, fds?))
}

/// Runs `encode`, and adds the descriptors that it attached to `fds`.
#[inline]
pub(crate) fn collect_into(fds: &mut Descriptors, encode: impl FnOnce() -> Result<()>) -> Result<()> {
    let collecting = Collecting {
        outer: N_LEAVING.replace(0),
    };
    let encoded = encode();
    let collected = match N_LEAVING.get() {
        0 => Ok(()),
        count => collected(count).map(|new| fds.extend(new)),
    };
    drop(collecting);
    encoded.and(collected)
}

/// A message that is encoded. The one around it goes on when this is dropped.
struct Collecting {
    outer: u32,
}

impl Drop for Collecting {
    #[inline]
    fn drop(&mut self) {
        // None are left but where encoding panicked.
        match N_LEAVING.replace(self.outer) {
            0 => {}
            count => drop(take(count)),
        }
    }
}

#[cold]
fn collected(count: u32) -> Result<Descriptors> {
    N_LEAVING.set(0);
    let fds = take(count);
    match count as usize > MAX_DESCRIPTORS {
        true => Err(Error::with_kind(
            ErrorKind::TooLarge,
            format_args!(
                "a message carries {count} descriptors, and at most {MAX_DESCRIPTORS} can go with one"
            ),
        )),
        false => Ok(fds),
    }
}

/// Takes those that are kept of the last `count`.
#[cold]
fn take(count: u32) -> Descriptors {
    let n_kept = MAX_DESCRIPTORS.min(count as usize);
    LEAVING
        .with_borrow_mut(|all| all.split_off(all.len().saturating_sub(n_kept)))
        .into()
}

/// Runs `decode`, whose values may take `fds`; gives back those that none has taken.
pub(crate) fn provide<T>(fds: Descriptors, decode: impl FnOnce() -> T) -> (T, Descriptors) {
    let _providing = Providing {
        outer: N_COME.replace(fds.len() as u32),
    };
    let around = Around(COME.replace(fds.into_iter().map(Some).collect()));
    let decoded = decode();
    let left = COME.take();
    drop(around);
    (decoded, left.into_iter().flatten().collect())
}

/// The same where there are none.
#[inline]
pub(crate) fn provide_none<T>(decode: impl FnOnce() -> T) -> T {
    let _providing = Providing {
        outer: N_COME.replace(0),
    };
    decode()
}

/// A message that is decoded. The one around it goes on when this is dropped.
struct Providing {
    outer: u32,
}

impl Drop for Providing {
    #[inline]
    fn drop(&mut self) {
        N_COME.set(self.outer);
    }
}

/// What came with the message around the one that is decoded.
struct Around(Vec<Option<Arc<OwnedFd>>>);

impl Drop for Around {
    fn drop(&mut self) {
        COME.set(std::mem::take(&mut self.0));
    }
}

/// Whether a message is encoded: what holds a descriptor at times, and at times does not, travels in no other way.
pub(crate) fn is_within() -> bool {
    N_LEAVING.get() != NOWHERE
}

/// Takes the descriptor at this place of the message that is decoded.
fn detach(place: u32) -> Result<Arc<OwnedFd>, Missing> {
    match N_COME.get() {
        NOWHERE => return Err(Missing::Outside),
        0 => return Err(Missing::All(place)),
        count if place >= count => return Err(Missing::Beyond(place, count)),
        _ => {}
    }
    let taken = COME.with_borrow_mut(|come| come.get_mut(place as usize).and_then(Option::take));
    taken.ok_or(Missing::Taken(place))
}

/// A message of at most this size shares its memory with others that were encoded about the same time.
const SMALL: usize = 512;

/// How much memory they share.
const SHARED: usize = 16 << 10;

/// A buffer that grew larger than this is not kept for the next message.
const KEPT: usize = 64 << 10;

/// How many such memories a thread keeps, to be used again when the messages in them are gone.
const CHUNKS: usize = 8;

/// The buffer that messages of this thread are encoded into, one at a time; a message within another gets a fresh one.
struct Scratch(Vec<u8>);

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SMALL_ONES: RefCell<SmallOnes> = RefCell::default();
}

/// Where small messages are.
#[derive(Default)]
struct SmallOnes {
    /// For the next.
    next: BytesMut,
    /// Those that are full, the oldest first.
    full: VecDeque<BytesMut>,
}

impl SmallOnes {
    fn copy(&mut self, message: &[u8]) -> Bytes {
        if self.next.capacity() < message.len() && !self.next.try_reclaim(SHARED) {
            self.turn_over();
        }
        self.next.extend_from_slice(message);
        self.next.split().freeze()
    }

    #[cold]
    fn turn_over(&mut self) {
        let free = self
            .full
            .front_mut()
            .is_some_and(|oldest| oldest.try_reclaim(SHARED));
        let next = if free { self.full.pop_front() } else { None };
        let next = next.unwrap_or_else(|| BytesMut::with_capacity(SHARED));
        self.full.push_back(std::mem::replace(&mut self.next, next));
        if self.full.len() > CHUNKS {
            self.full.pop_front();
        }
    }
}

impl Scratch {
    fn take() -> Self {
        Scratch(SCRATCH.take())
    }

    /// What was encoded: small messages are copied, and cost no allocation of their own.
    fn bytes(mut self) -> Encoded {
        if self.0.len() > SMALL {
            return std::mem::take(&mut self.0).into();
        }
        let few = Encoded::few(&self.0);
        few.unwrap_or_else(|| SMALL_ONES.with_borrow_mut(|small| small.copy(&self.0)).into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a large one that failed has left is not kept.
        if self.0.capacity() <= KEPT {
            self.0.clear();
            SCRATCH.set(std::mem::take(&mut self.0));
        }
    }
}

impl Payload {
    /// What `encode` writes and attaches.
    pub(crate) fn encode(encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Payload> {
        let mut scratch = Scratch::take();
        let ((), fds) = collect(|| encode(&mut scratch.0))?;
        Ok(Payload::new(scratch.bytes(), fds))
    }

    /// The same for what goes over a link as it is: large blocks are not copied.
    pub(crate) fn encode_apart(encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<Payload> {
        let mut scratch = Scratch::take();
        let (((), behind), fds) = collect(|| behind::collect(&mut scratch.0, encode))?;
        Ok(Payload {
            bytes: scratch.bytes(),
            behind,
            fds,
        })
    }

    pub(crate) fn new(bytes: impl Into<Encoded>, fds: impl Into<Descriptors>) -> Payload {
        Payload {
            bytes: bytes.into(),
            behind: None,
            fds: fds.into(),
        }
    }

    /// A message of one value.
    pub(crate) fn pack<T: Serialize>(value: &T) -> Result<Payload> {
        let (bytes, fds) = collect(|| codec::pack(value))?;
        Ok(Payload::new(bytes, fds))
    }

    /// The value that the whole of it is, and the descriptors that are beside that.
    pub(crate) fn unpack<T: de::DeserializeOwned>(self) -> Result<(T, Descriptors)> {
        let Payload { bytes, fds, .. } = self.together()?;
        let (value, left) = provide(fds, || codec::decode(&bytes));
        Ok((value?, left))
    }

    /// What `decode` reads, which must be all of it; descriptors that it does not take are closed.
    pub(crate) fn decode<T>(self, decode: impl FnOnce(&mut &[u8]) -> Result<T>) -> Result<T> {
        let Payload { bytes, behind, fds } = self;
        behind::provide(&bytes, behind, |bytes| {
            let decode = || whole(bytes, decode);
            match fds.is_empty() {
                true => provide_none(decode),
                false => provide(fds, decode).0,
            }
        })
    }

    /// The same of one that lies where it is, and need not be moved out of there unless something goes with it.
    #[inline]
    pub(crate) fn decode_here<T>(&mut self, decode: impl FnOnce(&mut &[u8]) -> Result<T>) -> Result<T> {
        match self.fds.is_empty() && self.behind.is_none() {
            true => behind::provide(&self.bytes, None, |bytes| provide_none(|| whole(bytes, decode))),
            false => std::mem::take(self).decode(decode),
        }
    }

    /// As it arrived.
    pub(crate) fn received(bytes: Encoded, fds: Vec<OwnedFd>) -> Payload {
        let fds = match fds.is_empty() {
            true => Descriptors::default(),
            false => fds.into_iter().map(Arc::new).collect(),
        };
        Payload::new(bytes, fds)
    }

    pub(crate) fn len(&self) -> usize {
        let behind = self.behind.iter().flatten().map(|block| block.len());
        self.bytes.len() + behind.sum::<usize>()
    }

    /// As it will be when it has arrived: all bytes in one place.
    fn together(self) -> Result<Payload> {
        let Some(behind) = &self.behind else {
            return Ok(self);
        };
        let behind = behind.iter().map(|block| &block[..]);
        let parts = std::iter::once(&self.bytes[..]).chain(behind);
        let mut all = memory::try_vec(self.len()).map_err(|_| Error::unheld_here(self.len()))?;
        parts.for_each(|part| all.extend_from_slice(part));
        Ok(Payload::new(all, self.fds))
    }
}

/// What `decode` reads, unless it leaves something over.
#[inline]
pub(crate) fn whole<T>(bytes: &mut &[u8], decode: impl FnOnce(&mut &[u8]) -> Result<T>) -> Result<T> {
    let value = decode(bytes)?;
    match bytes.len() {
        0 => Ok(value),
        n => Err(left_over(n)),
    }
}

#[cold]
fn left_over(n: usize) -> Error {
    Error::with_kind(
        ErrorKind::Codec,
        format_args!("{n} bytes are left over at the end of a message"),
    )
}

impl<T: Into<Encoded>> From<T> for Payload {
    fn from(bytes: T) -> Self {
        Payload::new(bytes, Descriptors::default())
    }
}

impl Descriptors {
    pub(crate) const fn new() -> Self {
        Descriptors(None)
    }

    fn lot(&mut self) -> &mut Lot {
        self.0.get_or_insert_default()
    }

    pub(crate) fn truncate(&mut self, n: usize) {
        if let Some(lot) = &mut self.0 {
            lot.truncate(n);
        }
    }

    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        self.lot().split_off(at).into()
    }

    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }
}

impl Deref for Descriptors {
    type Target = [Arc<OwnedFd>];

    #[inline]
    fn deref(&self) -> &[Arc<OwnedFd>] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl From<Vec<Arc<OwnedFd>>> for Descriptors {
    fn from(fds: Vec<Arc<OwnedFd>>) -> Self {
        Descriptors((!fds.is_empty()).then(|| Box::new(fds)))
    }
}

impl FromIterator<Arc<OwnedFd>> for Descriptors {
    fn from_iter<I: IntoIterator<Item = Arc<OwnedFd>>>(fds: I) -> Self {
        Vec::from_iter(fds).into()
    }
}

impl Extend<Arc<OwnedFd>> for Descriptors {
    fn extend<I: IntoIterator<Item = Arc<OwnedFd>>>(&mut self, fds: I) {
        let mut fds = fds.into_iter().peekable();
        if fds.peek().is_some() {
            self.lot().extend(fds);
        }
    }
}

impl IntoIterator for Descriptors {
    type Item = Arc<OwnedFd>;
    type IntoIter = vec::IntoIter<Arc<OwnedFd>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.map_or_else(Vec::new, |lot| *lot).into_iter()
    }
}

impl Attached {
    /// The descriptor, to be owned: it is its only owner where no copy of the message is kept.
    pub(crate) fn into_owned(self) -> std::io::Result<OwnedFd> {
        Arc::try_unwrap(self.0).or_else(|shared| shared.try_clone())
    }
}

impl Serialize for Attached {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let place = N_LEAVING.get();
        if place == NOWHERE {
            return Err(ser::Error::custom(OUTSIDE));
        }
        if (place as usize) < MAX_DESCRIPTORS {
            LEAVING.with_borrow_mut(|all| all.push(self.0.clone()));
        }
        N_LEAVING.set(place + 1);
        serializer.serialize_u32(place)
    }
}

impl<'de> Deserialize<'de> for Attached {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fd = detach(u32::deserialize(deserializer)?).map_err(de::Error::custom)?;
        Ok(Attached(fd))
    }
}

pub(crate) const OUTSIDE: &str = "a descriptor travels only inside a message of procession";

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fds: Vec<Attached> = self.fds.iter().cloned().map(Attached).collect();
        match self.behind {
            None => (&self.bytes, fds).serialize(serializer),
            Some(_) => {
                let whole = self.clone().together().map_err(ser::Error::custom)?;
                (&whole.bytes, fds).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, places) = <(Bytes, Vec<u32>)>::deserialize(deserializer)?;
        if N_COME.get() == 0 {
            // They may have been lost on their way: whoever decodes it will miss them, and the rest is not lost too.
            return Ok(bytes.into());
        }
        let fds: Result<Descriptors, _> = places.into_iter().map(detach).collect();
        let fds = fds.map_err(de::Error::custom)?;
        Ok(Payload::new(bytes, fds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsRawFd;

    fn fd() -> Arc<OwnedFd> {
        Arc::new(nix::unistd::pipe().unwrap().0)
    }

    fn attached(n: usize) -> Vec<Attached> {
        (0..n).map(|_| Attached(fd())).collect()
    }

    fn numbers(fds: &[Attached]) -> Vec<i32> {
        fds.iter().map(|fd| fd.0.as_raw_fd()).collect()
    }

    fn text(result: Result<impl std::fmt::Debug>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn the_memory_of_small_messages_is_used_again_when_they_are_gone() {
        let mut small = SmallOnes::default();
        let mut all = VecDeque::new();
        let mut chunks = std::collections::BTreeSet::new();
        for n in 0..100_000_usize {
            let message = [n as u8; 100];
            all.push_back((message, small.copy(&message)));
            chunks.insert(small.next.as_ptr().addr() / SHARED);
            // As many as a window of them has.
            if all.len() > 500 {
                let (message, bytes) = all.pop_front().unwrap();
                assert_eq!(bytes, message[..]);
            }
        }
        // Each may lie over two of these.
        assert!(chunks.len() <= 2 * (CHUNKS + 1), "{}", chunks.len());
    }

    #[test]
    fn outside_a_message_a_descriptor_is_not_serialised() {
        let error = serde_json::to_string(&Attached(fd())).unwrap_err();
        assert_eq!(error.to_string(), OUTSIDE);
        let error = serde_json::from_str::<Attached>("0").unwrap_err();
        assert!(error.to_string().starts_with(OUTSIDE), "{error}");
    }

    #[test]
    fn a_place_that_the_message_does_not_have_is_an_error() {
        let mut payload = Payload::pack(&attached(2)).unwrap();
        payload.fds.truncate(1);
        let error = text(payload.unpack::<Vec<Attached>>());
        assert!(
            error.contains("descriptor 1 of a message that came with 1"),
            "{error}"
        );
    }

    #[test]
    fn a_place_that_is_named_twice_is_an_error_and_closes_what_came() {
        let fd = fd();
        let payload = Payload::new(codec::pack(&[0_u32, 0]).unwrap(), vec![fd.clone()]);
        let error = text(payload.unpack::<Vec<Attached>>());
        assert!(error.contains("descriptor 0 is named twice"), "{error}");
        assert_eq!(Arc::strong_count(&fd), 1);
    }

    #[test]
    fn as_many_descriptors_as_the_kernel_takes_go_with_a_message_and_one_more_is_an_error() {
        let fds = vec![Attached(fd()); MAX_DESCRIPTORS];
        assert_eq!(Payload::pack(&fds).unwrap().fds.len(), 253);
        let fds = vec![Attached(fd()); MAX_DESCRIPTORS + 1];
        let error = text(Payload::pack(&fds));
        assert!(
            error.contains("254 descriptors") && error.contains("253"),
            "{error}"
        );
        assert_eq!(Arc::strong_count(&fds[0].0), 254);
    }

    #[test]
    fn a_message_that_fails_halfway_keeps_nothing_open() {
        struct Fails;
        impl Serialize for Fails {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(ser::Error::custom("not this one"))
            }
        }
        let fd = fd();
        let error = text(Payload::pack(&(Attached(fd.clone()), Fails)));
        assert!(error.contains("not this one"), "{error}");
        assert_eq!(Arc::strong_count(&fd), 1);
        assert!(serde_json::to_string(&Attached(fd)).is_err());
    }

    #[test]
    fn a_message_that_is_sent_while_another_is_encoded_has_its_own_descriptors() {
        struct Sends(Attached);
        impl Serialize for Sends {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let inner = Payload::pack(&attached(3)).map_err(ser::Error::custom)?;
                assert_eq!(inner.fds.len(), 3);
                self.0.serialize(serializer)
            }
        }
        let (first, second) = (fd(), fd());
        let payload = Payload::pack(&(Attached(first.clone()), Sends(Attached(second.clone())))).unwrap();
        let (back, _) = payload.unpack::<(Attached, Attached)>().unwrap();
        assert!(Arc::ptr_eq(&back.0.0, &first) && Arc::ptr_eq(&back.1.0, &second));
    }

    #[test]
    fn what_no_value_takes_is_given_back() {
        let mut payload = Payload::pack(&attached(2)).unwrap();
        let beside = fd();
        payload.fds.extend([beside.clone()]);
        let (_, left) = payload.unpack::<Vec<Attached>>().unwrap();
        assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &beside));
    }

    proptest! {
        /// Messages within messages: each value finds its own descriptor, and none is left.
        #[test]
        fn every_value_finds_its_own_descriptor(lots in prop::collection::vec(0_usize..5, 0..8)) {
            let lots: Vec<_> = lots.into_iter().map(attached).collect();
            let inner: Vec<_> = lots.iter().map(|lot| Payload::pack(lot).unwrap()).collect();
            let (back, left) = Payload::pack(&(attached(1), inner)).unwrap()
                .unpack::<(Vec<Attached>, Vec<Payload>)>().unwrap();
            prop_assert!(left.is_empty());
            for (payload, lot) in back.1.into_iter().zip(&lots) {
                let (came, left) = payload.unpack::<Vec<Attached>>().unwrap();
                prop_assert_eq!(numbers(&came), numbers(lot));
                prop_assert!(left.is_empty());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), n in 0_usize..3) {
            let fds: Descriptors = (0..n).map(|_| fd()).collect();
            let payload = Payload::new(bytes, fds);
            let _ = payload.clone().unpack::<Vec<Attached>>();
            let _ = payload.unpack::<Vec<Payload>>();
        }
    }
}
