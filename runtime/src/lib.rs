//! Async actors, tasks and pools in operating-system processes of their own, under supervision.
//!
//! Annotate a function or an `impl` block; it then runs in a process of its own and is called like any async function.
//! A crash, a hang or a memory hog costs one message, is explained exactly, and leaves nothing behind.
//!
//! ```
//! use procession::prelude::*;
//!
//! #[task]
//! fn cube(x: u64) -> u64 {
//!     x.pow(3)
//! }
//!
//! #[procession::main]
//! async fn main() -> procession::Result<()> {
//!     let pool = Pool::new(6).await?;
//!     println!("{:?}", pool.map(cube, 1..=6).await?);
//!     Ok(())
//! }
//! ```
//!
//! # Layout
//!
//! | what you hold | what it is |
//! | --- | --- |
//! | [`Process`] | a process that runs one `#[task]` |
//! | [`ActorRef`] | a handle to an `#[actor]`, good across its restarts |
//! | [`Call`] | a message that is about to be sent |
//! | [`CallStream`] | the items of a stream that a method returns |
//! | [`Supervisor`], [`Spec`], [`Tree`] | what to keep running, and how |
//! | [`Pool`] | workers that map a task over many inputs |
//! | [`SharedSlice`], [`SharedBytes`], [`SharedStr`] | memory that is written once and read in place by many processes |
//! | [`Array`] | memory that many processes change |
//! | [`Fd`] | an open file or a socket that travels |
//! | [`Connection`] | one end of a [`pipe`] between two processes |
//! | [`Sender`], [`Receiver`] | the ends of a [`channel`] from many processes to one |
//! | [`oneshot`] | a channel for one value |
//! | [`watch`], [`broadcast`] | channels from one to many: the newest value, or every one |
//! | [`Config`], [`in_use`] | settings, before anything is started, and what became of them |

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod backtrace;
mod crash;
mod error;
mod exit;
mod local;
pub mod prelude;
#[doc(hidden)]
pub mod private;

mod actor;
mod app;
mod channel;
mod link;
mod observe;
mod os;
mod pool;
mod process;
mod shared;
#[cfg(test)]
mod sim;
mod supervise;
mod task;
mod wire;

/// The programs of the README compile, and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use actor::call::{Call, CallFuture, Tell};
pub use actor::child::stopping;
pub use actor::contract::{Actor, Service, Task};
pub use actor::handle::ActorRef;
pub use actor::monitor::Monitor;
pub use actor::stream::{CallStream, StreamCall, StreamFuture};
pub use app::config::Config;
pub use app::in_use::{InUse, in_use};
pub use channel::mpsc::{Receiver, Sender, channel};
pub use channel::pipe::{Connection, pipe};
pub use error::{CallError, Error, ErrorKind, Never, Result, SendError, TaskError};
pub use exit::{Backtrace, ExitReason, KillCause, Panic};
pub use link::LinkKind;
pub use pool::{Builder as PoolBuilder, Map, Pool};
pub use process::StartMode;
pub use procession_macros::{actor, main, service, task, test};
pub use shared::{Array, SharedBytes, SharedSlice, SharedStr};
pub use supervise::builder::{ServiceRef, Spec, Supervisor, Tree};
pub use supervise::{Backoff, Intensity, Restart, Strategy};
pub use task::{Builder as ProcessBuilder, Current, Process};
pub use wire::control::{ChildId, DeadCause, DeadLetter, Exit, Info, Overflow, State};
pub use wire::fd::Fd;
pub use wire::value::Wire;

pub use channel::{broadcast, mpsc, oneshot, watch};

/// What shared memory can hold.
pub mod memory {
    pub use crate::shared::{Cell, Number, Plain};
}

/// What the streams of a pool are made of.
pub mod stream {
    pub use crate::pool::{Items, Keep, MapFuture, Ordered, Unordered, WithInput, Without};
}
