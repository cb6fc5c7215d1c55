//! What a host and its children say to each other: the messages of the control socket.
//!
//! `Down` goes from the host to a child, `Up` from a child to the host. A request is the same value whether it comes
//! from the host's own threads, through memory, or from a child, through its control socket; each is answered once.
//! The ends of links travel beside a message, in the order that its documentation names; a `Payload` within a message
//! brings its own descriptors.

use crate::error::Error;
use crate::exit::{ExitReason, KillCause};
use crate::wire::attach::Payload;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

use super::kind::LinkKind;

/// A child of the host, stable across its restarts. What you print, not what you hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChildId(pub(crate) u64);

/// The right to talk to a child: it cannot be guessed from its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Cap(pub(crate) u128);

/// A namespace of children: one for the program, one for each test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub(crate) struct Context(pub(crate) u64);

/// One connection between a client and one incarnation of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct LinkId(pub(crate) u64);

/// A start, as the process that asked for it counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ticket(pub(crate) u64);

/// Whom a ref means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Target {
    /// A child, by the capability that its starter was given.
    Child(ChildId, Cap),
    /// Whoever has this name when a link is made.
    Named(String),
}

/// What runs in a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum BodyKind {
    Task,
    Service,
    Actor,
    Worker,
}

/// What runs in a child: its row in the registry of this build, and its encoded input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) kind: BodyKind,
    /// The position of its row; a worker has none.
    pub(crate) row: u32,
    pub(crate) input: Payload,
}

/// The first message to a child. Descriptors: the server's end of a link where `link` is some.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub(crate) child: ChildId,
    pub(crate) cap: Cap,
    pub(crate) context: Context,
    pub(crate) name: String,
    pub(crate) body: Body,
    pub(crate) link: Option<Attach>,
    /// Whether the link that was made ahead of it is the first that it serves.
    pub(crate) ahead: bool,
    pub(crate) settings: Settings,
    /// The most verbose level that anybody in the host reads, as `tracing` prints it.
    pub(crate) log: String,
}

/// The host's settings that its children share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The deadline of a call that names none.
    pub(crate) call_timeout: Duration,
    /// The most bytes in a frame.
    pub(crate) frame_limit: usize,
    /// How many messages of one sender may wait at an actor that says nothing else.
    pub(crate) mailbox: Mailbox,
    /// How many incarnations in a row a message may kill before it is set aside.
    pub(crate) poisonous: u32,
}

/// What one sender may have at an actor that has not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mailbox {
    pub(crate) messages: u32,
    pub(crate) overflow: Overflow,
}

/// What becomes of a message to an actor whose mailbox is full.
///
/// ```
/// use procession::Overflow;
///
/// assert_eq!(Overflow::default(), Overflow::Wait);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Overflow {
    /// Its sender waits for room.
    #[default]
    Wait,
    /// It fails with [`CallError::Full`](crate::CallError::Full).
    Reject,
    /// It is accepted, and the oldest one that has not left its sender is dropped: a tell becomes a
    /// [dead letter](crate::ActorRef::dead_letters), a call fails with [`CallError::Full`](crate::CallError::Full).
    /// Half of the mailbox is at the sender, so that there is such a one.
    DropOldest,
}

/// The server's end of a link. Descriptors: those of a `link::Transport`, whose number says what kind it is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Attach {
    pub(crate) link: LinkId,
    /// The cell of the status page that counts what had begun on this link.
    pub(crate) slot: u32,
    pub(crate) mailbox: Mailbox,
}

/// From the host to a child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Down {
    /// The birth follows: it is too long to come first.
    Wait,
    /// A link without a client yet, whose frames have at most so many bytes, to be opened before the birth. Descriptors: as
    /// with [`Attach`]; the one that is attached to this link later has none.
    Ahead {
        limit: usize,
    },
    Birth(Box<Birth>),
    Attach(Attach),
    /// Come to an orderly end.
    Stop,
    /// The answer to the request of that number, with the descriptors that it names.
    Answer(u64, Result<Answer, Error>),
    /// The server of a link that this process is a client of has died.
    Fate(LinkId, Fate),
    /// Something that a monitor of this process waited for.
    Exit(u64, Exit),
    /// That monitor hears no more: what it waited for has ended for good.
    Unheard(u64),
}

