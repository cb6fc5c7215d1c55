//! Tasks: one function, one process.

use crate::actor::child;
use crate::actor::contract::Task;
use crate::actor::handle::unexpected;
use crate::error::{Error, ErrorKind, Result, TaskError};
use crate::exit::{ExitReason, KillCause};
use crate::process::StartMode;
use crate::process::control::{self, Answered};
use crate::supervise::builder::encode;
use crate::supervise::node::{self, Node, Work};
use crate::supervise::spec::{Policy, Restart};
use crate::wire::attach::Payload;
use crate::wire::control::{Answer, Body, BodyKind, Done, Info, Request, Target};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A process that runs one task.
///
/// Dropping it stops nothing: the task runs to its end, or to that of the process that started it.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn hello(name: &str) -> u32 {
///     println!("hello {name}");
///     std::process::id()
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let process = Process::spawn(hello, "bob".to_string()).await?;
/// assert_eq!(process.pid(), process.join().await?);
/// # Ok(())
/// # }
/// ```
pub struct Process<T> {
    target: Target,
    name: String,
    pid: u32,
    end: Shared<BoxFuture<'static, Result<End>>>,
    task: PhantomData<fn() -> T>,
}

/// How to start a process, from [`Process::builder`].
///
/// ```
/// use procession::prelude::*;
/// use std::time::Duration;
///
/// #[task]
/// async fn nap(seconds: u64) {
///     tokio::time::sleep(Duration::from_secs(seconds)).await
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let process = Process::builder(nap, 60).name("sleeper").shutdown(Duration::ZERO).spawn().await?;
/// assert_eq!(process.name(), "sleeper");
/// process.terminate().await?;
/// assert!(!process.is_alive());
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder starts nothing until `spawn`"]
pub struct Builder<T: Task> {
    input: Result<Payload>,
    name: Option<String>,
    shutdown: Option<Duration>,
    task: PhantomData<fn() -> T>,
}

/// What a task came to.
#[derive(Debug, Clone)]
struct End {
    reason: ExitReason,
    begun: bool,
    done: Option<Done>,
}

/// The process that the caller runs in, from [`Process::current`].
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// fn whoami() -> String {
///     Process::current().name().to_owned()
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// assert_eq!(Process::current().pid(), std::process::id());
/// let process = Process::builder(whoami, ()).name("me").spawn().await?;
/// assert_eq!(process.join().await?, "me");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Current {
    name: String,
    start: Option<StartMode>,
}

impl<T: Task> Process<T> {
    /// Starts a process that runs `task` with this input. Several arguments are a tuple, none is `()`.
    ///
    /// It returns as soon as the process is there; the task may have begun, and may have ended.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Spawn`] if there could be no process, [`ErrorKind::Codec`] or [`ErrorKind::TooLarge`] if the input
    /// cannot be sent, [`ErrorKind::NoRuntime`] outside a tokio runtime.
    pub async fn spawn(task: T, input: T::Input) -> Result<Process<T>> {
        Self::builder(task, input).spawn().await
    }

