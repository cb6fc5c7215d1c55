//! The errors: one opaque [`Error`] at the edge, and an enum for each operation where a match is natural.

use crate::exit::ExitReason;
use serde::{Deserialize, Serialize};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error of this library, or one of the user's own, wrapped.
///
/// It travels between processes: what arrives is its kind, its text and the texts of its causes.
///
/// ```
/// fn port(text: &str) -> procession::Result<u16> {
///     text.parse().map_err(|error| procession::Error::new(error).context("the port"))
/// }
///
/// assert_eq!(format!("{:#}", port("x").unwrap_err()), "the port: invalid digit found in string");
/// ```
#[derive(Clone, Serialize, Deserialize)]
pub struct Error(Box<Inner>);

#[derive(Clone, Serialize, Deserialize)]
struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Cause>,
}

/// The causes of an [`Error`], outermost first: texts, since the errors themselves may not travel.
#[derive(Clone, Serialize, Deserialize)]
struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

/// What kind of error an [`Error`] is: what a caller can act on.
///
/// ```
/// use procession::{Config, ErrorKind};
///
/// let error = Config::new().mailbox(0).init().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Invalid);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user's own, by [`Error::new`], [`Error::msg`] or `?`.
    Other,
    /// A process could not be started: out of descriptors, processes or memory.
    Spawn,
    /// The `init` of an actor failed or panicked, or its process died in it.
    Init,
    /// It was used outside a tokio runtime.
    NoRuntime,
    /// An argument or a setting does not make sense: zero workers, two children of one name.
    Invalid,
    /// No living actor has that name or that reference.
    NotFound,
    /// The task or actor is not in this build.
    NotInBuild,
    /// A value could not be turned into bytes or back.
    Codec,
    /// A message is larger than the limit.
    TooLarge,
    /// There is no memory for a message, in the process that sends it or in the one that receives it.
    OutOfMemory,
    /// The process at the other end died, and its work with it.
    Died,
    /// The process, actor or supervisor was stopped.
    Stopped,
    /// It took longer than its deadline.
    Timeout,
    /// There is no room for it, and it was not to wait.
    Full,
    /// The other end of a channel was dropped.
    Closed,
    /// A call would wait for itself.
    Cycle,
    /// An error of the operating system.
    Io,
    /// A peer sent what the protocol does not allow.
    Protocol,
    /// The host is going down.
    Shutdown,
}

impl Error {
    /// Wraps any error: its text and those of its causes are kept.
    ///
    /// ```
    /// let error = procession::Error::new("7x".parse::<u8>().unwrap_err());
    /// assert_eq!(error.to_string(), "invalid digit found in string");
    /// ```
    pub fn new(error: impl StdError) -> Self {
        Self::with_kind(ErrorKind::Other, error.to_string()).caused_by(error.source())
    }

    /// An error from a text.
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::with_kind(ErrorKind::Other, message)
    }

    /// The same error as the cause of a new one that says what was being done.
    ///
    /// ```
    /// let error = procession::Error::msg("no coffee").context("brewing");
    /// assert_eq!(format!("{error}"), "brewing");
    /// assert_eq!(format!("{error:#}"), "brewing: no coffee");
    /// ```
    #[must_use]
    pub fn context(self, message: impl fmt::Display) -> Self {
        let Inner {
            kind,
            message: inner,
            source,
        } = *self.0;
        let cause = Cause {
            message: inner,
            source: source.map(Box::new),
        };
        Error(Box::new(Inner {
            kind,
            message: message.to_string(),
            source: Some(cause),
        }))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether a deadline passed.
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Whether the other side is gone: its process died or was stopped, or it dropped its end of a channel.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Died | ErrorKind::Stopped | ErrorKind::Shutdown | ErrorKind::Closed
        )
    }

    pub(crate) fn with_kind(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Error(Box::new(Inner {
            kind,
            message: message.to_string(),
            source: None,
        }))
    }

    pub(crate) fn too_large(size: usize, limit: usize) -> Self {
        let message = format_args!(
            "a message of {size} bytes is over the frame limit of {limit}: raise it, or send it in parts"
        );
        Self::with_kind(ErrorKind::TooLarge, message)
    }

    /// A message of that size, or more, was to be encoded.
    #[cold]
    pub(crate) fn unencoded(size: usize) -> Self {
        let message =
            format_args!("out of memory: a message of {size} bytes cannot be encoded in this process");
        Self::with_kind(ErrorKind::OutOfMemory, message)
    }

    /// A request of that size came.
    #[cold]
    pub(crate) fn unheld(size: usize) -> Self {
        let message = format_args!(
            "the receiver is out of memory: a message of {size} bytes has no room there and was thrown away"
        );
        Self::with_kind(ErrorKind::OutOfMemory, message)
    }

    /// An answer or an item of that size came.
    #[cold]
    pub(crate) fn unheld_here(size: usize) -> Self {
        let message = format_args!(
            "out of memory: a message of {size} bytes has no room in this process and was thrown away"
        );
        Self::with_kind(ErrorKind::OutOfMemory, message)
    }

    pub(crate) fn caused_by(mut self, source: Option<&(dyn StdError + 'static)>) -> Self {
        self.0.source = source.map(Cause::of);
        self
    }
}

