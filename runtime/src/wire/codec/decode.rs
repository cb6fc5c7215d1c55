//! Bytes to values.
//!
//! A length is believed only as far as the bytes that are left could hold it, each element being a byte at least, so
//! nothing is allocated that was not sent. What is skipped is skipped without recursion.

use super::format::{DEPTH, Names, Why, tag};
use crate::os::memory;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

/// Less is asked for without a look whether it is there.
const LONG: usize = 1 << 20;

/// So many elements are.
const MANY: usize = 64 << 10;

/// Takes values off the front of some bytes.
pub(super) struct Decoder<'de, const COMPACT: bool> {
    rest: &'de [u8],
    depth: u32,
    /// Those that were left out.
    names: Names,
}

/// One value, or the header of one that has elements.
enum Token<'de> {
    Nil,
    Some,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    I128([u8; 16]),
    U128([u8; 16]),
    F32(f32),
    F64(f64),
    Str(&'de str),
    Bin(&'de [u8]),
    Array(usize),
    Map(usize),
}

/// The elements of a sequence, or the entries of a map, that are still to come.
struct Elements<'d, 'de, const COMPACT: bool> {
    decoder: &'d mut Decoder<'de, COMPACT>,
    left: usize,
    /// Whether there is memory for many was looked at.
    looked: bool,
}

/// The fields of a struct that came without their names.
struct Fields<'f, 'd, 'de, const COMPACT: bool> {
    elements: &'f mut Elements<'d, 'de, COMPACT>,
    names: std::slice::Iter<'static, &'static str>,
}

/// The content of an enum's variant.
struct Content<'d, 'de, const COMPACT: bool>(&'d mut Decoder<'de, COMPACT>);

/// A variant with content that came without its name.
struct Variant<'d, 'de, const COMPACT: bool> {
    decoder: &'d mut Decoder<'de, COMPACT>,
    name: &'static str,
}

impl<'de, const COMPACT: bool> Decoder<'de, COMPACT> {
    #[inline]
    pub(super) fn new(bytes: &'de [u8]) -> Self {
        Decoder {
            rest: bytes,
            depth: DEPTH,
            names: Names::default(),
        }
    }