/// From a child to the host.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Up {
    /// An actor's `init` is done, or a worker is up.
    Ready,
    /// An actor's `init` failed.
    InitFailed(String),
    /// What the task or service came to.
    Done(Done),
    /// It has come to an orderly end, as told.
    Stopped,
    /// A request, answered by `Answer` of the same number.
    Request(u64, Request),
    /// The client of this link is gone, and with it the link.
    Closed(LinkId),
    /// The client of this link broke its protocol.
    Broken(LinkId, String),
    /// What this process had accepted for somebody, and may have to be sent again when it is no more.
    Bequest(Bequest),
}

/// Messages that outlive their sender's orderly end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bequest {
    /// The link that they were sent over, if there was one.
    pub(crate) link: Option<LinkId>,
    pub(crate) target: Target,
    pub(crate) row: u32,
    /// The number of the last that was sent over that link.
    pub(crate) sent: u64,
    pub(crate) letters: Vec<Bequeathed>,
    /// Another one follows with more of them: their descriptors would be too many for one.
    pub(crate) more: bool,
}

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Bequeathed {
    /// Its number on the link.
    pub(crate) number: u64,
    pub(crate) method: u32,
    pub(crate) body: Payload,
    /// How often it may run again after it had begun.
    pub(crate) retries: u32,
    /// How many processes in a row have died of it.
    pub(crate) deaths: u32,
    /// Why the last process ended in which it had begun, if one did.
    pub(crate) interrupted: Option<Box<ExitReason>>,
}

/// A call that waits for its answer, made within a message that is being handled.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wait {
    /// Its number, as the process that waits counts them.
    pub(crate) wait: u64,
    pub(crate) target: Target,
    pub(crate) link: LinkId,
    /// The number of its message on the link, and on those that come instead of it.
    pub(crate) number: u64,
    /// Whether it will run alone where it is handled.
    pub(crate) exclusive: bool,
    /// The message that it was made within: the link that this came over, and its number there.
    pub(crate) within: (LinkId, u64),
    /// Whether that runs alone.
    pub(crate) holds: bool,
    /// The actor and method that wait.
    pub(crate) name: String,
}

/// A message that will not be handled, as its sender reports it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DeadReport {
    pub(crate) target: Target,
    pub(crate) row: u32,
    pub(crate) method: u32,
    pub(crate) cause: DeadCause,
}

/// A message that was accepted and will not be handled, and of which no caller hears; or one that was set aside for what
/// it did.
///
/// The log has a line for each, and [`ActorRef::dead_letters`](crate::ActorRef::dead_letters) lists the latest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The name of the actor that it was for.
    pub actor: String,
    /// The method that it would have called.
    pub method: String,
    /// Why it will not be handled.
    pub cause: DeadCause,
}

/// Why a message will not be handled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DeadCause {
    /// It was one-way, and the actor's process died in the middle of it, and it will not run again.
    Died(ExitReason),
    /// So many processes in a row died of it, the last for this reason, that it is not tried again.
    #[non_exhaustive]
    Poisonous {
        /// How many died.
        deaths: u32,
        /// Why the last one died.
        reason: ExitReason,
    },
    /// The actor ended for good before the message had begun: the error that a call would have had.
    Undeliverable(String),
    /// The mailbox was full, and this was the oldest message that had not left its sender.
    Overflow,
    /// It was one-way, and its arguments could not be read where it was to be handled: the error that a call would have had.
    Unread(String),
}

/// What a task came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Done {
    Value(Payload),
    /// The user's error: encoded, and its text.
    Failed(Payload, String),
    /// The input could not be read or the output not be written.
    Fault(Error),
}

