//! Items back to back: those of a pool's chunk, on their way to a worker and back, each with its descriptors.
//!
//! An item is one byte, with its kind in the low two bits and its length in the others, and then its bytes. Where the
//! length does not fit, that byte says 63, and four bytes with the length follow it; where descriptors go with the item, it
//! says 62, and a byte with their number comes before those four. The longer forms are allowed for any length, so that a
//! [`Writer`] can choose before it knows: it takes what the last item needed, and only the first of many long items
//! is moved within the buffer.
//!
//! The descriptors of a message are those of its items, in order, so that an item names its own by the same numbers
//! whatever message it travels in.

use super::attach::{Descriptors, Payload, collect_into, provide, provide_none};
use super::encoded::Encoded;
use crate::error::{Error, Result};
use crate::os::socket::MAX_DESCRIPTORS;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::vec;

/// The length from which on, and the mark by which, an item has the long form.
const LONG: usize = 63;
/// The mark of an item with descriptors, and so the first length that is none of the short form.
const WITH_FDS: usize = 62;

/// The bytes before an item, in the long form.
const LONG_HEADER: usize = 5;
/// The same for one with descriptors.
const HEADER_WITH_FDS: usize = 6;

/// One of them, as it lies in its message.
struct Item<'a> {
    kind: u8,
    bytes: &'a [u8],
    n_fds: usize,
}

/// Goes through items that were received. Malformed ones end it.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    bytes: &'a [u8],
    fds: vec::IntoIter<Arc<OwnedFd>>,
}

/// Goes through items that came in several messages, and keeps those until then. Malformed ones end it.
#[derive(Debug, Default)]
pub(crate) struct Received {
    messages: vec::IntoIter<Payload>,
    bytes: Encoded,
    /// Where the next one begins in them.
    at: usize,
    fds: vec::IntoIter<Arc<OwnedFd>>,
}

/// Items that are to be sent.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    fds: Descriptors,
    is_long: bool,
    /// Where the last item begins, and its descriptors.
    last: (usize, usize),
}

impl<'a> Items<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], fds: Descriptors) -> Self {
        Items {
            bytes,
            fds: fds.into_iter(),
        }
    }

    /// Those behind the first `n`, which may be none.
    fn skipping(mut self, n: usize) -> Self {
        (0..n).all(|_| self.read(|_, _| ()).is_some());
        self
    }

    /// How many there are.
    pub(crate) fn count(mut self) -> usize {
        std::iter::from_fn(|| self.read(|_, _| ())).count()
    }

    /// What `decode` makes of the next: of its kind, and its bytes. Descriptors that it does not take are closed.
    #[inline]
    pub(crate) fn read<T>(&mut self, decode: impl FnOnce(u8, &mut &'a [u8]) -> T) -> Option<T> {
        let item = first(&mut self.bytes)?;
        item.read(&mut self.fds, decode)
    }
}

impl Received {
    pub(crate) fn new(messages: Vec<Payload>) -> Self {
        Received {
            messages: messages.into_iter(),
            ..Received::default()
        }
    }

    /// The same as [`Items::read`].
    #[inline]
    pub(crate) fn read<T>(&mut self, decode: impl FnOnce(u8, &mut &[u8]) -> T) -> Option<T> {
        while self.at == self.bytes.len() {
            self.turn_over()?;
        }
        let mut rest = &self.bytes[self.at..];
        let item = first(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        item.read(&mut self.fds, decode)
    }

    #[cold]
    fn turn_over(&mut self) -> Option<()> {
        let Payload { bytes, fds, .. } = self.messages.next()?;
        (self.bytes, self.at, self.fds) = (bytes, 0, fds.into_iter());
        Some(())
    }
}

/// Takes the first off some.
#[inline]
fn first<'a>(items: &mut &'a [u8]) -> Option<Item<'a>> {
    let (&first, rest) = items.split_first()?;
    let (n_fds, (bytes, rest)) = match usize::from(first >> 2) {
        WITH_FDS => {
            let (&n_fds, rest) = rest.split_first()?;
            (n_fds.into(), split_long(rest)?)
        }
        LONG => (0, split_long(rest)?),
        length => (0, rest.split_at_checked(length)?),
    };
    *items = rest;
    Some(Item {
        kind: first & 3,
        bytes,
        n_fds,
    })
}

