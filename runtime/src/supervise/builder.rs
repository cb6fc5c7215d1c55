//! [`Spec`] and [`Supervisor`]: how a user says what is to run, and what happens when it ends.

use crate::actor::contract::{Actor, Marker, Service};
use crate::actor::handle::{ActorRef, unexpected};
use crate::actor::monitor::Monitor;
use crate::actor::row::{self, Row};
use crate::error::{Error, Result};
use crate::process::control;
use crate::wire::attach::Payload;
use crate::wire::control::{Answer, Body, BodyKind, Info, Mailbox, Overflow, Request, Target};
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use super::node::{Node, Process, Work};
use super::spec::{Policy, Rules};
use super::{Backoff, Intensity, Restart, Strategy};

/// How to start one child, and what to do when it ends. `R` is the ref that starting it gives.
///
/// | setting | default |
/// | --- | --- |
/// | name | the type or function, with a number |
/// | restart | [`Restart::Permanent`] |
/// | shutdown | 5 s |
/// | backoff | [`Backoff::exponential`] |
/// | intensity | 3 restarts in 5 s, where the child is under no supervisor of its own |
///
/// ```
/// use procession::prelude::*;
/// use std::time::Duration;
///
/// #[service]
/// async fn clock(period: Duration) {
///     loop {
///         tokio::time::sleep(period).await;
///     }
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let service = clock
///     .spec(Duration::from_secs(1))
///     .name("clock")
///     .restart(Restart::Transient)
///     .shutdown(Duration::from_secs(2))
///     .backoff(Backoff::none())
///     .spawn()
///     .await?;
/// assert_eq!(service.name().await?, "clock");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a spec starts nothing: spawn it, or give it to a supervisor"]
pub struct Spec<R> {
    node: Result<Node>,
    kind: PhantomData<fn() -> R>,
}

/// A type that a ref of an actor can become: what `#[actor]` makes.
#[doc(hidden)]
pub trait Handle {
    type Marker: Marker;
    fn from_ref(actor: ActorRef<Self::Marker>) -> Self;
}

impl<M: Marker, R: Deref<Target = ActorRef<M>> + From<ActorRef<M>>> Handle for R {
    type Marker = M;

    fn from_ref(actor: ActorRef<M>) -> R {
        R::from(actor)
    }
}

/// A handle to a service: to stop it, watch it and ask how it is.
///
/// Dropping it stops nothing.
///
/// ```
/// use procession::prelude::*;
///
/// #[service]
/// async fn clock() {
///     std::future::pending().await
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let service: ServiceRef = clock.spawn().await?;
/// service.ready().await?;
/// service.stop().await?; // cancelled at its next await
/// assert!(service.pid().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServiceRef(ActorRef<ServiceMarker>);

/// The marker of every service.
#[doc(hidden)]
#[derive(Debug)]
pub enum ServiceMarker {}

impl Deref for ServiceRef {
    type Target = ActorRef<ServiceMarker>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<ActorRef<ServiceMarker>> for ServiceRef {
    fn from(service: ActorRef<ServiceMarker>) -> Self {
        ServiceRef(service)
    }
}

/// A supervisor: children that are started in order, restarted by a strategy, and stopped in reverse order.
///
/// Dropped before [`start`](Self::start), it has started nothing. That takes it, and gives a [`Tree`], which may be dropped
/// too: the tree runs on. If the future of `start` is dropped before it is done, all that it has started is ended.
///
/// ```
/// # use procession::prelude::*;
/// # use std::time::Duration;
/// # #[service]
/// # async fn clock(period: Duration) {
/// #     tokio::time::sleep(period).await
/// # }
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let tree = Supervisor::new("clocks")
///     .strategy(Strategy::OneForOne)
///     .child(clock.spec(Duration::from_secs(1)).name("clock"))
///     .start()
///     .await?;
/// tree.stop().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a supervisor does nothing until it is started"]
pub struct Supervisor {
    name: String,
    rules: Rules,
    policy: Policy,
    children: Vec<Result<Node>>,
}

/// What can be a child of a supervisor: a [`Spec`], or another [`Supervisor`].
///
/// ```
/// use procession::prelude::*;
///
/// #[service]
/// async fn clock() {
///     std::future::pending().await
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let hall = Supervisor::new("hall").strategy(Strategy::OneForAll).child(clock.spec().name("clock"));
/// let tree = Supervisor::new("bank").child(hall).child(clock.spec()).start().await?;
/// assert_eq!(tree.tree().await?.len(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Child(Result<Node>);

/// A supervisor that was started.
///
/// Dropping it stops nothing: the tree runs until it is stopped, fails too often, or whoever started it ends.
///
/// ```
/// use procession::prelude::*;
///
/// #[service]
/// async fn clock() {
///     std::future::pending().await
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let tree = Supervisor::new("clocks").child(clock.spec().name("clock")).start().await?;
/// tree.ready().await?;
/// for child in tree.tree().await? {
///     println!("{child}"); // name, kind, pid, state, restarts and uptime, indented by depth
/// }
/// tree.stop().await?;
/// assert!(tree.ready().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tree {
    target: Target,
}

