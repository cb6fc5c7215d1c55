//! Blocks of bytes: they travel as they are, with their length before them, or [behind](super::behind) the message.

use crate::error::{Error, ErrorKind, Result};
use crate::os::memory;
use bytes::Bytes;

use super::behind::{self, BLOCK};

/// In place of a length: that follows, and the block is behind the message.
const BEHIND: u32 = u32::MAX;

/// A block of a message that is decoded.
enum Block<'a> {
    Within(&'a [u8]),
    /// Of its own, to be had without a copy.
    Apart(Bytes),
}

/// A type that the macros know as a block of bytes by its name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has the name of a block of bytes, but is not one",
    label = "neither `Vec<u8>` nor `bytes::Bytes`",
    note = "the macros know `Vec<u8>` and `Bytes` by their names: import this type under another name"
)]
pub trait Blob: Sized {
    #[doc(hidden)]
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()>;
    /// The same where the value is of no more use: it need not be copied.
    #[doc(hidden)]
    fn give(value: Self, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode(bytes: &mut &[u8]) -> Result<Self>;
}

/// A block of bytes that is lent: what is decoded is a `Vec<u8>`.
pub trait Slice {
    #[doc(hidden)]
    fn encode(value: &[u8], out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode(bytes: &mut &[u8]) -> Result<Vec<u8>>;
}

impl Slice for Vec<u8> {
    fn encode(value: &[u8], out: &mut Vec<u8>) -> Result<()> {
        copy(value, out)
    }

    fn decode(bytes: &mut &[u8]) -> Result<Vec<u8>> {
        block(bytes)?.into_vec()
    }
}

impl Blob for Vec<u8> {
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        copy(value, out)
    }

    fn give(value: Self, out: &mut Vec<u8>) -> Result<()> {
        match value.len() < BLOCK {
            true => write(&value, out),
            false => Blob::give(Bytes::from(value), out),
        }
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        block(bytes)?.into_vec()
    }
}

impl Blob for Bytes {
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        let length = length(value)?;
        if value.len() < BLOCK || !behind::put(value, out) {
            return write(value, out);
        }
        out.extend_from_slice(&BEHIND.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn give(value: Self, out: &mut Vec<u8>) -> Result<()> {
        Blob::encode(&value, out)
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        match block(bytes)? {
            Block::Within(part) => behind::view(part),
            Block::Apart(bytes) => Ok(bytes),
        }
    }
}

impl Block<'_> {
    fn into_vec(self) -> Result<Vec<u8>> {
        match self {
            Block::Within(part) => copied(part),
            Block::Apart(bytes) => Ok(bytes.into()),
        }
    }
}

/// A copy of a part of a message.
pub(super) fn copied(part: &[u8]) -> Result<Vec<u8>> {
    let mut copy = memory::try_vec(part.len()).map_err(|_| Error::unheld(part.len()))?;
    copy.extend_from_slice(part);
    Ok(copy)
}

/// A block that stays its owner's. If it is large the copy goes behind the message: no other is made of it.
fn copy(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    if bytes.len() < BLOCK || !behind::takes(out) {
        return write(bytes, out);
    }
    length(bytes)?;
    let mut copy = memory::try_vec(bytes.len()).map_err(|_| Error::unencoded(bytes.len()))?;
    memory::prefer_large_pages(copy.spare_capacity_mut());
    copy.extend_from_slice(bytes);
    Blob::give(Bytes::from(copy), out)
}

fn write(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = length(bytes)?;
    let size = bytes.len() + length.to_le_bytes().len();
    memory::try_reserve(out, size).map_err(|_| Error::unencoded(out.len() + size))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn length(bytes: &[u8]) -> Result<u32> {
    match u32::try_from(bytes.len()) {
        Ok(length) if length < BEHIND => Ok(length),
        _ => Err(Error::too_large(bytes.len(), BEHIND as usize - 1)),
    }
}

fn block<'a>(bytes: &mut &'a [u8]) -> Result<Block<'a>> {
    let split = match split_length(bytes) {
        Some((BEHIND, rest)) => split_length(rest).and_then(|(length, rest)| {
            if let Some(block) = behind::take(rest) {
                return (block.len() == length as usize).then_some((Block::Apart(block), rest));
            }
            let at = rest.len().checked_sub(length as usize)?;
            let (rest, block) = rest.split_at_checked(at)?;
            Some((Block::Within(block), rest))
        }),
        Some((length, rest)) => rest
            .split_at_checked(length as usize)
            .map(|(block, rest)| (Block::Within(block), rest)),
        None => None,
    };
    let cut = || Error::with_kind(ErrorKind::Codec, "a block of bytes is cut short");
    let (block, rest) = split.ok_or_else(cut)?;
    *bytes = rest;
    Ok(block)
}

fn split_length(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*length), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attach::Payload;

    #[test]
    fn of_a_large_block_that_is_lent_one_copy_goes_behind_the_message() {
        let large = vec![7; BLOCK];
        let as_slice = |out: &mut Vec<u8>| <Vec<u8> as Slice>::encode(&large, out);
        let as_vector = |out: &mut Vec<u8>| Blob::encode(&large, out);
        for encode in [&as_slice as &dyn Fn(&mut Vec<u8>) -> Result<()>, &as_vector] {
            let payload = Payload::encode_apart(encode).unwrap();
            assert!(payload.bytes.len() < 10);
            assert_eq!(payload.behind.as_ref().unwrap()[0][..], large);
            let back: Vec<u8> = payload.decode(<Vec<u8> as Slice>::decode).unwrap();
            assert_eq!(back, large);
        }
        let small = Payload::encode_apart(|out| copy(&large[1..], out)).unwrap();
        assert!(small.behind.is_none());
        // And where nothing goes behind.
        let mut plain = Vec::new();
        copy(&large, &mut plain).unwrap();
        assert_eq!(plain.len(), 4 + BLOCK);
    }
}
