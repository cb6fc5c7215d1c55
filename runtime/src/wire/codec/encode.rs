//! Values to bytes.

use super::format::{DEPTH, Names, Why, tag};
use crate::os::memory;
use serde::ser::{self, Serialize};

/// What is written around a long string or block.
const SLACK: usize = 64;

/// A value that is longer than this is looked after as it grows, each time that so many of its elements are written.
const LONG: usize = 1 << 20;
const LOOK_AHEAD: usize = 256;

/// Appends values to a buffer.
pub(super) struct Encoder<'a, const COMPACT: bool> {
    out: &'a mut Vec<u8>,
    depth: u32,
    /// Those that were left out.
    names: Names,
}

/// A sequence, map or struct whose header is written and whose elements follow.
pub(super) struct Elements<'e, 'a, const COMPACT: bool> {
    encoder: &'e mut Encoder<'a, COMPACT>,
    count: Count,
    n_written: usize,
}

/// How many elements the header promises.
enum Count {
    Known(usize),
    /// Not known beforehand: the header's count, at this place in the buffer, is filled in at the end.
    At(usize),
}

impl<'a, const COMPACT: bool> Encoder<'a, COMPACT> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Encoder {
            out,
            depth: DEPTH,
            names: Names::default(),
        }
    }

    /// Writes what follows the value.
    #[inline]
    pub(super) fn end(self) {
        if COMPACT && let Some(names) = self.names.bytes() {
            self.out.extend_from_slice(&names);
        }
    }

    #[inline]
    fn put<const N: usize>(&mut self, tag: u8, bytes: [u8; N]) {
        // Room for both in one step.
        self.out.reserve(1 + N);
        self.out.push(tag);
        self.out.extend_from_slice(&bytes);
    }

    #[inline(always)]
    fn unsigned(&mut self, v: u64) {
        if v < tag::FIX_MAP.into() {
            return self.out.push(v as u8);
        }
        // In 1, 2, 4 or 8 bytes: there are always 8, and those too many are taken off again. That is fewer instructions than
        // four ways.
        let log = u8::from(v > 0xff) + u8::from(v > 0xffff) + u8::from(v > 0xffff_ffff);
        let n_bytes = 1 << log;
        let end = self.out.len() + 1 + n_bytes;
        self.out
            .extend_from_slice(&[tag::U8 + log, 0, 0, 0, 0, 0, 0, 0, 0]);
        if let Some(bytes) = self.out.last_chunk_mut() {
            // In one store, from which all of them can be read at once.
            *bytes = (v << (64 - 8 * n_bytes)).to_be_bytes();
        }
        self.out.truncate(end);
    }

    #[inline]
    fn signed(&mut self, v: i64) {
        match v {
            0.. => self.unsigned(v as u64),
            -32..0 => self.out.push(v as u8),
            -0x80..-32 => self.put(tag::I8, (v as i8).to_be_bytes()),
            -0x8000..-0x80 => self.put(tag::I16, (v as i16).to_be_bytes()),
            -0x8000_0000..-0x8000 => self.put(tag::I32, (v as i32).to_be_bytes()),
            _ => self.put(tag::I64, v.to_be_bytes()),
        }
    }

    fn extended(&mut self, kind: u8, bytes: [u8; 16]) {
        self.out.extend_from_slice(&[tag::EXT_16, kind]);
        self.out.extend_from_slice(&bytes);
    }

    #[inline]
    fn string(&mut self, v: &str) -> Result<(), Why> {
        match v.len() {
            len @ 0..32 => self.out.push(tag::FIX_STR | len as u8),
            len => self.length(len, Some(tag::STR_8), tag::STR_16, tag::STR_32)?,
        }
        self.out.extend_from_slice(v.as_bytes());
        Ok(())
    }

    /// A length of one byte where there is a tag for it, of two, or of four.
    fn length(&mut self, len: usize, tag_8: Option<u8>, tag_16: u8, tag_32: u8) -> Result<(), Why> {
        match (tag_8, u32::try_from(len)) {
            (Some(tag_8), Ok(len @ 0..=0xff)) => self.put(tag_8, [len as u8]),
            (_, Ok(len @ 0..=0xffff)) => self.put(tag_16, (len as u16).to_be_bytes()),
            (_, Ok(count)) => {
                // What follows is as long at least.
                self.reserve(len)?;
                self.put(tag_32, count.to_be_bytes());
            }
            (_, Err(_)) => return Err(Why::new(format_args!("a length of {len} is over 32 bits"))),
        }
        Ok(())
    }

    /// Room for so many bytes more, and a few.
    #[cold]
    fn reserve(&mut self, len: usize) -> Result<(), Why> {
        let more = len.saturating_add(SLACK);
        memory::try_reserve(self.out, more).map_err(|_| Why::no_memory(self.out.len().saturating_add(more)))
    }

    /// Sees to it that a long value that is written in many small pieces has room for those that come.
    #[cold]
    fn look_ahead(&mut self) -> Result<(), Why> {
        let (len, free) = (self.out.len(), self.out.capacity() - self.out.len());
        match len < LONG || free > len / 4 {
            true => Ok(()),
            false => self.reserve(len / 2),
        }
    }

    fn array<'e>(&'e mut self, len: Option<usize>) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        match len {
            Some(len @ 0..16) => self.out.push(tag::FIX_ARRAY | len as u8),
            Some(len) => self.length(len, None, tag::ARRAY_16, tag::ARRAY_32)?,
            None => self.out.push(tag::ARRAY_32),
        }
        self.elements(len)
    }

    fn map<'e>(&'e mut self, len: Option<usize>) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        match len {
            Some(len @ 0..16) => self.out.push(tag::FIX_MAP | len as u8),
            Some(len) => self.length(len, None, tag::MAP_16, tag::MAP_32)?,
            None => self.out.push(tag::MAP_32),
        }
        self.elements(len)
    }

    fn elements<'e>(&'e mut self, len: Option<usize>) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.enter()?;
        let count = match len {
            Some(len) => Count::Known(len),
            None => {
                let at = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                Count::At(at)
            }
        };
        Ok(Elements {
            encoder: self,
            count,
            n_written: 0,
        })
    }

    /// The header of a struct.
    #[inline]
    fn structure<'e>(&'e mut self, len: usize) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        match COMPACT {
            true => self.array(Some(len)),
            false => self.map(Some(len)),
        }
    }

    /// An enum's variant with content: a map of one entry; in the compact codec, an odd number.
    fn variant(&mut self, idx: u32, name: &str) -> Result<(), Why> {
        if COMPACT {
            self.names.add(name);
            self.unsigned((u64::from(idx) << 1) | 1);
            return Ok(());
        }
        self.out.push(tag::FIX_MAP | 1);
        self.string(name)
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Why> {
        self.depth = self.depth.checked_sub(1).ok_or_else(Why::too_deep)?;
        Ok(())
    }
}