    /// Reads what follows the value, and gives what is behind that.
    #[inline]
    pub(super) fn end(mut self) -> Result<&'de [u8], Why> {
        if COMPACT
            && let Some(names) = self.names.bytes()
            && self.bytes().ok() != Some(names)
        {
            return Err(other_names());
        }
        Ok(self.rest)
    }

    #[inline]
    fn token(&mut self) -> Result<Token<'de>, Why> {
        let [first] = self.bytes()?;
        Ok(match first {
            0..tag::FIX_MAP => Token::Unsigned(first.into()),
            tag::FIX_MAP..tag::FIX_ARRAY => self.map((first & 0xf).into())?,
            tag::FIX_ARRAY..tag::FIX_STR => self.array((first & 0xf).into())?,
            tag::FIX_STR..tag::NIL => self.string((first & 0x1f).into())?,
            tag::NIL => Token::Nil,
            tag::SOME => Token::Some,
            tag::FALSE => Token::Bool(false),
            tag::TRUE => Token::Bool(true),
            tag::BIN_8 => self.len_8().and_then(|len| self.binary(len))?,
            tag::BIN_16 => self.len_16().and_then(|len| self.binary(len))?,
            tag::BIN_32 => self.len_long().and_then(|len| self.binary(len))?,
            tag::F32 => Token::F32(f32::from_be_bytes(self.bytes()?)),
            tag::F64 => Token::F64(f64::from_be_bytes(self.bytes()?)),
            tag::U8 => Token::Unsigned(u8::from_be_bytes(self.bytes()?).into()),
            tag::U16 => Token::Unsigned(u16::from_be_bytes(self.bytes()?).into()),
            tag::U32 => Token::Unsigned(u32::from_be_bytes(self.bytes()?).into()),
            tag::U64 => Token::Unsigned(u64::from_be_bytes(self.bytes()?)),
            tag::I8 => Token::Signed(i8::from_be_bytes(self.bytes()?).into()),
            tag::I16 => Token::Signed(i16::from_be_bytes(self.bytes()?).into()),
            tag::I32 => Token::Signed(i32::from_be_bytes(self.bytes()?).into()),
            tag::I64 => Token::Signed(i64::from_be_bytes(self.bytes()?)),
            tag::EXT_16 => self.extended()?,
            tag::STR_8 => self.len_8().and_then(|len| self.string(len))?,
            tag::STR_16 => self.len_16().and_then(|len| self.string(len))?,
            tag::STR_32 => self.len_long().and_then(|len| self.string(len))?,
            tag::ARRAY_16 => self.len_16().and_then(|len| self.array(len))?,
            tag::ARRAY_32 => self.len_32().and_then(|len| self.array(len))?,
            tag::MAP_16 => self.len_16().and_then(|len| self.map(len))?,
            tag::MAP_32 => self.len_32().and_then(|len| self.map(len))?,
            tag::NEGATIVE.. => Token::Signed((first as i8).into()),
            _ => {
                return Err(Why::new(format_args!(
                    "no value begins with the byte {first:#04x}"
                )));
            }
        })
    }

    /// The next value if it is an unsigned integer: a short cut past [`token`](Self::token) for what is most common.
    #[inline]
    fn unsigned(&mut self) -> Option<u64> {
        let (v, rest) = match *self.rest {
            [v @ 0..tag::FIX_MAP, ref rest @ ..] => (v.into(), rest),
            [tag::U8, v, ref rest @ ..] => (v.into(), rest),
            [tag::U16, a, b, ref rest @ ..] => (u16::from_be_bytes([a, b]).into(), rest),
            [tag::U32, a, b, c, d, ref rest @ ..] => (u32::from_be_bytes([a, b, c, d]).into(), rest),
            [tag::U64, a, b, c, d, e, f, g, h, ref rest @ ..] => {
                (u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest)
            }
            _ => return None,
        };
        self.rest = rest;
        Some(v)
    }

    #[inline]
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Why> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn slice(&mut self, len: usize) -> Result<&'de [u8], Why> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(ends_early)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn len_8(&mut self) -> Result<usize, Why> {
        Ok(u8::from_be_bytes(self.bytes()?).into())
    }

    fn len_16(&mut self) -> Result<usize, Why> {
        Ok(u16::from_be_bytes(self.bytes()?).into())
    }

    fn len_32(&mut self) -> Result<usize, Why> {
        usize::try_from(u32::from_be_bytes(self.bytes()?)).map_err(Why::new)
    }

    /// The length of what is copied in one go by whoever it is for, who cannot say that there is no memory for it.
    fn len_long(&mut self) -> Result<usize, Why> {
        match self.len_32()? {
            len if len < LONG || len > self.rest.len() || memory::has(len) => Ok(len),
            len => Err(Why::no_memory(len)),
        }
    }

    #[inline]
    fn string(&mut self, len: usize) -> Result<Token<'de>, Why> {
        let bytes = self.slice(len)?;
        std::str::from_utf8(bytes).map(Token::Str).map_err(Why::new)
    }

    fn binary(&mut self, len: usize) -> Result<Token<'de>, Why> {
        self.slice(len).map(Token::Bin)
    }

    #[inline]
    fn array(&mut self, len: usize) -> Result<Token<'de>, Why> {
        match len <= self.rest.len() {
            true => Ok(Token::Array(len)),
            false => Err(ends_early()),
        }
    }

    #[inline]
    fn map(&mut self, len: usize) -> Result<Token<'de>, Why> {
        match len <= self.rest.len() / 2 {
            true => Ok(Token::Map(len)),
            false => Err(ends_early()),
        }
    }

    fn extended(&mut self) -> Result<Token<'de>, Why> {
        match self.bytes()? {
            [tag::EXT_I128] => self.bytes().map(Token::I128),
            [tag::EXT_U128] => self.bytes().map(Token::U128),
            [kind] => Err(Why::new(format_args!("no value has the extension {kind}"))),
        }
    }

    /// Runs `visit` one level deeper.
    #[inline]
    fn nested<T>(&mut self, visit: impl FnOnce(&mut Self) -> Result<T, Why>) -> Result<T, Why> {
        self.depth = self.depth.checked_sub(1).ok_or_else(Why::too_deep)?;
        let value = visit(self)?;
        self.depth += 1;
        Ok(value)
    }

    fn elements<T>(
        &mut self,
        left: usize,
        visit: impl FnOnce(&mut Elements<'_, 'de, COMPACT>) -> Result<T, Why>,
    ) -> Result<T, Why> {
        self.nested(|decoder| {
            let looked = false;
            let mut elements = Elements {
                decoder,
                left,
                looked,
            };
            let value = visit(&mut elements)?;
            match elements.left {
                0 => Ok(value),
                left => Err(Why::new(format_args!(
                    "{left} of {} elements are too many",
                    elements.left
                ))),
            }
        })
    }

    fn skip(&mut self) -> Result<(), Why> {
        let mut left = 1_usize;
        while left > 0 {
            left -= 1;
            // No overflow: a count is at most the number of bytes that are left, and each of them is counted once.
            left += match self.token()? {
                Token::Some => 1,
                Token::Array(len) => len,
                Token::Map(len) => 2 * len,
                _ => 0,
            };
            if left > self.rest.len() {
                return Err(ends_early());
            }
        }
        Ok(())
    }
}