fn split_long(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = rest.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

impl<'a> Item<'a> {
    /// What `decode` makes of it, with its descriptors, which are the first of `fds`.
    #[inline]
    fn read<T>(
        self,
        fds: &mut vec::IntoIter<Arc<OwnedFd>>,
        decode: impl FnOnce(u8, &mut &'a [u8]) -> T,
    ) -> Option<T> {
        let Item {
            kind,
            mut bytes,
            n_fds,
        } = self;
        let decode = || decode(kind, &mut bytes);
        match n_fds {
            0 => Some(provide_none(decode)),
            _ if n_fds > fds.len() => None,
            _ => Some(provide(fds.take(n_fds).collect(), decode).0),
        }
    }
}

/// Takes a message of items apart behind the first `n`.
pub(crate) fn split(message: Payload, n: usize) -> (Payload, Payload) {
    let left = Items::new(&message.bytes, message.fds.clone()).skipping(n);
    let (n_bytes, n_fds) = (left.bytes.len(), left.fds.len());
    let (mut bytes, mut fds) = (message.bytes.into_bytes(), message.fds);
    let behind = Payload::new(
        bytes.split_off(bytes.len() - n_bytes),
        fds.split_off(fds.len() - n_fds),
    );
    let before = Payload {
        bytes: bytes.into(),
        behind: message.behind,
        fds,
    };
    (before, behind)
}

impl Writer {
    pub(crate) fn with_capacity(n_bytes: usize) -> Self {
        Writer {
            bytes: Vec::with_capacity(n_bytes),
            ..Writer::default()
        }
    }

    /// Appends an item of that kind, below 4, which is what `encode` writes and attaches, and at most `limit` bytes with its
    /// header; on an error there is none.
    #[inline]
    pub(crate) fn push(
        &mut self,
        kind: u8,
        limit: usize,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let start = self.bytes.len();
        self.last = (start, self.fds.len());
        match self.is_long {
            false => self.bytes.push(0),
            true => self.bytes.extend_from_slice(&[0; LONG_HEADER]),
        }
        let header = self.bytes.len() - start;
        if let Err(error) = collect_into(&mut self.fds, || encode(&mut self.bytes)) {
            return self.take_back(error);
        }
        let length = self.bytes.len() - start - header;
        if length < WITH_FDS && !self.is_long && !self.last_has_fds() && length < limit {
            self.bytes[start] = (length as u8) << 2 | kind;
            return Ok(());
        }
        self.finish(kind, header, limit)
    }

    /// Writes the header of an item that is not short.
    #[cold]
    fn finish(&mut self, kind: u8, header: usize, limit: usize) -> Result<()> {
        let start = self.last.0;
        let length = self.bytes.len() - start - header;
        let (mark, needed) = match self.last_has_fds() {
            false => (LONG, LONG_HEADER),
            true => (WITH_FDS, HEADER_WITH_FDS),
        };
        if length + needed > limit {
            return self.take_back(Error::too_large(length + needed, limit));
        }
        if needed > header {
            self.bytes
                .extend_from_slice(&[0; HEADER_WITH_FDS][header..needed]);
            self.bytes
                .copy_within(start + header..start + header + length, start + needed);
        }
        let head = &mut self.bytes[start..start + needed];
        head[0] = (mark as u8) << 2 | kind;
        // A message has no more than a byte can count.
        head[1] = (self.fds.len() - self.last.1) as u8;
        head[needed - 4..].copy_from_slice(&(length as u32).to_le_bytes());
        self.is_long = length >= WITH_FDS;
        Ok(())
    }

    #[cold]
    fn take_back(&mut self, error: Error) -> Result<()> {
        self.bytes.truncate(self.last.0);
        self.fds.truncate(self.last.1);
        Err(error)
    }

    /// Whether it is more than a message may hold.
    #[inline]
    pub(crate) fn is_too_much(&self, limit: usize) -> bool {
        self.bytes.len() > limit || self.fds.len() > MAX_DESCRIPTORS
    }

    /// Where the last item begins.
    #[inline]
    pub(crate) fn last(&self) -> usize {
        self.last.0
    }

    /// Whether descriptors go with the last item.
    #[inline]
    pub(crate) fn last_has_fds(&self) -> bool {
        self.fds.len() > self.last.1
    }

    /// Takes the last item off again.
    pub(crate) fn split_off_last(&mut self) -> Payload {
        Payload::new(self.bytes.split_off(self.last.0), self.fds.split_off(self.last.1))
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_payload(self) -> Payload {
        Payload::new(self.bytes, self.fds)
    }
}

#[cfg(test)]
mod tests {
    use super::super::attach::Attached;
    use super::*;
    use crate::wire::codec;
    use proptest::prelude::*;

    const NO_LIMIT: usize = usize::MAX;

    fn written(items: &[(u8, Vec<u8>)]) -> Writer {
        let mut writer = Writer::default();
        for (kind, bytes) in items {
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(bytes);
                Ok(())
            };
            writer.push(*kind, NO_LIMIT, write).unwrap();
        }
        writer
    }

    fn attached(n: usize) -> Vec<Attached> {
        (0..n)
            .map(|_| Attached(Arc::new(nix::unistd::pipe().unwrap().0)))
            .collect()
    }

    #[test]
    fn a_short_item_costs_one_byte_more_than_it_has() {
        assert_eq!(written(&[(2, vec![7; 61])]).len(), 62);
        assert_eq!(written(&[(2, vec![7; 62])]).len(), 67);
    }

    #[test]
    fn an_item_that_cannot_be_written_leaves_nothing_behind() {
        let mut writer = written(&[(0, vec![1, 2])]);
        for is_long in [false, true] {
            writer.is_long = is_long;
            let refused = writer.push(0, NO_LIMIT, |out| {
                out.push(3);
                Err(Error::msg("no"))
            });
            assert_eq!(
                (refused.unwrap_err().to_string().as_str(), writer.len()),
                ("no", 3)
            );
            let large = writer.push(0, 10, |out| {
                out.extend([0; 10]);
                Ok(())
            });
            assert!(large.is_err() && writer.len() == 3);
        }
    }

    #[test]
    fn an_item_takes_its_descriptors_along_and_no_others() {
        let numbers = [0, 2, 0, 1];
        let (mut writer, lots) = (Writer::default(), numbers.map(attached));
        for lot in &lots {
            writer
                .push(1, NO_LIMIT, |out| Ok(codec::encode(lot, out)?))
                .unwrap();
            assert_eq!(writer.last_has_fds(), !lot.is_empty());
        }
        let (first, second) = split(writer.into_payload(), 2);
        assert_eq!((first.fds.len(), second.fds.len()), (2, 1));
        let mut received = Received::new(vec![first, second]);
        let read = std::iter::from_fn(|| {
            received.read(|_, bytes| codec::decode_next::<Vec<Attached>>(bytes).map(|lot| lot.len()))
        });
        assert_eq!(read.map(Result::unwrap).collect::<Vec<_>>(), numbers);
    }

    proptest! {
        #[test]
        fn items_come_out_as_they_went_in(
            items in prop::collection::vec((0u8..4, prop::collection::vec(any::<u8>(), 0..130)), 0..20),
            n in 0usize..25,
        ) {
            let message = written(&items).into_payload();
            let read = |message: &Payload| -> Vec<_> {
                let mut items = Items::new(&message.bytes, Descriptors::new());
                std::iter::from_fn(|| items.read(|kind, bytes| (kind, bytes.to_vec()))).collect()
            };
            prop_assert_eq!(&read(&message), &items);
            let (first, second) = split(message, n);
            let n = n.min(items.len());
            prop_assert_eq!((read(&first), read(&second)), (items[..n].to_vec(), items[n..].to_vec()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            Items::new(&bytes, Descriptors::new()).count();
        }
    }
}
