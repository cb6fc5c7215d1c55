//! Bytes to values and back: the codec, and the frames that messages travel in.
//!
//! No I/O and no clock on this floor. Whatever the bytes are, the answer is a value or an error: never a panic, and
//! never an allocation that the bytes did not pay for.

pub(crate) mod attach;
pub(crate) mod behind;
pub(crate) mod blob;
pub(crate) mod codec;
pub(crate) mod control;
pub(crate) mod encoded;
pub(crate) mod fd;
pub(crate) mod frame;
pub(crate) mod items;
pub(crate) mod kind;
pub(crate) mod value;