#[cold]
fn ends_early() -> Why {
    Why::new("the bytes end in the middle of it")
}

#[cold]
fn other_names() -> Why {
    Why::new("its fields or variants are not those that were sent, as with `skip`, `alias` or `rename`")
}

#[cold]
fn not_known() -> Why {
    Why::new("it is to be read without its type, as with `untagged`, `tag`, `flatten` or any JSON")
}

macro_rules! as_any {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
            self.value(visitor)
        }
    )*};
}

macro_rules! as_integer {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
            match self.unsigned() {
                Some(v) => visitor.visit_u64(v),
                None => self.value_apart(visitor),
            }
        }
    )*};
}

impl<'de, const COMPACT: bool> Decoder<'de, COMPACT> {
    /// The next value, whatever it is.
    #[inline]
    fn value<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Why> {
        match self.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Some => self.nested(|decoder| visitor.visit_some(decoder)),
            Token::Bool(v) => visitor.visit_bool(v),
            Token::Unsigned(v) => visitor.visit_u64(v),
            Token::Signed(v) => visitor.visit_i64(v),
            Token::I128(v) => visitor.visit_i128(i128::from_be_bytes(v)),
            Token::U128(v) => visitor.visit_u128(u128::from_be_bytes(v)),
            Token::F32(v) => visitor.visit_f32(v),
            Token::F64(v) => visitor.visit_f64(v),
            Token::Str(v) => visitor.visit_borrowed_str(v),
            Token::Bin(v) => visitor.visit_borrowed_bytes(v),
            Token::Array(len) => self.elements(len, |elements| visitor.visit_seq(elements)),
            Token::Map(len) => self.elements(len, |elements| visitor.visit_map(elements)),
        }
    }

    /// The same, so that the short cut past it stays short.
    #[inline(never)]
    fn value_apart<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Why> {
        self.value(visitor)
    }

    /// A struct by its fields' names, or in the compact codec by their order.
    #[inline]
    fn structure<V: Visitor<'de>>(
        &mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Why> {
        if !COMPACT {
            return self.value(visitor);
        }
        match self.token()? {
            Token::Array(len) => self.elements(len, |elements| {
                let names = fields.iter();
                visitor.visit_seq(Fields { elements, names })
            }),
            _ => Err(Why::new("a struct without names is an array")),
        }
    }

    /// A variant by its number, which is odd where content follows.
    fn variant<V: Visitor<'de>>(
        &mut self,
        number: u64,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Why> {
        let idx = usize::try_from(number >> 1).unwrap_or(usize::MAX);
        let name = variants.get(idx).ok_or_else(other_names)?;
        self.names.add(name);
        match number & 1 {
            0 => visitor.visit_enum(name.into_deserializer()),
            _ => self.nested(|decoder| visitor.visit_enum(Variant { decoder, name })),
        }
    }
}

