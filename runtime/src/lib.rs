//! Async actors, tasks and pools in operating-system processes of their own, under supervision.

#![deny(unsafe_code)]

mod error;
mod exit;

mod link;
mod observe;
mod os;
mod process;
mod supervise;
mod wire;

pub use error::{CallError, Error, ErrorKind, Never, Result, TaskError};
pub use exit::{Backtrace, ExitReason, KillCause, Panic};
