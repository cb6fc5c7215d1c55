//! The attributes of the `procession` crate.
