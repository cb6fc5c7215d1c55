//! Blocks of bytes: they travel as they are, with their length before them.

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;

/// A type that the macros know as a block of bytes by its name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has the name of a block of bytes, but is not one",
    label = "neither `Vec<u8>` nor `bytes::Bytes`",
    note = "the macros know `Vec<u8>` and `Bytes` by their names: import this type under another name"
)]
pub trait Blob: Sized {
    #[doc(hidden)]
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()>;
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
        write(value, out)
    }

    fn decode(bytes: &mut &[u8]) -> Result<Vec<u8>> {
        block(bytes).map(<[u8]>::to_vec)
    }
}

impl Blob for Vec<u8> {
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        write(value, out)
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        block(bytes).map(<[u8]>::to_vec)
    }
}

impl Blob for Bytes {
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        write(value, out)
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        block(bytes).map(Bytes::copy_from_slice)
    }
}

fn write(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| Error::too_large(bytes.len(), u32::MAX as usize))?;
    out.reserve(bytes.len() + length.to_le_bytes().len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

fn block<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let cut = || Error::with_kind(ErrorKind::Codec, "a block of bytes is cut short");
    let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let (block, rest) = rest
        .split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or_else(cut)?;
    *bytes = rest;
    Ok(block)
}
