//! What may lie in shared memory.

use bytemuck::{AnyBitPattern, NoUninit};

/// A value that is nothing but its bytes: it may lie in shared memory, where any process can read it as it is.
///
/// The numbers are, and arrays of them. A type of your own is one if it derives `bytemuck::Pod` and `bytemuck::Zeroable`:
/// all its fields are plain, `#[repr(C)]` lays them out, and none is padded. What has pointers in it (a `String`, a `Vec`, a
/// reference), or bytes that mean nothing (padding), or that not every value is allowed for (a `bool`, a `char`), is not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot lie in shared memory",
    label = "it has pointers, padding, or bytes that are no value of it",
    note = "numbers and arrays of numbers can, and a `#[repr(C)]` type of your own that derives `bytemuck::Pod` and `bytemuck::Zeroable`",
    note = "a `bool` can be a `u8` there, a `char` a `u32`"
)]
pub trait Plain: NoUninit + AnyBitPattern + Send + Sync {}

#[diagnostic::do_not_recommend]
impl<T: NoUninit + AnyBitPattern + Send + Sync> Plain for T {}
