//! Why a process ended: [`ExitReason`], and what a panicking process managed to say.
//!
//! The reason is put together by the host from two sources: the wait status that the kernel gives, which is never
//! missing unless somebody else took it, and what the process itself said before it ended (its result, a panic, an
//! error of its `init`). What it said counts only where the wait status agrees, or is not to be had.

pub use crate::backtrace::Backtrace;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a process ended, exactly.
///
/// It reads well: `exited normally`, `killed by SIGKILL`, `panicked at src/main.rs:7:5: boom`.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn exits(code: i32) {
///     std::process::exit(code);
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let process = Process::spawn(exits, 3).await?;
/// let reason = process.wait().await;
/// assert_eq!(reason, ExitReason::Exited(3));
/// assert_eq!(reason.to_string(), "exited with code 3");
/// assert!(!reason.is_normal());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// The task returned, or the service came to its end.
    Normal,
    /// It was asked to stop and did.
    Shutdown,
    /// The task or service returned an error; its text.
    Failed(String),
    /// The `init` of an actor returned an error; its text.
    InitFailed(String),
    /// It panicked.
    Panicked(Box<Panic>),
    /// A signal ended it.
    Signaled {
        /// The signal's number, as in `signal(7)`.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It ran out of stack.
    ///
    /// Told from other faults on the thread that runs your code. On threads that a child starts itself only where the
    /// program has `#[procession::main]`: under another `main` they have no stack to tell it on, and it is
    /// [`Signaled`](Self::Signaled) by `SIGSEGV`.
    StackOverflow {
        /// Whether a core was dumped.
        core: bool,
    },
    /// It was killed by this library, and why.
    Killed(KillCause),
    /// It called `exit` with this code before its work was done.
    Exited(i32),
    /// It broke the protocol of its links and was killed; what was wrong.
    ProtocolError(String),
    /// Its end was seen but not its status, which somebody else took, and it had said nothing of how it would end.
    Unknown {
        /// Who could have taken it.
        why: String,
    },
}

/// Why this library killed a process.
///
/// ```
/// use procession::prelude::*;
/// use procession::KillCause;
///
/// #[task]
/// fn hangs() {
///     loop {
///         std::thread::park();
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let process = Process::spawn(hangs, ()).await?;
/// process.kill().await?;
/// assert_eq!(process.wait().await, ExitReason::Killed(KillCause::Asked));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum KillCause {
    /// `kill` was called.
    Asked,
    /// It did not stop within its shutdown time.
    ShutdownTime,
    /// An item of a pool ran for longer than the pool's task timeout.
    Timeout,
    /// A call that was to be [killed after its deadline](crate::Call::kill_after) had not come to its end.
    Deadline,
    /// The process that owned it ended.
    Owner,
    /// Its supervisor stopped, or its pool was dropped.
    Dropped,
}

/// What a panic said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Panic {
    /// The message.
    pub message: String,
    /// `file:line:column` of the panic.
    pub location: String,
    /// The name of the thread that panicked.
    pub thread: String,
    /// Where it was called from, innermost first.
    pub backtrace: Backtrace,
}

impl ExitReason {
    /// Whether this is an end that was wished for: it returned, or was asked to stop and did.
    pub fn is_normal(&self) -> bool {
        matches!(self, ExitReason::Normal | ExitReason::Shutdown)
    }

    /// The signal that ended the process, if one did.
    pub fn signal(&self) -> Option<i32> {
        match self {
            ExitReason::Signaled { signal, .. } => Some(*signal),
            ExitReason::Killed(_) => Some(Signal::SIGKILL as i32),
            ExitReason::StackOverflow { .. } => Some(Signal::SIGABRT as i32),
            _ => None,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("exited normally"),
            ExitReason::Shutdown => f.write_str("shut down"),
            ExitReason::Failed(error) => write!(f, "failed: {error}"),
            ExitReason::InitFailed(error) => write!(f, "init failed: {error}"),
            ExitReason::Panicked(panic) => write!(f, "{panic}"),
            ExitReason::Signaled { signal, core } => {
                write!(f, "killed by {}{}", signal_name(*signal), dumped(*core))
            }
            ExitReason::StackOverflow { core } => write!(f, "overflowed its stack{}", dumped(*core)),
            ExitReason::Killed(KillCause::Asked) => f.write_str("killed by SIGKILL"),
            ExitReason::Killed(cause) => write!(f, "killed: {cause}"),
            ExitReason::Exited(code) => write!(f, "exited with code {code}"),
            ExitReason::ProtocolError(what) => write!(f, "killed: broke the protocol: {what}"),
            ExitReason::Unknown { why } => write!(f, "ended for an unknown reason: {why}"),
        }
    }
}

impl fmt::Display for KillCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KillCause::Asked => "as asked",
            KillCause::ShutdownTime => "did not stop within its shutdown time",
            KillCause::Deadline => {
                "a call had not come to its end when its deadline and its grace had passed"
            }
            KillCause::Timeout => "an item took longer than the task timeout",
            KillCause::Owner => "the process that owned it ended",
            KillCause::Dropped => "its owner was dropped",
        })
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.location, self.message)
    }
}

fn dumped(core: bool) -> &'static str {
    if core { " (core dumped)" } else { "" }
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}