impl Done {
    /// The same, or the fault that it is larger than a message may be.
    pub(crate) fn within(self, limit: usize) -> Done {
        match &self {
            Done::Value(payload) | Done::Failed(payload, _) if payload.len() > limit => {
                Done::Fault(Error::too_large(payload.len(), limit))
            }
            _ => self,
        }
    }
}

/// The end of a link, as its client hears it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fate {
    pub(crate) reason: ExitReason,
    /// The number of the last message on this link that had begun.
    pub(crate) begun: u64,
    /// Of these, the ones that had not ended; `None`: there were too many to be named.
    pub(crate) unfinished: Option<Vec<u64>>,
    /// What a worker left of the chunk that it was on.
    pub(crate) salvage: Option<Salvage>,
}

/// What the status page of a dead worker tells of the chunk that it was on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Salvage {
    /// The number of the chunk's message.
    pub(crate) seq: u64,
    /// How many of its items had begun.
    pub(crate) begun: u64,
    /// The first item whose result is in `results`: those before it were sent.
    pub(crate) base: u64,
    /// Results that were not sent, one after another.
    pub(crate) results: Bytes,
    /// Whether the item that had begun last had run for longer than an item may.
    pub(crate) overdue: bool,
}

/// The end of one incarnation, as a monitor hears it.
///
/// It reads as its reason does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exit {
    /// The child that ended.
    pub child: ChildId,
    /// Its name.
    pub name: String,
    /// The process id that it had; 0 for a supervisor, which has none.
    pub pid: u32,
    /// Why it ended.
    pub reason: ExitReason,
    /// Whether it has ended for good: nothing restarts it.
    pub last: bool,
}

/// What anybody asks of the control plane.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Start one child under the root of the context: an encoded `supervise::spec::Child`.
    /// Answer: `Started`, once it is ready, with a link where `link` asks for one.
    Spawn {
        spec: Payload,
        link: bool,
        ticket: Ticket,
    },
    /// Start a tree: an encoded `supervise::spec::Tree`. Answer: `Tree`, once every child is ready.
    Start { tree: Payload, ticket: Ticket },
    /// Nobody waits any more for what was started with this ticket: it is stopped.
    Abandon { ticket: Ticket },
    /// A link to an actor whose row is this one. Waits while it restarts. Answer: `Introduced`.
    Introduce {
        target: Target,
        row: u32,
        /// The link whose messages it is to carry on.
        instead: Option<LinkId>,
    },
    /// Who has that name now, if its row is this one. Answer: `Found`.
    Lookup { name: String, row: u32 },
    /// Wait for the end of a child for good. Answer: `Ended`.
    Join { target: Target },
    /// Kill its process. Answered when that is dead.
    Kill { target: Target, cause: KillCause },
    /// Stop it in order, for good. Answered when it has ended.
    Stop { target: Target },
    /// Stop it in order and start it afresh, its failures forgotten. Answered when it is up.
    Restart { target: Target },
    /// Hand it to the context's root, so that it outlives the process that started it.
    Detach { target: Target },
    /// Be told of each end of its incarnations, as `Exit` of that number.
    Monitor { target: Target, monitor: u64 },
    /// Be told no more.
    Unmonitor { monitor: u64 },
    /// What is known of one child. Answer: `Info`.
    Inspect { target: Target },
    /// Wait until a child or every child of a tree is up. Answered when so.
    Ready { target: Target },
    /// The children of a tree. Answer: `List`.
    List { target: Target },
    /// All living children of the host in this context. Answer: `List`.
    Active,
    /// How this host starts its children. Answer: `Mode`.
    Mode,
    /// The call of that number on this link has passed its deadline: its process is killed if it runs still after the
    /// grace.
    KillAfter {
        link: LinkId,
        number: u64,
        grace: Duration,
    },
    /// A call that was made within a message of this process has waited for a while. Answered, with `Cycle`, only if it
    /// waits for itself.
    Waits(Wait),
    /// That call has ended.
    WaitsNoMore { wait: u64 },
    /// A message will not be handled.
    DeadLetter(DeadReport),
    /// A one-way message to the actor whose process asks could not be read: its method, and why.
    Unread { method: u32, why: String },
    /// Messages for this actor that were not handled. Answer: `DeadLetters`.
    DeadLetters { target: Target },
    /// The other end of this link broke the protocol, or closed it out of turn.
    Broken { link: LinkId, what: String },
    /// Stop everything in the context. Answered when all have ended.
    End,
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Started {
        child: ChildId,
        cap: Cap,
        pid: u32,
        link: Option<Introduced>,
    },
    Tree {
        tree: ChildId,
        cap: Cap,
    },
    /// Descriptors: the client's end.
    Introduced(Introduced),
    Found {
        child: ChildId,
        cap: Cap,
    },
    Ended {
        reason: ExitReason,
        begun: bool,
        done: Option<Done>,
    },
    Info(Info),
    /// Who waits for whom, by names.
    Cycle(Vec<String>),
    /// The latest, and how many there were in all.
    DeadLetters(Vec<DeadLetter>, u64),
    List(Vec<Info>),
    Mode {
        fork_server: bool,
        link: LinkKind,
        server_pid: Option<u32>,
    },
}

