//! Observation: the logs of every child arrive in the host's subscriber.
//!
//! | file | holds |
//! | --- | --- |
//! | `record` | what travels: an event with its values and its spans, or the end of a span |
//! | `child` | the child's subscriber, which writes each event out at once |
//! | `callsite` | `'static` metadata made from what a child said |
//! | `values` | recorded values, made `tracing`'s own again |
//! | `replay` | the host's side, which emits each record into the host's subscriber |
//! | `setup` | the subscriber that the library sets up when the program sets none |
//! | `stand_in` | how that one gives way to the program's own, whenever it is set |

pub(crate) mod child;
pub(crate) mod replay;
pub(crate) mod setup;

mod callsite;
mod record;
mod stand_in;
mod values;

#[cfg(test)]
mod testing;