impl Cause {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        Cause {
            message: error.to_string(),
            source: error.source().map(|s| Box::new(Cause::of(s))),
        }
    }
}

impl fmt::Display for Error {
    /// The message; with `{:#}` its causes too.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if f.alternate() {
            let mut next = self.0.source.as_ref();
            while let Some(cause) = next {
                write!(f, ": {}", cause.message)?;
                next = cause.source.as_deref();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    /// What `main` prints when it returns an error: the message, then each cause on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut next = self.0.source.as_ref();
        while let Some(cause) = next {
            write!(f, "\n  caused by: {}", cause.message)?;
            next = cause.source.as_deref();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|c| c as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|c| c as &(dyn StdError + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::with_kind(ErrorKind::Io, &error).caused_by(error.source())
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(error: nix::errno::Errno) -> Self {
        std::io::Error::from(error).into()
    }
}

impl<E: fmt::Debug + fmt::Display> From<CallError<E>> for Error {
    fn from(error: CallError<E>) -> Self {
        let kind = match &error {
            CallError::Failed(_) => ErrorKind::Other,
            CallError::Died { .. } => ErrorKind::Died,
            CallError::Stopped => ErrorKind::Stopped,
            CallError::Timeout => ErrorKind::Timeout,
            CallError::Full => ErrorKind::Full,
            CallError::Cycle { .. } => ErrorKind::Cycle,
            CallError::Other(inner) => inner.kind(),
        };
        Self::with_kind(kind, error)
    }
}

impl<E: fmt::Debug + fmt::Display> From<TaskError<E>> for Error {
    fn from(error: TaskError<E>) -> Self {
        let kind = match &error {
            TaskError::Failed(_) => ErrorKind::Other,
            TaskError::Died { .. } => ErrorKind::Died,
            TaskError::Timeout(_) => ErrorKind::Timeout,
            TaskError::Other(inner) => inner.kind(),
        };
        Self::with_kind(kind, error)
    }
}

/// The error type of what cannot fail by itself: a method or task whose output is not a `Result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl StdError for Never {}

/// Why a call to an actor has no value.
///
/// ```
/// use procession::prelude::*;
///
/// #[derive(Default)]
/// struct Till;
///
/// #[actor]
/// impl Till {
///     fn take(&mut self, _n: u64) -> Result<u64, String> {
///         Err("empty".to_owned())
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let till = Till::spawn().await?;
/// assert_eq!(till.take(3).await, Err(CallError::Failed("empty".to_owned())));
/// till.stop().await?;
/// assert_eq!(till.take(3).await, Err(CallError::Stopped));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CallError<E = Never> {
    /// The method ran and returned this error.
    Failed(E),
    /// The actor's process died before it answered.
    #[non_exhaustive]
    Died {
        /// Why it died.
        reason: ExitReason,
        /// Whether the method had begun. `true`: it may have been in the middle, or done: an answer that the process had
        /// not handed to the kernel dies with it. `false`: it never ran, and as nothing restarts the actor it never will;
        /// while there is a next incarnation, a call that had not begun goes to that.
        begun: bool,
    },
    /// The actor has ended for good: it was stopped, or its supervisor gave it up.
    Stopped,
    /// No answer came within the deadline. The method may have run, or may still.
    Timeout,
    /// The call would wait for itself: an actor that waits for the answer is called again, and cannot answer before.
    #[non_exhaustive]
    Cycle {
        /// Who calls whom, as names of actors and methods; the last cannot begin before the first is done.
        path: Vec<String>,
    },
    /// The actor's mailbox has no room, and the message was not to wait for it.
    Full,
    /// The call could not be made, or its answer not be read.
    Other(Error),
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Failed(error) => write!(f, "{error}"),
            CallError::Died { reason, begun: true } => write!(f, "the actor died during the call: {reason}"),
            CallError::Died { reason, begun: false } => {
                write!(f, "the actor died before the call began: {reason}")
            }
            CallError::Stopped => f.write_str("the actor has stopped"),
            CallError::Timeout => f.write_str("no answer within the deadline"),
            CallError::Cycle { path } => {
                write!(f, "the call would wait for itself: {}", path.join(" -> "))
            }
            CallError::Full => f.write_str("the actor's mailbox is full"),
            CallError::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> StdError for CallError<E> {}

/// Why a value was not sent over a channel: the value comes back.
///
/// Ends of channels within the value do not: they went with the attempt.
///
/// ```
/// use procession::{SendError, pipe};
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let (here, there) = pipe::<u32, u32>()?;
/// drop(there);
/// assert!(matches!(here.send(3).await, Err(SendError::Closed(3))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// Nobody will receive it: the other end is gone.
    Closed(T),
    /// There is no room for it, and it was not to wait.
    Full(T),
    /// It could not be turned into bytes, or is too large, or the channel cannot be used here.
    Other(T, Error),
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Closed(value) | SendError::Full(value) | SendError::Other(value, _) => value,
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("the other end of the channel is gone"),
            SendError::Full(_) => f.write_str("the channel is full"),
            SendError::Other(_, error) => write!(f, "{error:#}"),
        }
    }
}

