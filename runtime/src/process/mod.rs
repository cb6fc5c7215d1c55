//! One child process: starting it, entering it, watching it, ending it, and relaying what it writes.
//!
//! ```text
//!   host                                             fork server                     child
//!   Launcher ──request: control end, page──────────▶ clone3(CLONE_PARENT) ─────────▶ Newborn
//!      │     ◀─────────────reply: pid, pidfd───────  (guards: kills all when the       │
//!    Watch ◀────────────────pidfd: its end──────────  host is gone)                    │
//!    Page  ◀═══════════════shared memory═══════════════════════════════════════════════╡
//!    Relay ◀───stdout, stderr, log (one socket each for all children)──────────────────┘
//! ```
//!
//! Every child is a child of the host's control thread, in either [`StartMode`]: so the host has its exact status,
//! and the kernel kills it when that thread is gone. Nothing here knows what a child runs.

mod context;
pub(crate) mod control;
pub(crate) mod entry;
pub(crate) mod fate;
mod image;
pub(crate) mod last_words;
pub(crate) mod launch;
mod lines;
mod mode;
pub(crate) mod orphans;
pub(crate) mod page;
pub(crate) mod reason;
pub(crate) mod relay;
mod request;
mod server;
pub(crate) mod spare;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use entry::Newborn;
pub(crate) use launch::Launcher;
pub use mode::StartMode;
pub(crate) use page::Page;
pub(crate) use relay::Relay;
#[cfg(test)]
pub(crate) use request::Role;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use request::{Reply, Request, Welcome};
pub(crate) use watch::{Status, Watch};
