//! The codec: any value that serde can describe, to bytes and back.
//!
//! The bytes describe themselves, since `flatten`, untagged and internally tagged enums and `serde_json::Value` are
//! decoded without knowing what comes. They are MessagePack with struct fields and variants by name, and one byte more
//! that keeps `Some(None)`, `Some(())` and `None` apart. `docs/codec.md` says why no published codec would do.
//!
//! **Promised.** What was encoded is decoded to the same value, or is an error on one of the two sides; no value turns
//! into another one. A sequence or struct that gives more or less elements than it announced is an error when encoded.
//! Decoding never panics, whatever the bytes, and allocates no more than they pay for.
//!
//! **Refused.** Nesting deeper than [`DEPTH`], in both directions. Integers of 128 bits within what serde itself buffers
//! (`flatten`, untagged and internally tagged enums): serde cannot hold them there, and decoding says so.
//!
//! **Memory.** Where there is none for a long string, a block of bytes or a vector of many elements, or for the buffer that a
//! long value is encoded into, that is an error. What other collections take as they are decoded is their own affair.
//!
//! **Compact.** The same without the names of fields and variants: structs are arrays, variants are numbers, and the sum of
//! all [names](format::Names) that were left out follows the value. What would need them is an error, on one of the two
//! sides: fields that are left out at times, maps of unknown length, and whatever is read without its type. No type gives
//! another value than in the full codec.
//!
//! The full codec calls itself human-readable, so addresses and the like travel as text: serde reads what it has buffered as
//! if it came from a readable format, and would not find in it what a compact one wrote.

mod decode;
mod encode;
mod format;
#[cfg(test)]
mod tests;

use crate::{Error, ErrorKind};
use bytes::{Bytes, BytesMut};
use decode::Decoder;
use encode::Encoder;
use format::Why;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::type_name;
use std::marker::PhantomData;
use std::pin::Pin;

/// A value that could not be turned into bytes, or bytes that are not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {action} `{type_name}`: {why}")]
pub(crate) struct CodecError {
    action: &'static str,
    type_name: &'static str,
    kind: ErrorKind,
    why: Box<str>,
}

/// The codec as a type, for [`tokio_serde`]'s framed streams of `T`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codec<T>(PhantomData<fn(T) -> T>);

/// Appends `value` to `out`; on an error `out` is as it was.
#[inline]
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    write::<_, false>(value, out)
}

/// The one value that `bytes` are.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let mut rest = bytes;
    let value = decode_next(&mut rest)?;
    match rest.len() {
        0 => Ok(value),
        n => Err(CodecError::new::<T>(
            "decode",
            Why::new(format_args!("{n} bytes too many")),
        )),
    }
}

/// The first of the values that `bytes` hold back to back; `bytes` is left at the next one, or on an error as it was.
#[inline]
pub(crate) fn decode_next<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Result<T, CodecError> {
    read::<_, false>(bytes)
}

/// The same in the compact codec.
#[inline]
pub(crate) fn encode_compact<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    write::<_, true>(value, out)
}

/// The same in the compact codec.
#[inline]
pub(crate) fn decode_next_compact<'a, T: Deserialize<'a>>(bytes: &mut &'a [u8]) -> Result<T, CodecError> {
    read::<_, true>(bytes)
}

/// A whole message, as tokio-serde's framed streams would carry it.
pub(crate) fn pack<T: Serialize>(value: &T) -> Result<Bytes, Error> {
    tokio_serde::Serializer::serialize(Pin::new(&mut Codec::default()), value)
}

#[inline]
fn write<T: Serialize + ?Sized, const COMPACT: bool>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    let mut encoder = Encoder::<COMPACT>::new(out);
    let written = value.serialize(&mut encoder).map(|()| encoder.end());
    written.map_err(|why| {
        out.truncate(start);
        not_done::<T, COMPACT>("encode", why)
    })
}

#[inline]
fn read<'a, T: Deserialize<'a>, const COMPACT: bool>(bytes: &mut &'a [u8]) -> Result<T, CodecError> {
    let mut decoder = Decoder::<COMPACT>::new(bytes);
    let value = T::deserialize(&mut decoder);
    let value = value.and_then(|value| Ok((value, decoder.end()?)));
    let (value, rest) = value.map_err(|why| not_done::<T, COMPACT>("decode", why))?;
    // By its length: the slice itself would be copied in one go just after its two halves were written, and wait for both.
    let n_read = bytes.len() - rest.len();
    *bytes = bytes.get(n_read..).unwrap_or_default();
    Ok(value)
}

#[cold]
#[inline(never)]
fn not_done<T: ?Sized, const COMPACT: bool>(action: &'static str, why: Why) -> CodecError {
    match COMPACT {
        true => CodecError::new::<T>(action, why.with_remedy()),
        false => CodecError::new::<T>(action, why),
    }
}

impl CodecError {
    fn new<T: ?Sized>(action: &'static str, why: Why) -> Self {
        CodecError {
            action,
            type_name: type_name::<T>(),
            kind: why.kind(),
            why: why.to_string().into(),
        }
    }
}

impl From<CodecError> for Error {
    #[cold]
    fn from(error: CodecError) -> Self {
        Error::with_kind(error.kind, error)
    }
}

impl<T> Default for Codec<T> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T: Serialize> tokio_serde::Serializer<T> for Codec<T> {
    type Error = Error;

    fn serialize(self: Pin<&mut Self>, value: &T) -> Result<Bytes, Error> {
        let mut out = Vec::new();
        encode(value, &mut out)?;
        Ok(out.into())
    }
}

impl<T: DeserializeOwned> tokio_serde::Deserializer<T> for Codec<T> {
    type Error = Error;

    fn deserialize(self: Pin<&mut Self>, bytes: &BytesMut) -> Result<T, Error> {
        Ok(decode(bytes)?)
    }
}