impl<R> Spec<R> {
    fn new(kind: BodyKind, row: &'static Row, input: Result<Payload>) -> Self {
        let limit = control::client().settings().frame_limit;
        let node = input.and_then(|input| match input.len() {
            size if size > limit => Err(Error::too_large(size, limit)),
            _ => Ok(Node {
                name: None,
                policy: Policy::default(),
                work: Work::Process(Process {
                    body: Body {
                        kind,
                        row: row.registered()?,
                        input,
                    },
                    label: row.key.name.to_owned(),
                    mailbox: None,
                    outbox: 0,
                    item_timeout: None,
                    joined: false,
                }),
            }),
        });
        Spec {
            node,
            kind: PhantomData,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Node)) -> Self {
        if let Ok(node) = &mut self.node {
            change(node);
        }
        self
    }

    /// A name by which it can be looked up, in logs and in the tree. Names are unique among the living.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with(|node| node.name = Some(name.into()))
    }

    /// Whether it is started again when it ends.
    pub fn restart(self, restart: Restart) -> Self {
        self.with(|node| node.policy.restart = restart)
    }

    /// How long it may take to stop before it is killed. Zero kills it at once.
    pub fn shutdown(self, within: Duration) -> Self {
        self.with(|node| node.policy.shutdown = Some(within))
    }

    /// How long to wait before it is started again.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with(|node| node.policy.backoff = backoff)
    }

    /// How many messages of one sender may wait at it, at least 1, and what becomes of one that finds no room. The
    /// default is that of [`Config::mailbox`](crate::Config::mailbox), where the sender waits.
    pub fn mailbox(self, messages: u32, overflow: Overflow) -> Self {
        self.with(|node| {
            if let Work::Process(process) = &mut node.work {
                let messages = messages.max(1);
                process.mailbox = Some(Mailbox { messages, overflow });
            }
        })
    }

    /// How many restarts within a period are too many, where it is spawned by itself; under a supervisor that one's
    /// counts.
    pub fn intensity(self, max: u32, period: Duration) -> Self {
        self.with(|node| node.policy.intensity = Some(Intensity::new(max, period)))
    }
}

impl<R: Handle> Spec<R> {
    /// Starts it under the program's own supervisor, and waits until its `init` is done.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Init`](crate::ErrorKind::Init) if its `init` failed, panicked or died,
    /// [`ErrorKind::Spawn`](crate::ErrorKind::Spawn) if there could be no process, and
    /// [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime) outside a tokio runtime.
    pub async fn spawn(self) -> Result<R> {
        control::within_runtime("a spawn")?;
        let node = self.node?;
        let link = matches!(&node.work, Work::Process(process) if process.body.kind == BodyKind::Actor);
        let spec = encode(&node)?;
        let mut start = control::client().start_linked(|ticket| Request::Spawn { spec, link, ticket });
        let mut answered = start.first().await?;
        let Answer::Started { child, cap, .. } = answered.answer else {
            return Err(unexpected(&answered.answer));
        };
        let actor = ActorRef::child(child, cap);
        if link {
            // The answer brings the link along: the first call needs no introduction.
            answered.answer =
                Answer::introduced(&answered.answer).map_or(Answer::Done, |link| Answer::Introduced(*link));
            let conn = actor.handle().peer()?.adopt(answered)?;
            start.end(conn.up()).await?;
        }
        Ok(R::from_ref(actor))
    }
}

/// The spec of an actor: what `#[actor]` makes of the arguments of `#[init]`.
#[doc(hidden)]
pub fn actor_spec<A: Actor, R>(input: Result<Payload>) -> Spec<R> {
    Spec::new(BodyKind::Actor, A::row(), input)
}

