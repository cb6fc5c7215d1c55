//! [`ActorRef`]: what you hold of an actor.
//!
//! A ref is a capability: the id of a child and a number that cannot be guessed, or a name that is looked up whenever a
//! link is made. It knows no address, so it stays good across restarts and can be sent anywhere.

use crate::error::{CallError, Error, ErrorKind, Result};
use crate::exit::KillCause;
use crate::local::RuntimeId;
use crate::process::control;
use crate::wire::attach::Payload;
use crate::wire::codec;
use crate::wire::control::{Answer, Cap, ChildId, DeadLetter, Info, Request, Target};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use super::call::{Call, Signature, call};
use super::contract::Marker;
use super::current;
use super::monitor::Monitor;
use super::peer::{Lease, Peer};
use super::room::IN_FLIGHT;

/// A handle to an actor: cloneable, serialisable, and good across the actor's restarts.
///
/// `#[actor]` makes one with a method for each method of the actor, which derefs to this. Dropping a ref stops nothing:
/// an actor lives until it is stopped, its supervisor gives it up, or the process that started it ends.
///
/// ```
/// use procession::prelude::*;
///
/// #[derive(Default)]
/// struct Counter(u64);
///
/// #[actor]
/// impl Counter {
///     fn add(&mut self, n: u64) -> u64 {
///         self.0 += n;
///         self.0
///     }
///     fn crash(&mut self) {
///         panic!("as asked");
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let counter = Counter::spec().name("counter").spawn().await?;
/// assert_eq!(counter.add(2).await?, 2);
/// counter.crash().await.unwrap_err();
/// assert_eq!(counter.add(1).await?, 1); // the next incarnation
///
/// // What the type `ActorRef` has is there beside the actor's own methods.
/// assert!(counter.pid().await?.is_some());
/// assert_eq!(CounterRef::lookup("counter").await?, counter);
/// counter.stop().await?;
/// assert!(matches!(counter.add(1).await, Err(CallError::Stopped)));
/// # Ok(())
/// # }
/// ```
pub struct ActorRef<M> {
    handle: Arc<Handle>,
    marker: PhantomData<fn() -> M>,
}

/// The part that all clones share.
pub(crate) struct Handle {
    target: Target,
    row: u32,
    /// The peer of the runtime in which it was used first: nearly always the only one.
    first: OnceLock<Lease>,
    /// Those of the others.
    others: Mutex<Vec<Lease>>,
}

impl Handle {
    pub(crate) fn new(target: Target, row: u32) -> Arc<Handle> {
        Arc::new(Handle {
            target,
            row,
            first: OnceLock::new(),
            others: Mutex::default(),
        })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The peer of the current runtime.
    pub(crate) fn peer(&self) -> Result<Arc<Peer>> {
        self.with_peer(|peer, _| Ok(peer.clone()))
    }

    /// The same, lent, and whether it is another than the [first](Self::first_peer).
    #[inline]
    pub(crate) fn with_peer<T>(&self, ask: impl FnOnce(&Arc<Peer>, bool) -> Result<T>) -> Result<T> {
        let runtime = control::runtime("a message")?;
        match self.first_peer() {
            Some(first) if first.runtime() == runtime => ask(first, false),
            _ => ask(&self.other_peer(runtime)?, true),
        }
    }

    /// The peer of the runtime in which it was used first, for good.
    pub(crate) fn first_peer(&self) -> Option<&Arc<Peer>> {
        self.first.get().map(Lease::peer)
    }

    /// The peer of the current runtime, where it is not known to be the first.
    #[cold]
    fn other_peer(&self, runtime: RuntimeId) -> Result<Arc<Peer>> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.first.get().into_iter().chain(others.iter());
        if let Some(lease) = known.find(|lease| lease.peer().runtime() == runtime) {
            return Ok(lease.peer().clone());
        }
        let lease = Lease::of(&self.target, self.row)?;
        let peer = lease.peer().clone();
        others.extend(self.first.set(lease).err());
        Ok(peer)
    }

    /// Waits until what was accepted for the actor is on its way, or until it is clear that the actor does not read.
    pub(crate) async fn flushed(&self) {
        if let Ok(peer) = self.peer() {
            // It is asked to stop whether or not it reads.
            let _ = tokio::time::timeout(FLUSH, peer.flushed()).await;
        }
    }
}

/// How long an actor may leave unread what was sent before it is asked to stop.
const FLUSH: Duration = Duration::from_secs(1);

impl<M: Marker> ActorRef<M> {
    /// A ref to whoever has this name when a message is sent. A name is looked up again after its bearer ended.
    pub fn named(name: impl Into<String>) -> Self {
        Self::to(Target::Named(name.into()))
    }

    /// The actor that has this name now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if nobody has it, [`ErrorKind::Invalid`] if its bearer is an actor of another type.
    pub async fn lookup(name: &str) -> Result<Self> {
        let request = Request::Lookup {
            name: name.to_owned(),
            row: M::row().position(),
        };
        match control::client().ask(request).await?.answer {
            Answer::Found { child, cap } => Ok(Self::to(Target::Child(child, cap))),
            other => Err(unexpected(&other)),
        }
    }

