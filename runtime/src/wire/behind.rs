//! Large blocks of bytes, which travel behind the rest of their message: they are not copied into it, nor out of it.
//!
//! While a message is encoded, a block that is put behind it stays where it is, shared, and goes to the transport from
//! there; of one that is lent a copy does. In the message is only its length. On the wire the blocks follow the message, the
//! last one first, so that whoever decodes takes each from the end of what is left. What is decoded is a view into the
//! frame that was read; but the first block, which is the frame's end, is read into memory of its own, and a `Vec<u8>` is
//! that very memory.
//!
//! A block goes behind a message only where that is asked for, and only from the buffer of that very message: another
//! that is encoded meanwhile has its own, or none.
//!
//! A block may be memory of the user's, and its destructor the user's code. So where one is dropped while this thread
//! holds a lock that such code may want, which a [`Hold`] says, it is kept until that is let go.

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Deref;
use std::{mem, ptr};

use super::encoded::Encoded;

/// A block of at least this size goes behind its message: less is copied in no time, and a view of less could keep more
/// of the frame than itself.
pub(crate) const BLOCK: usize = 64 << 10;

/// The most blocks of a message.
const MOST: usize = 16;

/// Of a message that is more than so many times as large as a block, that block is copied: it would keep all of it.
const SHARE: usize = 4;

/// Blocks in the order in which they travel.
pub(crate) type Blocks = Option<Box<[Block]>>;

/// A block on its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Block(Bytes);

/// While there is one, this thread drops no block: it does when the last is gone.
#[derive(Debug)]
pub(crate) struct Hold(PhantomData<*const ()>);

thread_local! {
    /// The buffer of the message that is encoded; null: it takes no blocks.
    static INTO: Cell<*const Vec<u8>> = const { Cell::new(ptr::null()) };
    /// Its blocks.
    static PUT: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
    /// The message that is decoded, if it is large or has blocks.
    static WHOLE: RefCell<Option<Whole>> = const { RefCell::new(None) };
    /// How many [`Hold`]s there are.
    static HOLDS: Cell<usize> = const { Cell::new(0) };
    /// What was dropped meanwhile.
    static HELD: RefCell<Vec<Bytes>> = const { RefCell::new(Vec::new()) };
}

/// A message that is decoded, and those of its blocks that are apart from it and not yet taken.
struct Whole {
    message: Bytes,
    blocks: Vec<Block>,
}

impl Block {
    /// The rest of it.
    pub(crate) fn slice_from(&self, begin: usize) -> Block {
        Block(self.0.slice(begin..))
    }

    pub(crate) fn into_bytes(mut self) -> Bytes {
        mem::take(&mut self.0)
    }
}

impl From<Bytes> for Block {
    fn from(bytes: Bytes) -> Self {
        Block(bytes)
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = mem::take(&mut self.0);
        if HOLDS.get() > 0 {
            // In a thread that ends it is dropped here.
            let _ = HELD.try_with(|held| held.borrow_mut().push(bytes));
        }
    }
}

impl Hold {
    #[inline]
    pub(crate) fn new() -> Hold {
        HOLDS.set(HOLDS.get() + 1);
        Hold(PhantomData)
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        HOLDS.set(HOLDS.get() - 1);
        if HOLDS.get() == 0 {
            // Out of there before it is dropped, since that may put more in.
            let held = HELD.try_with(RefCell::take);
            drop(held);
        }
    }
}

/// Runs `encode`, which may put blocks behind what it writes to `out`.
#[inline]
pub(crate) fn collect<T, E>(
    out: &mut Vec<u8>,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
) -> Result<(T, Blocks), E> {
    let collecting = Collecting {
        outer: INTO.replace(ptr::from_ref(out)),
        n_outer: PUT.with_borrow(Vec::len),
    };
    let value = encode(out)?;
    let mut put = PUT.with_borrow_mut(|put| match put.len() > collecting.n_outer {
        true => Some(put.split_off(collecting.n_outer).into_boxed_slice()),
        false => None,
    });
    put.iter_mut().for_each(|blocks| blocks.reverse());
    Ok((value, put))
}

/// A message that is encoded. The one around it goes on when this is dropped.
struct Collecting {
    outer: *const Vec<u8>,
    n_outer: usize,
}

impl Drop for Collecting {
    #[inline]
    fn drop(&mut self) {
        INTO.set(self.outer);
        // Something is left only where encoding failed.
        let left = PUT.with_borrow_mut(|put| (put.len() > self.n_outer).then(|| put.split_off(self.n_outer)));
        drop(left);
    }
}

/// Whether the message that is encoded into `out` takes another block.
pub(crate) fn takes(out: &Vec<u8>) -> bool {
    ptr::eq(INTO.get(), out) && PUT.with_borrow(Vec::len) < MOST
}