/// The spec of a service: what `#[service]` makes of its arguments.
#[doc(hidden)]
pub fn service_spec<S: Service>(input: Result<Payload>) -> Spec<ServiceRef> {
    Spec::new(BodyKind::Service, S::row(), input)
}

impl Marker for ServiceMarker {
    fn row() -> &'static Row {
        &row::SERVICE
    }
}

impl Supervisor {
    /// A supervisor without children: one-for-one, with an intensity of 3 restarts in 5 s.
    pub fn new(name: impl Into<String>) -> Self {
        Supervisor {
            name: name.into(),
            rules: Rules::default(),
            policy: Policy::supervisor(),
            children: Vec::new(),
        }
    }

    /// Which children are restarted with one that failed.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.rules.strategy = strategy;
        self
    }

    /// More restarts than this within the period end it, and its own supervisor decides.
    pub fn intensity(mut self, max: u32, period: Duration) -> Self {
        self.rules.intensity = Intensity::new(max, period);
        self
    }

    /// Whether it is itself started again when it ends, where it is the child of another. A supervisor that is started
    /// by [`start`](Self::start) is not.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.policy.restart = restart;
        self
    }

    /// How long it may take to stop all its children before they are killed. Unlimited by default: each child has its
    /// own time.
    pub fn shutdown(mut self, within: Duration) -> Self {
        self.policy.shutdown = Some(within);
        self
    }

    /// Adds a child after those that it has.
    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(child.into().0);
        self
    }

    /// Starts it, and waits until every child is up.
    ///
    /// # Errors
    ///
    /// The first start decides: if a child does not come up, those that had are stopped in reverse order and the error
    /// says why. Two children of one name are [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), before any is started.
    pub async fn start(self) -> Result<Tree> {
        control::within_runtime("a supervisor was started")?;
        let mut node = Child::from(self).0?;
        node.policy.restart = Restart::Temporary;
        let tree = encode(&node)?;
        let answered = control::client()
            .start(|ticket| Request::Start { tree, ticket })
            .await?;
        match answered.answer {
            Answer::Tree { tree, cap } => Ok(Tree {
                target: Target::Child(tree, cap),
            }),
            other => Err(unexpected(&other)),
        }
    }
}

impl<R> From<Spec<R>> for Child {
    fn from(spec: Spec<R>) -> Self {
        Child(spec.node)
    }
}

impl From<Supervisor> for Child {
    fn from(supervisor: Supervisor) -> Self {
        let Supervisor {
            name,
            rules,
            policy,
            children,
        } = supervisor;
        let children = children.into_iter().collect::<Result<_>>();
        Child(children.map(|children| Node {
            name: Some(name),
            policy,
            work: Work::Supervisor { rules, children },
        }))
    }
}

impl Tree {
    /// Waits until every child is up: at once, or after the restarts that are under way.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) if it has ended.
    pub async fn ready(&self) -> Result<()> {
        self.ask(|target| Request::Ready { target }).await.map(drop)
    }

    /// Itself and everything below it, each with its depth.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) if it has ended.
    pub async fn tree(&self) -> Result<Vec<Info>> {
        match self.ask(|target| Request::List { target }).await? {
            Answer::List(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops its children in reverse order, each within its shutdown time and then killed. Returns when the last has
    /// ended and its output was relayed. Stopping one that has ended is no error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Shutdown`](crate::ErrorKind::Shutdown) if the host is going down.
    pub async fn stop(&self) -> Result<()> {
        match self.ask(|target| Request::Stop { target }).await {
            Err(error) if error.kind() == crate::ErrorKind::Stopped => Ok(()),
            other => other.map(drop),
        }
    }

    /// Its end, as a stream of one item.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) if it has ended.
    pub async fn monitor(&self) -> Result<Monitor> {
        Monitor::of(self.target.clone()).await
    }

    /// Hands it to the program: it outlives the process that started it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) if it has ended.
    pub async fn detach(&self) -> Result<()> {
        self.ask(|target| Request::Detach { target }).await.map(drop)
    }

    async fn ask(&self, request: impl FnOnce(Target) -> Request) -> Result<Answer> {
        Ok(control::client().ask(request(self.target.clone())).await?.answer)
    }
}

pub(crate) fn encode(node: &Node) -> Result<Payload> {
    Payload::pack(node)
}