impl<'de, const COMPACT: bool> de::Deserializer<'de> for &mut Decoder<'de, COMPACT> {
    type Error = Why;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
        match COMPACT {
            false => self.value(visitor),
            true => Err(not_known()),
        }
    }

    as_any! {
        deserialize_bool deserialize_i128 deserialize_u128
        deserialize_f32 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_seq deserialize_map
    }

    as_integer! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    #[inline]
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
        match *self.rest {
            [tag::F64, a, b, c, d, e, f, g, h, ref rest @ ..] => {
                self.rest = rest;
                visitor.visit_f64(f64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
            _ => self.value(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
        match self.rest.first() {
            Some(&tag::NIL) => {
                self.slice(1)?;
                visitor.visit_none()
            }
            Some(&tag::SOME) => {
                self.slice(1)?;
                self.nested(|decoder| visitor.visit_some(decoder))
            }
            _ => self.nested(|decoder| visitor.visit_some(decoder)),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Why> {
        match self.token()? {
            Token::Unsigned(number) if COMPACT => self.variant(number, variants, visitor),
            _ if COMPACT => Err(Why::new("a variant without its name is a number")),
            Token::Str(variant) => visitor.visit_enum(variant.into_deserializer()),
            Token::Map(1) => self.nested(|decoder| visitor.visit_enum(Content(decoder))),
            _ => Err(Why::new("an enum is its variant's name, or a map of one entry")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Why> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Why> {
        self.value(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Why> {
        self.value(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Why> {
        self.value(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Why> {
        self.structure(fields, visitor)
    }

    /// A name within a map, or the tag of an adjacently tagged enum, which came as a variant.
    #[inline]
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Why> {
        if COMPACT {
            return Err(not_known());
        }
        self.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        !COMPACT
    }
}

impl<const COMPACT: bool> Elements<'_, '_, COMPACT> {
    /// Whether there is the memory that a vector of all elements will come to as serde makes it, which cannot say that there
    /// is none.
    #[cold]
    fn look<T>(&mut self) -> Result<(), Why> {
        self.looked = true;
        let size = size_of::<T>();
        let mut len = size.saturating_mul((LONG / size.max(1)).clamp(1, self.left));
        while len < size.saturating_mul(self.left) {
            len = len.saturating_mul(2);
        }
        match memory::has(len) {
            true => Ok(()),
            false => Err(Why::no_memory(len)),
        }
    }
}

impl<'de, const COMPACT: bool> de::SeqAccess<'de> for &mut Elements<'_, 'de, COMPACT> {
    type Error = Why;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Why> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.left >= MANY && !self.looked {
            self.look::<T::Value>()?;
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de, const COMPACT: bool> de::SeqAccess<'de> for Fields<'_, '_, 'de, COMPACT> {
    type Error = Why;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Why> {
        if self.elements.left > 0 {
            let name = self.names.next().ok_or_else(other_names)?;
            self.elements.decoder.names.add(name);
        }
        self.elements.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.elements.left)
    }
}

impl<'de, const COMPACT: bool> de::MapAccess<'de> for &mut Elements<'_, 'de, COMPACT> {
    type Error = Why;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Why> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Why> {
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de, const COMPACT: bool> de::EnumAccess<'de> for Content<'_, 'de, COMPACT> {
    type Error = Why;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Why> {
        let variant = seed.deserialize(&mut *self.0)?;
        Ok((variant, self))
    }
}

impl<'de, const COMPACT: bool> de::VariantAccess<'de> for Content<'_, 'de, COMPACT> {
    type Error = Why;

    fn unit_variant(self) -> Result<(), Why> {
        Err(Why::new("a variant without content came with some"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Why> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Why> {
        self.0.value(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Why> {
        self.0.structure(fields, visitor)
    }
}

impl<'d, 'de, const COMPACT: bool> de::EnumAccess<'de> for Variant<'d, 'de, COMPACT> {
    type Error = Why;
    type Variant = Content<'d, 'de, COMPACT>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), Why> {
        let variant = seed.deserialize(IntoDeserializer::<Why>::into_deserializer(self.name))?;
        Ok((variant, Content(self.decoder)))
    }
}
