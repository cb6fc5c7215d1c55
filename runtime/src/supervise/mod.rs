//! Supervision: what is kept running, in which order it starts and stops, and what a death leads to.
//!
//! [`decide`] says what to do and does nothing: it holds no process, reads no clock and knows no names.

mod backoff;
pub(crate) mod builder;
mod child;
mod decide;
mod end;
pub(crate) mod host;
mod intensity;
pub(crate) mod letters;
mod life;
mod links;
mod name;
pub(crate) mod node;
mod requests;
pub(crate) mod spec;
mod start;
mod tree;
mod waits;

pub use backoff::Backoff;
pub use intensity::Intensity;
pub use spec::{Restart, Strategy};
