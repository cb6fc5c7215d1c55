//!

pub mod misuse;