    /// The process id of the living incarnation, if there is one.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn pid(&self) -> Result<Option<u32>> {
        Ok(self.info().await?.pid)
    }

    /// The actor's name.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn name(&self) -> Result<String> {
        Ok(self.info().await?.name)
    }

    /// What the control plane knows of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn info(&self) -> Result<Info> {
        match self.ask(|target| Request::Inspect { target }).await? {
            Answer::Info(info) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until it is up: at once, or after a restart.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn ready(&self) -> Result<()> {
        self.ask(|target| Request::Ready { target }).await.map(drop)
    }

    /// Stops it for good, in order: what was sent before is handled, `#[terminate]` runs, and its process ends; if it
    /// takes longer than its shutdown time it is killed. Returns when it has ended and its last output was relayed.
    ///
    /// Later calls fail with [`CallError::Stopped`]. Stopping one that has ended is no error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] if the ref is by name and nobody has it.
    pub async fn stop(&self) -> Result<()> {
        self.handle.flushed().await;
        match self.ask(|target| Request::Stop { target }).await {
            Err(error) if error.kind() == ErrorKind::Stopped => Ok(()),
            other => other.map(drop),
        }
    }

    /// Stops it in order, as [`stop`](Self::stop) does, and starts it afresh; its earlier failures do not count any
    /// more. Returns when it is up.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn restart(&self) -> Result<()> {
        self.handle.flushed().await;
        self.ask(|target| Request::Restart { target }).await.map(drop)
    }

    /// Kills its process with SIGKILL. Its supervisor then does what its restart policy says.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn kill(&self) -> Result<()> {
        self.ask(|target| Request::Kill {
            target,
            cause: KillCause::Asked,
        })
        .await
        .map(drop)
    }

    /// Hands it to the program: it outlives the process that started it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn detach(&self) -> Result<()> {
        self.ask(|target| Request::Detach { target }).await.map(drop)
    }

    /// Messages for it that were accepted and will not be handled, and of which no caller hears: the latest hundred of
    /// all senders, oldest first. The log has them all, and they are [counted](Self::dead_letter_count).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good and is forgotten.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        Ok(self.ask_for_dead_letters().await?.0)
    }

    /// How many such messages there were in all, listed or not.
    ///
    /// # Errors
    ///
    /// As [`dead_letters`](Self::dead_letters).
    pub async fn dead_letter_count(&self) -> Result<u64> {
        Ok(self.ask_for_dead_letters().await?.1)
    }

    /// The latest, and how many there were in all.
    async fn ask_for_dead_letters(&self) -> Result<(Vec<DeadLetter>, u64)> {
        match self.ask(|target| Request::DeadLetters { target }).await? {
            Answer::DeadLetters(letters, n) => Ok((letters, n)),
            other => Err(unexpected(&other)),
        }
    }

    /// How many messages, whoever sent them, the actor has read and not ended: those that run, and those that wait
    /// their turn. It is asked in the order of messages: what this process sent or took back before is known.
    ///
    /// # Errors
    ///
    /// As any call: [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn in_flight(&self) -> Result<u64> {
        let signature = const {
            &Signature {
                idx: IN_FLIGHT,
                name: "in_flight",
                value: |bytes| Ok(codec::decode_next(bytes)?),
                error: |_| Err(Error::msg("an actor cannot fail to count")),
            }
        };
        let call: Call<u64> = call(self, signature, Ok(Payload::default()));
        Ok(call.await?)
    }

    /// The ends of its incarnations, from now on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`] if the actor has ended for good.
    pub async fn monitor(&self) -> Result<Monitor> {
        Monitor::of(self.handle.target().clone()).await
    }

    async fn ask(&self, request: impl FnOnce(Target) -> Request) -> Result<Answer> {
        let request = request(self.handle.target().clone());
        Ok(control::client().ask(request).await?.answer)
    }
}

impl<M: Marker> ActorRef<M> {
    pub(crate) fn to(target: Target) -> Self {
        ActorRef {
            handle: Handle::new(target, M::row().position()),
            marker: PhantomData,
        }
    }

    pub(crate) fn child(child: ChildId, cap: Cap) -> Self {
        Self::to(Target::Child(child, cap))
    }
}

impl<M> ActorRef<M> {
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }
}

pub(crate) fn unexpected(answer: &Answer) -> Error {
    Error::with_kind(
        ErrorKind::Protocol,
        format_args!("the control plane gave an answer to another question: {answer:?}"),
    )
}

/// Calls that fail before they are sent say why in the words of a call.
impl<E> CallError<E> {
    pub(crate) fn from_fault(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Stopped => CallError::Stopped,
            ErrorKind::Timeout => CallError::Timeout,
            ErrorKind::Full => CallError::Full,
            ErrorKind::Cycle => CallError::Cycle {
                path: current::path(&error),
            },
            _ => CallError::Other(error),
        }
    }
}

impl<M> Clone for ActorRef<M> {
    fn clone(&self) -> Self {
        ActorRef {
            handle: self.handle.clone(),
            marker: PhantomData,
        }
    }
}

impl<M> PartialEq for ActorRef<M> {
    fn eq(&self, other: &Self) -> bool {
        self.handle.target == other.handle.target
    }
}

impl<M> Eq for ActorRef<M> {}

impl<M> Hash for ActorRef<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.handle.target.hash(state);
    }
}

impl<M: Marker> fmt::Debug for ActorRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actor = M::row().key.name;
        match &self.handle.target {
            Target::Child(id, _) => write!(f, "{actor}Ref({id})"),
            Target::Named(name) => write!(f, "{actor}Ref({name:?})"),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl<M> Serialize for ActorRef<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.handle.target.serialize(serializer)
    }
}

impl<'de, M: Marker> Deserialize<'de> for ActorRef<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Target::deserialize(deserializer).map(Self::to)
    }
}