impl<T> fmt::Debug for SendError<T> {
    /// Without the value, which need not be `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Closed(_) => f.write_str("Closed(..)"),
            SendError::Full(_) => f.write_str("Full(..)"),
            SendError::Other(_, error) => write!(f, "Other(.., {error:?})"),
        }
    }
}

impl<T> StdError for SendError<T> {}

impl<T> From<SendError<T>> for Error {
    fn from(error: SendError<T>) -> Self {
        match error {
            SendError::Closed(_) => Self::with_kind(ErrorKind::Closed, &error),
            SendError::Full(_) => Self::with_kind(ErrorKind::Full, &error),
            SendError::Other(_, error) => error,
        }
    }
}

/// Why a task has no value.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn drops_a_cup() {
///     panic!("crash");
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let error = Process::spawn(drops_a_cup, ()).await?.join().await.unwrap_err();
/// let TaskError::Died { reason: ExitReason::Panicked(panic), begun: true, .. } = error else { panic!("{error}") };
/// assert_eq!(panic.message, "crash");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TaskError<E = Never> {
    /// The function returned this error.
    Failed(E),
    /// Its process ended before it returned.
    #[non_exhaustive]
    Died {
        /// Why it ended.
        reason: ExitReason,
        /// Whether the function had begun. `false`: it never ran.
        begun: bool,
    },
    /// It ran for longer than the pool's task timeout, and was killed.
    Timeout(Duration),
    /// It could not be started, or its value not be read.
    Other(Error),
}

impl<E: fmt::Display> fmt::Display for TaskError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Failed(error) => write!(f, "{error}"),
            TaskError::Died { reason, begun: true } => {
                write!(f, "the process ended during the task: {reason}")
            }
            TaskError::Died { reason, begun: false } => {
                write!(f, "the process ended before the task began: {reason}")
            }
            TaskError::Timeout(after) => write!(f, "took longer than the task timeout of {after:?}"),
            TaskError::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> StdError for TaskError<E> {}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.0.kind == other.0.kind && self.0.message == other.0.message
    }
}