impl<'e, 'a, const COMPACT: bool> ser::Serializer for &'e mut Encoder<'a, COMPACT> {
    type Ok = ();
    type Error = Why;
    type SerializeSeq = Elements<'e, 'a, COMPACT>;
    type SerializeTuple = Elements<'e, 'a, COMPACT>;
    type SerializeTupleStruct = Elements<'e, 'a, COMPACT>;
    type SerializeTupleVariant = Elements<'e, 'a, COMPACT>;
    type SerializeMap = Elements<'e, 'a, COMPACT>;
    type SerializeStruct = Elements<'e, 'a, COMPACT>;
    type SerializeStructVariant = Elements<'e, 'a, COMPACT>;

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), Why> {
        self.out.push(if v { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    #[inline]
    fn serialize_i8(self, v: i8) -> Result<(), Why> {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_i16(self, v: i16) -> Result<(), Why> {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_i32(self, v: i32) -> Result<(), Why> {
        self.serialize_i64(v.into())
    }

    #[inline]
    fn serialize_i64(self, v: i64) -> Result<(), Why> {
        self.signed(v);
        Ok(())
    }

    fn serialize_i128(self, v: i128) -> Result<(), Why> {
        match i64::try_from(v) {
            Ok(v) => self.signed(v),
            Err(_) => self.extended(tag::EXT_I128, v.to_be_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_u8(self, v: u8) -> Result<(), Why> {
        self.serialize_u64(v.into())
    }

    #[inline]
    fn serialize_u16(self, v: u16) -> Result<(), Why> {
        self.serialize_u64(v.into())
    }

    #[inline]
    fn serialize_u32(self, v: u32) -> Result<(), Why> {
        self.serialize_u64(v.into())
    }

    #[inline]
    fn serialize_u64(self, v: u64) -> Result<(), Why> {
        self.unsigned(v);
        Ok(())
    }

    fn serialize_u128(self, v: u128) -> Result<(), Why> {
        match u64::try_from(v) {
            Ok(v) => self.unsigned(v),
            Err(_) => self.extended(tag::EXT_U128, v.to_be_bytes()),
        }
        Ok(())
    }

    #[inline]
    fn serialize_f32(self, v: f32) -> Result<(), Why> {
        self.put(tag::F32, v.to_be_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Result<(), Why> {
        self.put(tag::F64, v.to_be_bytes());
        Ok(())
    }

    fn serialize_char(self, v: char) -> Result<(), Why> {
        self.string(v.encode_utf8(&mut [0; 4]))
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Why> {
        self.string(v)
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<(), Why> {
        self.length(v.len(), Some(tag::BIN_8), tag::BIN_16, tag::BIN_32)?;
        self.out.extend_from_slice(v);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Why> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Why> {
        let start = self.out.len();
        self.enter()?;
        value.serialize(&mut *self)?;
        self.depth += 1;
        if let Some(&(tag::NIL | tag::SOME)) = self.out.get(start) {
            self.out.insert(start, tag::SOME);
        }
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Why> {
        self.out.push(tag::NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Why> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, idx: u32, variant: &'static str) -> Result<(), Why> {
        if !COMPACT {
            return self.string(variant);
        }
        self.names.add(variant);
        self.unsigned(u64::from(idx) << 1);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Why> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        idx: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Why> {
        self.variant(idx, variant)?;
        self.enter()?;
        value.serialize(&mut *self)?;
        self.depth += 1;
        Ok(())
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.array(len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.array(Some(len))
    }

    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.array(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        idx: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.variant(idx, variant)?;
        self.array(Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        if COMPACT && len.is_none() {
            return Err(Why::new(
                "it has a map of no known length, as `flatten` makes one",
            ));
        }
        self.map(len)
    }

    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.structure(len)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        idx: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Elements<'e, 'a, COMPACT>, Why> {
        self.variant(idx, variant)?;
        self.structure(len)
    }

    fn is_human_readable(&self) -> bool {
        !COMPACT
    }
}

impl<const COMPACT: bool> Elements<'_, '_, COMPACT> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Why> {
        self.n_written += 1;
        if self.n_written.is_multiple_of(LOOK_AHEAD) {
            self.encoder.look_ahead()?;
        }
        value.serialize(&mut *self.encoder)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Why> {
        match COMPACT {
            true => self.encoder.names.add(name),
            false => self.encoder.string(name)?,
        }
        self.element(value)
    }

    fn skip(&self, name: &'static str) -> Result<(), Why> {
        match COMPACT {
            false => Ok(()),
            true => Err(Why::new(format_args!(
                "its field `{name}` is left out at times, `skip_serializing_if`"
            ))),
        }
    }

    /// A count that does not hold would make the reader take other values for these.
    fn finish(self) -> Result<(), Why> {
        self.encoder.depth += 1;
        match self.count {
            Count::Known(len) if len == self.n_written => Ok(()),
            Count::Known(len) => Err(Why::new(format_args!(
                "it announced {len} elements and gave {}",
                self.n_written
            ))),
            Count::At(at) => {
                let n = u32::try_from(self.n_written).map_err(Why::new)?;
                self.encoder.out[at..at + 4].copy_from_slice(&n.to_be_bytes());
                Ok(())
            }
        }
    }
}

macro_rules! sequence {
    ($($name:ident :: $method:ident),*) => {$(
        impl<const COMPACT: bool> ser::$name for Elements<'_, '_, COMPACT> {
            type Ok = ();
            type Error = Why;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Why> {
                self.element(value)
            }

            fn end(self) -> Result<(), Why> {
                self.finish()
            }
        }
    )*};
}

sequence!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

macro_rules! structure {
    ($($name:ident),*) => {$(
        impl<const COMPACT: bool> ser::$name for Elements<'_, '_, COMPACT> {
            type Ok = ();
            type Error = Why;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Why> {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), Why> {
                self.skip(name)
            }

            fn end(self) -> Result<(), Why> {
                self.finish()
            }
        }
    )*};
}

structure!(SerializeStruct, SerializeStructVariant);

impl<const COMPACT: bool> ser::SerializeMap for Elements<'_, '_, COMPACT> {
    type Ok = ();
    type Error = Why;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Why> {
        key.serialize(&mut *self.encoder)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Why> {
        self.element(value)
    }

    fn end(self) -> Result<(), Why> {
        self.finish()
    }
}
