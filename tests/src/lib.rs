//! What the tests share: deadlines, faults, a look into `/proc`, and programs run to be killed.
//!
//! Nothing here waits without a deadline, and nothing sleeps for an event: [`deadline`] is the one place that polls.

pub mod count;
pub mod deadline;
pub mod fault;
pub mod journal;
pub mod marker;
pub mod misuse;
pub mod oracle;
pub mod proc;
pub mod program;

pub use count::Counts;
pub use deadline::{until, within};
pub use fault::Fault;
pub use journal::Journal;
pub use marker::Marker;
