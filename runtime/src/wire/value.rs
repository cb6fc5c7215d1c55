//! What may travel between processes.

use crate::error::Result;
use crate::wire::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value that can be sent to another process.
///
/// Every type that is `Serialize + DeserializeOwned` is one; there is nothing to implement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process",
    label = "neither `serde::Serialize` nor `serde::de::DeserializeOwned`",
    note = "derive both for a type of your own: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait Wire: Sized {
    /// Appends the value to `out`; on an error `out` is as it was.
    #[doc(hidden)]
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()>;

    /// The first of the values that `bytes` hold back to back; `bytes` is left at the next one.
    #[doc(hidden)]
    fn decode(bytes: &mut &[u8]) -> Result<Self>;

    /// The same in the compact codec.
    #[doc(hidden)]
    fn encode_compact(value: &Self, out: &mut Vec<u8>) -> Result<()>;

    #[doc(hidden)]
    fn decode_compact(bytes: &mut &[u8]) -> Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Wire for T {
    #[inline]
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        Ok(codec::encode(value, out)?)
    }

    #[inline]
    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        Ok(codec::decode_next(bytes)?)
    }

    #[inline]
    fn encode_compact(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        Ok(codec::encode_compact(value, out)?)
    }

    #[inline]
    fn decode_compact(bytes: &mut &[u8]) -> Result<Self> {
        Ok(codec::decode_next_compact(bytes)?)
    }
}

/// An error that can be sent to another process: a [`Wire`] with a diagnosis of its own.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent to another process, so it cannot be the error of a task or a method",
    label = "neither `serde::Serialize` nor `serde::de::DeserializeOwned`",
    note = "return `procession::Result` and write `.map_err(procession::Error::new)`, or derive `Serialize` and `Deserialize` for an error of your own"
)]
pub trait Failure: Sized {
    #[doc(hidden)]
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode(bytes: &mut &[u8]) -> Result<Self>;
    #[doc(hidden)]
    fn encode_compact(value: &Self, out: &mut Vec<u8>) -> Result<()>;
    #[doc(hidden)]
    fn decode_compact(bytes: &mut &[u8]) -> Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Wire> Failure for T {
    fn encode(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        <T as Wire>::encode(value, out)
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        <T as Wire>::decode(bytes)
    }

    fn encode_compact(value: &Self, out: &mut Vec<u8>) -> Result<()> {
        <T as Wire>::encode_compact(value, out)
    }

    fn decode_compact(bytes: &mut &[u8]) -> Result<Self> {
        <T as Wire>::decode_compact(bytes)
    }
}

/// What the macros know as a `Result` by its name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is named `Result`, but is not one",
    note = "the macros know a `Result` by its name: import this type under another name"
)]
pub trait Fallible {
    #[doc(hidden)]
    type Value;
    #[doc(hidden)]
    type Error;
}

impl<T, E> Fallible for std::result::Result<T, E> {
    type Value = T;
    type Error = E;
}
