//! The bytes: those of MessagePack, and one more for what MessagePack cannot say.

use crate::ErrorKind;

/// The first byte of each value. A range is given by its first byte, with the length or number in the low bits.
pub(super) mod tag {
    pub(crate) const FIX_MAP: u8 = 0x80;
    pub(crate) const FIX_ARRAY: u8 = 0x90;
    pub(crate) const FIX_STR: u8 = 0xa0;
    pub(crate) const NIL: u8 = 0xc0;
    /// Not MessagePack, which never uses this byte: the value behind it is the inside of a `Some`. Written only where
    /// that value begins with `NIL` or `SOME`; any other value stands for its own `Some`.
    pub(crate) const SOME: u8 = 0xc1;
    pub(crate) const FALSE: u8 = 0xc2;
    pub(crate) const TRUE: u8 = 0xc3;
    pub(crate) const BIN_8: u8 = 0xc4;
    pub(crate) const BIN_16: u8 = 0xc5;
    pub(crate) const BIN_32: u8 = 0xc6;
    pub(crate) const F32: u8 = 0xca;
    pub(crate) const F64: u8 = 0xcb;
    pub(crate) const U8: u8 = 0xcc;
    pub(crate) const U16: u8 = 0xcd;
    pub(crate) const U32: u8 = 0xce;
    pub(crate) const U64: u8 = 0xcf;
    pub(crate) const I8: u8 = 0xd0;
    pub(crate) const I16: u8 = 0xd1;
    pub(crate) const I32: u8 = 0xd2;
    pub(crate) const I64: u8 = 0xd3;
    /// An extension of 16 bytes: an integer that 64 bits cannot hold. The next byte is one of the two below.
    pub(crate) const EXT_16: u8 = 0xd8;
    pub(crate) const STR_8: u8 = 0xd9;
    pub(crate) const STR_16: u8 = 0xda;
    pub(crate) const STR_32: u8 = 0xdb;
    pub(crate) const ARRAY_16: u8 = 0xdc;
    pub(crate) const ARRAY_32: u8 = 0xdd;
    pub(crate) const MAP_16: u8 = 0xde;
    pub(crate) const MAP_32: u8 = 0xdf;
    pub(crate) const NEGATIVE: u8 = 0xe0;

    pub(crate) const EXT_I128: u8 = 1;
    pub(crate) const EXT_U128: u8 = 2;
}

/// How deep sequences, maps, enums with content and `Some`s may be nested: a level costs up to 2 KiB of stack in a debug
/// build, so that this is a quarter of a tokio worker's.
pub(crate) const DEPTH: u32 = 256;

/// What is left of the names of fields and variants where they do not travel: a sum over all of them.
///
/// It follows the value, unless that has no names. Both sides add them up as they come to them, the reader from what its
/// type says they are. Whatever moves fields or variants against each other (`skip`, `alias`, `rename`) moves them all in
/// one direction, so their order says nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Names(u64);

impl Names {
    #[inline]
    pub(super) fn add(&mut self, name: &str) {
        self.0 = self.0.wrapping_add(fold(number(name)));
    }

    /// What follows the value.
    #[inline]
    pub(super) fn bytes(self) -> Option<[u8; 4]> {
        (self.0 != 0).then(|| ((self.0 >> 32) as u32).to_le_bytes())
    }
}

/// A number for a name, from its length and all of its bytes. Where the compiler knows the name, it knows this too.
#[inline]
fn number(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let len = bytes.len() as u64;
    if let Some(last) = bytes.last_chunk() {
        let (words, _) = bytes.as_chunks();
        let sum = words
            .iter()
            .fold(len, |sum, word| fold(sum ^ u64::from_le_bytes(*word)));
        return sum ^ u64::from_le_bytes(*last);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return fold(len ^ (u64::from(first) << 32 | u64::from(last)));
    }
    bytes.iter().fold(len, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Both halves of a product.
#[inline]
fn fold(sum: u64) -> u64 {
    let product = u128::from(sum) * 0x9e37_79b9_7f4a_7c15;
    product as u64 ^ (product >> 64) as u64
}

/// Why a value cannot be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.text)]
pub(super) struct Why(Box<Reason>);

/// Apart, so that what may fail is moved about at little cost.
#[derive(Debug)]
struct Reason {
    text: String,
    kind: ErrorKind,
}

impl Why {
    #[cold]
    pub(super) fn new(why: impl std::fmt::Display) -> Self {
        Why::with_kind(ErrorKind::Codec, why)
    }

    #[cold]
    fn with_kind(kind: ErrorKind, why: impl std::fmt::Display) -> Self {
        let text = why.to_string();
        Why(Box::new(Reason { text, kind }))
    }

    /// So many bytes were asked for in vain.
    #[cold]
    pub(super) fn no_memory(len: usize) -> Self {
        let what = format_args!("out of memory: {len} bytes are not to be had");
        Why::with_kind(ErrorKind::OutOfMemory, what)
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    #[cold]
    pub(super) fn too_deep() -> Self {
        Why::new(format_args!("it is nested deeper than {DEPTH} levels"))
    }

    /// The same with what to do, where the compact codec may say too little for the type.
    #[cold]
    pub(super) fn with_remedy(self) -> Self {
        match self.kind() {
            ErrorKind::Codec => Why::new(format_args!(
                "{self}: where a type is not plain, leave `codec = \"compact\"` out"
            )),
            _ => self,
        }
    }
}

impl serde::ser::Error for Why {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Why::new(why)
    }
}

impl serde::de::Error for Why {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        Why::new(why)
    }
}
