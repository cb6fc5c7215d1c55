//! Memory that several processes have: written once and read by all, or cells that all may change.
//!
//! [`SharedSlice`], [`SharedBytes`] and [`SharedStr`] are sealed when they are made: no process can change them, so they
//! are read in place, as slices. [`Array`] is never sealed, so its cells are atomics, and no reference into it exists.
//!
//! What travels is a descriptor. A process that has the memory already, since it made it, or holds it from an earlier
//! message, finds it again by its inode and maps nothing.

mod array;
mod bytes;
mod known;
mod plain;
mod slice;
mod text;

pub use array::{Array, Cell, Number};
pub use bytes::SharedBytes;
pub use plain::Plain;
pub use slice::SharedSlice;
pub use text::SharedStr;

use crate::error::{Error, ErrorKind};
use crate::os::limits;
use std::io;

/// An error of making shared memory, with what was to be made.
fn not_made(len: usize, error: &io::Error) -> Error {
    let why = limits::explain(error);
    Error::with_kind(
        ErrorKind::Io,
        format_args!("no shared memory of {len} bytes: {why}"),
    )
}