/// Puts a block behind the message that is encoded into `out`. Whether that takes any.
pub(crate) fn put(block: &Bytes, out: &Vec<u8>) -> bool {
    let takes = takes(out);
    if takes {
        PUT.with_borrow_mut(|put| put.push(block.clone().into()));
    }
    takes
}

/// Runs `decode` on a message, of which [`view`] then gives views, and [`take`] the blocks.
#[inline]
pub(crate) fn provide<T>(
    message: &Encoded,
    blocks: Blocks,
    decode: impl FnOnce(&mut &[u8]) -> Result<T>,
) -> Result<T> {
    if message.len() < BLOCK && blocks.is_none() {
        return decode(&mut &message[..]);
    }
    let message = message.clone().into_bytes();
    let whole = Whole {
        message: message.clone(),
        blocks: blocks.map(Vec::from).unwrap_or_default(),
    };
    let _providing = Providing(WHOLE.replace(Some(whole)));
    let value = decode(&mut &message[..])?;
    match WHOLE.take().is_some_and(|whole| !whole.blocks.is_empty()) {
        true => Err(Error::with_kind(
            ErrorKind::Codec,
            "a block of a message was not asked for",
        )),
        false => Ok(value),
    }
}

/// A message that is decoded. The one around it goes on when this is dropped.
struct Providing(Option<Whole>);

impl Drop for Providing {
    fn drop(&mut self) {
        // Out of there before it is dropped: a block may be memory of the user's.
        drop(WHOLE.replace(self.0.take()));
    }
}

/// The next block, if some are apart from the message that `rest` is a part of.
pub(crate) fn take(rest: &[u8]) -> Option<Bytes> {
    let block = WHOLE.with_borrow_mut(|whole| {
        let whole = whole.as_mut().filter(|whole| is_within(rest, &whole.message))?;
        whole.blocks.pop()
    });
    block.map(Block::into_bytes)
}

fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// The same bytes: as a view of the message that is decoded, where they are a large part of it.
pub(crate) fn view(part: &[u8]) -> Result<Bytes> {
    let viewed = WHOLE.with_borrow(|whole| {
        let whole = &whole.as_ref()?.message;
        let is_much = part.len() >= BLOCK.max(whole.len() / SHARE);
        (is_much && is_within(part, whole)).then(|| whole.slice_ref(part))
    });
    viewed.map_or_else(|| super::blob::copied(part).map(Bytes::from), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Result};
    use crate::wire::attach::Payload;
    use crate::wire::blob::Blob;
    use proptest::prelude::*;

    fn encode(blocks: &[Bytes]) -> Payload {
        Payload::encode_apart(|out| blocks.iter().try_for_each(|block| Blob::encode(block, out))).unwrap()
    }

    /// As it comes out of a frame.
    fn arrived(payload: &Payload) -> Payload {
        let behind = payload.behind.iter().flatten().map(|block| &block[..]);
        let parts: Vec<_> = [&payload.bytes[..]].into_iter().chain(behind).collect();
        let bytes = parts.concat();
        assert_eq!(bytes.len(), payload.len());
        Payload::new(bytes, Vec::new())
    }

    fn decode(payload: Payload, n: usize) -> Result<Vec<Bytes>> {
        payload.decode(|bytes| {
            let blocks = (0..n).map(|_| Bytes::decode(bytes)).collect::<Result<_>>();
            assert!(blocks.is_err() || bytes.is_empty());
            blocks
        })
    }

    fn block(seed: usize, len: usize) -> Bytes {
        (0..len).map(|n| (n + seed) as u8).collect()
    }

    #[test]
    fn a_large_block_is_copied_on_neither_side() {
        let large = block(1, BLOCK);
        let payload = encode(std::slice::from_ref(&large));
        assert_eq!(payload.behind.as_ref().unwrap()[0].as_ptr(), large.as_ptr());
        assert!(payload.bytes.len() < 10);
        let frame = arrived(&payload);
        let inside = frame.bytes.as_ptr_range();
        let back = decode(frame.clone(), 1).unwrap().remove(0);
        assert_eq!(back, large);
        assert!(inside.contains(&back.as_ptr()));
        let small = decode(arrived(&encode(&[block(1, BLOCK - 1)])), 1).unwrap();
        assert_eq!(small[0].len(), BLOCK - 1);
    }

    /// As it comes out of a frame whose last block was read into memory of its own.
    fn arrived_apart(payload: Payload) -> Payload {
        let mut blocks = payload.behind.map(Vec::from).unwrap_or_default();
        let last = blocks.pop().map(|block| Bytes::from(block.to_vec()).into());
        Payload {
            behind: last.map(|block| [block].into()),
            ..arrived(&Payload {
                bytes: payload.bytes,
                behind: Some(blocks.into()),
                fds: payload.fds,
            })
        }
    }

    #[test]
    fn a_block_in_memory_of_its_own_becomes_a_vector_without_a_copy() {
        let large = block(1, BLOCK);
        let payload = arrived_apart(encode(std::slice::from_ref(&large)));
        let read_into = payload.behind.as_ref().unwrap()[0].as_ptr();
        let back: Vec<u8> = payload.decode(Blob::decode).unwrap();
        assert_eq!((back.as_ptr(), back), (read_into, large.to_vec()));
    }

    #[test]
    fn a_block_that_no_value_takes_or_that_has_another_length_is_an_error() {
        let payload = |block: Bytes| Payload {
            behind: Some([block.into()].into()),
            ..encode(&[])
        };
        decode(payload(block(1, BLOCK)), 0).unwrap_err();
        let short = Payload {
            behind: Some([block(1, BLOCK - 1).into()].into()),
            ..encode(&[block(1, BLOCK)])
        };
        decode(short, 1).unwrap_err();
    }

    #[test]
    fn a_message_that_is_decoded_meanwhile_leaves_the_blocks_to_the_one_around_it() {
        let (ours, theirs) = (block(1, BLOCK), block(2, BLOCK));
        let inner = arrived(&encode(std::slice::from_ref(&theirs)));
        let payload = arrived_apart(encode(std::slice::from_ref(&ours)));
        let back = payload.decode(|bytes| {
            assert_eq!(decode(inner, 1)?, [theirs]);
            Bytes::decode(bytes)
        });
        assert_eq!(back.unwrap(), ours);
    }

    #[test]
    fn a_message_that_is_encoded_meanwhile_keeps_its_blocks_to_itself() {
        let (ours, theirs) = (block(1, BLOCK), block(2, 2 * BLOCK));
        let payload = Payload::encode_apart(|out| {
            let other = encode(std::slice::from_ref(&theirs));
            assert_eq!(other.behind.unwrap()[0][..], theirs);
            let mut plain = Vec::new();
            Blob::encode(&theirs, &mut plain)?;
            assert!(plain.len() > theirs.len());
            Blob::encode(&ours, out)
        });
        assert_eq!(payload.unwrap().behind.unwrap()[..], [ours.into()]);
    }

    #[test]
    fn a_message_that_fails_leaves_no_block_behind_the_next() {
        let large = block(1, BLOCK);
        let failed = Payload::encode_apart(|out| {
            Blob::encode(&large, out)?;
            Err(Error::msg("not this one"))
        });
        failed.unwrap_err();
        assert!(encode(&[]).behind.is_none());
        assert!(!put(&large, &Vec::new()));
    }

    #[test]
    fn a_small_part_of_a_large_message_does_not_keep_all_of_it() {
        let blocks = [block(1, BLOCK), block(2, 4 * BLOCK), block(3, BLOCK)];
        let frame = arrived(&encode(&blocks));
        let inside = frame.bytes.as_ptr_range();
        let back = decode(frame.clone(), 3).unwrap();
        let views = back.iter().map(|block| inside.contains(&block.as_ptr()));
        assert_eq!(views.collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(back, blocks);
    }

    #[test]
    fn a_block_is_dropped_when_the_last_lock_is_let_go() {
        static DROPPED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let dropped = || DROPPED.load(std::sync::atomic::Ordering::Relaxed);
        struct Counted(Vec<u8>);
        impl AsRef<[u8]> for Counted {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Counted {
            fn drop(&mut self) {
                DROPPED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                // What it does may take locks itself.
                drop(Hold::new());
            }
        }
        let block = || Block::from(Bytes::from_owner(Counted(vec![1; BLOCK])));
        drop(block());
        assert_eq!(dropped(), 1);
        let (outer, inner) = (Hold::new(), Hold::new());
        drop(block().slice_from(7));
        drop([block(), block()]);
        drop(inner);
        assert_eq!(dropped(), 1);
        drop(outer);
        assert_eq!(dropped(), 4);
    }

    #[test]
    fn a_block_that_is_not_behind_its_message_is_an_error() {
        let whole = arrived(&encode(&[block(1, BLOCK)])).bytes.into_bytes();
        for cut in [0, 3, 4, 7, 8, 100, whole.len() - 1] {
            decode(Payload::new(whole.slice(..cut), Vec::new()), 1).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn any_blocks_survive_in_order(
            sizes in prop::collection::vec(prop_oneof![0..100_usize, BLOCK - 2..BLOCK + 2, Just(3 * BLOCK)], 0..24),
        ) {
            let blocks: Vec<_> = sizes.into_iter().enumerate().map(|(n, size)| block(n, size)).collect();
            let payload = encode(&blocks);
            prop_assert_eq!(&decode(arrived(&payload), blocks.len()).unwrap(), &blocks);
            prop_assert_eq!(&decode(arrived_apart(payload.clone()), blocks.len()).unwrap(), &blocks);
            // And in the process that encoded it.
            prop_assert_eq!(&decode(payload, blocks.len()).unwrap(), &blocks);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(0xff_u8), any::<u8>()], 0..40)) {
            let _ = decode(Payload::new(bytes, Vec::new()), 1);
        }
    }
}