/// The client's end of a link. Descriptors as with [`Attach`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Introduced {
    pub(crate) link: LinkId,
    pub(crate) child: ChildId,
    pub(crate) mailbox: Mailbox,
}

/// One child, as the tree shows it.
///
/// Printed: name, kind, pid, state, restarts and uptime, indented by its depth.
///
/// ```
/// use procession::prelude::*;
/// use procession::State;
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
/// let process = Process::builder(hangs, ()).name("hangs").spawn().await?;
/// let active = Process::active().await?;
/// assert_eq!(active.len(), 1);
/// assert_eq!((active[0].name.as_str(), active[0].pid), ("hangs", Some(process.pid())));
/// assert_eq!(active[0].state, State::Running);
/// process.kill().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// The child.
    pub id: ChildId,
    /// Its name.
    pub name: String,
    /// `task`, `service`, `actor`, `worker` or `supervisor`.
    pub kind: String,
    /// Its process id while it has a process.
    pub pid: Option<u32>,
    /// What it does now.
    pub state: State,
    /// How often it was restarted.
    pub restarts: u32,
    /// How long this incarnation has been up.
    pub uptime: Duration,
    /// How deep below the top of the list it is.
    pub depth: usize,
}

/// What a child does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum State {
    /// It waits for its turn, or for its back-off to pass.
    Waiting,
    /// Its process was started and is not ready yet.
    Starting,
    /// It is up.
    Running,
    /// It was told to stop.
    Stopping,
    /// It has ended for good.
    Ended,
}

impl Answer {
    /// The link that it introduces.
    pub(crate) fn introduced(&self) -> Option<&Introduced> {
        match self {
            Answer::Introduced(introduced)
            | Answer::Started {
                link: Some(introduced),
                ..
            } => Some(introduced),
            _ => None,
        }
    }
}

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for Cap {
    /// Nothing: a capability that is printed is one that can be taken.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cap")
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Child(id, _) => id.fmt(f),
            Target::Named(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for DeadCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadCause::Died(reason) => write!(f, "the process died in the middle of it: {reason}"),
            DeadCause::Poisonous { deaths, reason } => {
                write!(f, "{deaths} processes in a row died of it: {reason}")
            }
            DeadCause::Undeliverable(error) => write!(f, "it could not be delivered: {error}"),
            DeadCause::Overflow => f.write_str("the mailbox was full"),
            DeadCause::Unread(error) => write!(f, "it could not be read: {error}"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Waiting => "waiting",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Ended => "ended",
        })
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let indent = 2 * self.depth;
        write!(
            f,
            "{:indent$}{:<20} {:<10} {:>8} {:<8} {:>3} restarts {:>8.1?} up",
            "", self.name, self.kind, pid, self.state, self.restarts, self.uptime,
        )
    }
}