    /// The same, with a name and a shutdown time to choose.
    pub fn builder(task: T, input: T::Input) -> Builder<T> {
        let _ = task;
        Builder {
            input: Payload::encode(|out| T::encode_input(&input, out)),
            name: None,
            shutdown: None,
            task: PhantomData,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its name: what the builder gave it, or the task's with a number.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for its end and gives what the task returned.
    ///
    /// # Errors
    ///
    /// [`TaskError::Failed`] with the task's own error, or [`TaskError::Died`] with the exact reason.
    pub async fn join(self) -> Result<T::Output, TaskError<T::Error>> {
        let End { reason, begun, done } = self.end.await.map_err(TaskError::Other)?;
        match (done, &reason) {
            (Some(Done::Value(value)), ExitReason::Normal) => {
                value.decode(T::decode_output).map_err(TaskError::Other)
            }
            (Some(Done::Failed(error, _)), ExitReason::Failed(_)) => Err(error
                .decode(T::decode_error)
                .map_or_else(TaskError::Other, TaskError::Failed)),
            (Some(Done::Fault(error)), ExitReason::Failed(_)) => Err(TaskError::Other(error)),
            _ => Err(TaskError::Died { reason, begun }),
        }
    }

    /// Waits for its end and says why it ended. Its last output has been relayed by then.
    pub async fn wait(&self) -> ExitReason {
        match self.end.clone().await {
            Ok(end) => end.reason,
            Err(error) => ExitReason::Unknown {
                why: error.to_string(),
            },
        }
    }

    /// Whether it has not ended yet, as far as is known here.
    pub fn is_alive(&self) -> bool {
        self.end.clone().now_or_never().is_none()
    }

    /// Kills it with SIGKILL, and waits for its end, as [`wait`](Self::wait) does. Killing one that has ended is no
    /// error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Shutdown`] if the host is going down.
    pub async fn kill(&self) -> Result<()> {
        self.end_by(Request::Kill {
            target: self.target.clone(),
            cause: KillCause::Asked,
        })
        .await
    }

    /// Asks it to stop: an async task is cancelled at its next await, unless it awaits
    /// [`stopping`](crate::stopping). If that takes longer than its shutdown time (5 s) it is killed. Waits for its end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Shutdown`] if the host is going down.
    pub async fn terminate(&self) -> Result<()> {
        self.end_by(Request::Stop {
            target: self.target.clone(),
        })
        .await
    }

    /// Hands it to the program: it outlives the process that started it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if it has ended.
    pub async fn detach(&self) -> Result<()> {
        control::client()
            .ask(Request::Detach {
                target: self.target.clone(),
            })
            .await
            .map(drop)
    }

    async fn end_by(&self, request: Request) -> Result<()> {
        match control::client().ask(request).await {
            Err(error) if error.kind() != ErrorKind::Stopped => Err(error),
            _ => {
                // So that this handle knows of the end too: its own word of it is another answer.
                self.wait().await;
                Ok(())
            }
        }
    }
}

/// What needs no type of task: `Process::current()`, `Process::active()`.
impl Process<Current> {
    /// The process that this runs in.
    pub fn current() -> Current {
        match child::identity() {
            Some(identity) => Current {
                name: identity.name.clone(),
                start: Some(identity.mode),
            },
            None => Current {
                name: host_name(),
                start: None,
            },
        }
    }

    /// All living children of the host, in the order in which they were started. In a `#[procession::test]` they are those
    /// of that test alone.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Shutdown`] if the host is going down.
    pub async fn active() -> Result<Vec<Info>> {
        match control::client().ask(Request::Active).await?.answer {
            Answer::List(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }
}

fn host_name() -> String {
    let path = std::env::args_os().next().unwrap_or_default();
    let name = std::path::Path::new(&path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl Current {
    /// Its name: that of the spec or builder, or the program's in the host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// How it was started; `None` in the host.
    pub fn start_mode(&self) -> Option<StartMode> {
        self.start
    }
}

impl<T: Task> Builder<T> {
    /// A name, for logs and lists. Names are unique among the living.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How long it may take to stop, once asked, before it is killed.
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.shutdown = Some(within);
        self
    }

    /// Starts it, as [`Process::spawn`] does.
    ///
    /// # Errors
    ///
    /// As [`Process::spawn`].
    pub async fn spawn(self) -> Result<Process<T>> {
        control::within_runtime("a spawn")?;
        let client = control::client();
        let node = self.node(client.settings().frame_limit)?;
        let named = node.name.clone();
        let spec = encode(&node)?;
        let answered = client
            .start(|ticket| Request::Spawn {
                spec,
                link: false,
                ticket,
            })
            .await?;
        let Answer::Started { child, cap, pid, .. } = answered.answer else {
            return Err(unexpected(&answered.answer));
        };
        let target = Target::Child(child, cap);
        let end = client.ask_now(Request::Join {
            target: target.clone(),
        });
        let name = named.unwrap_or_else(|| format!("{}-{}", T::row().key.name, child.0));
        Ok(Process {
            target,
            name,
            pid,
            end: ended(end).boxed().shared(),
            task: PhantomData,
        })
    }

    fn node(self, limit: usize) -> Result<Node> {
        let input = self.input?;
        if input.len() > limit {
            return Err(Error::too_large(input.len(), limit));
        }
        let mut policy = Policy {
            restart: Restart::Temporary,
            ..Policy::default()
        };
        policy.shutdown = self.shutdown.or(policy.shutdown);
        let row = T::row();
        let process = node::Process {
            body: Body {
                kind: BodyKind::Task,
                row: row.registered()?,
                input,
            },
            label: row.key.name.to_owned(),
            mailbox: None,
            outbox: 0,
            item_timeout: None,
            joined: true,
        };
        Ok(Node {
            name: self.name,
            policy,
            work: Work::Process(process),
        })
    }
}

async fn ended(answered: impl Future<Output = Result<Answered>>) -> Result<End> {
    match answered.await?.answer {
        Answer::Ended { reason, begun, done } => Ok(End { reason, begun, done }),
        other => Err(unexpected(&other)),
    }
}

impl<T> fmt::Debug for Process<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

impl<T: Task> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
