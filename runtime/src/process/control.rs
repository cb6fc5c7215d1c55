//! The door to the control plane, the same for every process.
//!
//! In the host a request goes through memory to the thread of the control plane, which is started by the first one. In
//! a child it goes over the control socket. Each request is answered once, or fails with the host: the sender's future
//! can be dropped at any time, and what its answer carried (descriptors) is then closed.

use crate::error::{Error, ErrorKind, Result};
use crate::link::{self, Incoming};
use crate::local::{Local, RuntimeId};
use crate::wire::attach::{Attached, Payload};
use crate::wire::control::{Answer, Bequest, Context, Down, Exit, LinkId, Request, Settings, Ticket, Up};
use crate::wire::frame::{Head, Kind};
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

use super::fate;

/// A request of one of the host's own threads.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) context: Context,
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Result<Answered>>,
    /// Where the link of a start goes before the answer.
    pub(crate) early: Option<oneshot::Sender<Answered>>,
    /// Where the exits go that a monitor waits for.
    pub(crate) exits: Option<mpsc::UnboundedSender<Exit>>,
}

/// An answer, with what cannot be written down.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    pub(crate) fds: Vec<OwnedFd>,
    /// The fate of the link that the answer introduces.
    pub(crate) fate: Option<fate::Hearer>,
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Answered {
            answer,
            fds: Vec::new(),
            fate: None,
        }
    }
}

/// How this process reaches the control plane.
#[derive(Debug)]
pub(crate) enum Client {
    Local {
        inbox: mpsc::UnboundedSender<Asked>,
        settings: Settings,
    },
    Remote(Box<Remote>),
}

/// The side of a child.
#[derive(Debug)]
pub(crate) struct Remote {
    control: link::Sender,
    settings: Settings,
    next: AtomicU64,
    open: Mutex<Open>,
}

/// What a child waits for.
#[derive(Debug, Default)]
struct Open {
    answers: HashMap<u64, oneshot::Sender<Result<Answered>>>,
    fates: HashMap<LinkId, fate::Teller>,
    monitors: HashMap<u64, mpsc::UnboundedSender<Exit>>,
}

/// A control message, and the ends of links beside it.
pub(crate) fn heard<T: DeserializeOwned>(frame: Incoming) -> Result<(T, Vec<OwnedFd>)> {
    if frame.is_unheld() {
        return Err(Error::unheld(frame.size()));
    }
    let (heard, beside) = frame.into_payload().unpack()?;
    let owned = beside.into_iter().map(|fd| Attached(fd).into_owned());
    Ok((heard, owned.collect::<io::Result<_>>()?))
}

/// What a control message may have around the largest input of the user's.
const SLACK: usize = 1 << 20;

/// The most bytes of a message from a child to the host.
pub(crate) fn limit(settings: &Settings) -> usize {
    settings.frame_limit.saturating_add(SLACK)
}

static CLIENT: Local<Client> = Local::new();

thread_local! {
    static CONTEXT: Cell<Context> = const { Cell::new(Context(0)) };
}

/// The client of this process; the first use in a host starts its control plane.
pub(crate) fn client() -> &'static Client {
    CLIENT.get_or_init(|| {
        let (inbox, settings) = (crate::private::wiring().host)();
        Client::Local { inbox, settings }
    })
}

/// The client of this process, if it has one yet.
pub(crate) fn existing() -> Option<&'static Client> {
    CLIENT.get()
}

/// Makes this process one whose control plane is at the other end of its control socket.
pub(crate) fn adopt(control: link::Sender, settings: Settings) -> Result<&'static Remote> {
    let remote = Remote {
        control,
        settings,
        next: AtomicU64::new(1),
        open: Mutex::default(),
    };
    CLIENT
        .set(Client::Remote(Box::new(remote)))
        .map_err(|_| Error::with_kind(ErrorKind::Invalid, "this process is a host already"))?;
    match client() {
        Client::Remote(remote) => Ok(remote),
        Client::Local { .. } => Err(Error::with_kind(
            ErrorKind::Invalid,
            "this process is a host already",
        )),
    }
}

/// Makes the process whose code runs one whose control plane is at the other end of this.
#[cfg(test)]
pub(crate) fn simulate(inbox: mpsc::UnboundedSender<Asked>, settings: Settings) {
    let was_none = CLIENT.set(Client::Local { inbox, settings }).is_ok();
    assert!(was_none, "a process has one control plane");
}

/// The context of this thread: the program's, or that of the test that it runs.
pub(crate) fn context() -> Context {
    CONTEXT.get()
}

/// Puts this thread into a context, for good.
pub(crate) fn enter(context: Context) {
    CONTEXT.set(context);
}

/// Fails outside a tokio runtime, where the links of a process could not be driven.
pub(crate) fn within_runtime(what: &str) -> Result<tokio::runtime::Handle> {
    tokio::runtime::Handle::try_current().map_err(|_| {
        Error::with_kind(
            ErrorKind::NoRuntime,
            format_args!("{what} outside a tokio runtime: call it from `#[procession::main]`, or within `Runtime::block_on`"),
        )
    })
}

/// The runtime that drives the links of who asks.
pub(crate) fn runtime(what: &str) -> Result<RuntimeId> {
    Ok(RuntimeId::of(&within_runtime(what)?))
}

impl Client {
    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answered> {
        self.send(request, None, None)
            .await
            .unwrap_or_else(|_| Err(gone()))
    }

    /// Asks for a start. Dropped before it has the answer, it takes the request back: there is no process that nobody
    /// was told of.
    pub(crate) async fn start(&self, request: impl FnOnce(Ticket) -> Request) -> Result<Answered> {
        let ticket = ticket();
        let unanswered = Unanswered { client: self, ticket };
        let answered = self.ask(request(ticket)).await;
        std::mem::forget(unanswered);
        answered
    }

    /// Asks for a start whose link may come before it is over.
    pub(crate) fn start_linked(&self, request: impl FnOnce(Ticket) -> Request) -> Starting<'_> {
        let ticket = ticket();
        let (early, introduced) = oneshot::channel();
        Starting {
            answered: self.send(request(ticket), None, Some(early)),
            introduced,
            unanswered: Some(Unanswered { client: self, ticket }),
        }
    }

    /// Asks at once; the answer can be waited for anywhere.
    pub(crate) fn ask_now(&self, request: Request) -> impl Future<Output = Result<Answered>> + Send + use<> {
        let answered = self.send(request, None, None);
        async move { answered.await.unwrap_or_else(|_| Err(gone())) }
    }

    /// Asks where nobody waits for the answer.
    pub(crate) fn tell(&self, request: Request) {
        drop(self.send(request, None, None));
    }

    /// The exits of a child, from now on.
    pub(crate) fn monitor(
        &self,
        request: Request,
        monitor: u64,
    ) -> (oneshot::Receiver<Result<Answered>>, mpsc::UnboundedReceiver<Exit>) {
        let (exits, heard) = mpsc::unbounded_channel();
        if let Client::Remote(remote) = self {
            remote.lock().monitors.insert(monitor, exits.clone());
        }
        (self.send(request, Some(exits), None), heard)
    }

    /// Ends a monitor.
    pub(crate) fn unmonitor(&self, monitor: u64) {
        if let Client::Remote(remote) = self {
            remote.lock().monitors.remove(&monitor);
        }
        self.tell(Request::Unmonitor { monitor });
    }

    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Client::Local { settings, .. } => settings,
            Client::Remote(remote) => &remote.settings,
        }
    }

    /// Nobody here waits any more for the fate of this link.
    pub(crate) fn forget(&self, link: LinkId) {
        if let Client::Remote(remote) = self {
            remote.lock().fates.remove(&link);
        }
    }

    /// Says that the other end of a link broke the protocol.
    pub(crate) fn broken(&self, link: LinkId, what: &str) {
        match self {
            Client::Local { .. } => self.tell(Request::Broken {
                link,
                what: what.to_owned(),
            }),
            Client::Remote(remote) => remote.say(&Up::Broken(link, what.to_owned())),
        }
    }

    /// Hands over what may have to be sent again when this process is no more. What the host itself has accepted ends
    /// with it, as all processes do.
    pub(crate) fn bequeath(&self, bequests: impl Iterator<Item = Bequest>) {
        if let Client::Remote(remote) = self {
            bequests.for_each(|bequest| remote.say(&Up::Bequest(bequest)));
        }
    }

    fn send(
        &self,
        request: Request,
        exits: Option<mpsc::UnboundedSender<Exit>>,
        early: Option<oneshot::Sender<Answered>>,
    ) -> oneshot::Receiver<Result<Answered>> {
        let (answer, answered) = oneshot::channel();
        match self {
            Client::Local { inbox, .. } => {
                // A control plane that is gone drops the sender: the receiver hears that.
                let _ = inbox.send(Asked {
                    context: context(),
                    request,
                    answer,
                    early,
                    exits,
                });
            }
            Client::Remote(remote) => {
                let id = remote.next.fetch_add(1, Ordering::Relaxed);
                remote.request(id, request, answer);
            }
        }
        answered
    }
}

/// A start that is under way. Dropped before it is over, it takes the request back.
pub(crate) struct Starting<'a> {
    answered: oneshot::Receiver<Result<Answered>>,
    introduced: oneshot::Receiver<Answered>,
    unanswered: Option<Unanswered<'a>>,
}

impl Starting<'_> {
    /// What comes first: the answer, or the same, said of a process that has yet to come up.
    pub(crate) async fn first(&mut self) -> Result<Answered> {
        tokio::select! {
            biased;
            Ok(introduced) = &mut self.introduced => Ok(introduced),
            answered = &mut self.answered => {
                let answered = self.over(answered)?;
                // That may have come between the two looks.
                Ok(self.introduced.try_recv().unwrap_or(answered))
            }
        }
    }

    /// Waits until it is over, as the control plane says or, by `up`, the process itself.
    pub(crate) async fn end(mut self, up: impl Future<Output = ()>) -> Result<()> {
        if self.unanswered.is_none() {
            return Ok(());
        }
        tokio::select! {
            biased;
            answered = &mut self.answered => self.over(answered).map(drop),
            () = up => {
                std::mem::forget(self.unanswered.take());
                Ok(())
            }
        }
    }

    fn over(&mut self, answered: Result<Result<Answered>, oneshot::error::RecvError>) -> Result<Answered> {
        std::mem::forget(self.unanswered.take());
        answered.unwrap_or_else(|_| Err(gone()))
    }
}

/// A start whose asker may go before the answer comes.
struct Unanswered<'a> {
    client: &'a Client,
    ticket: Ticket,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.client.tell(Request::Abandon { ticket: self.ticket });
    }
}

impl Remote {
    /// Asks the host, unless what is asked is more than it takes.
    fn request(&self, id: u64, request: Request, answer: oneshot::Sender<Result<Answered>>) {
        let packed = Payload::pack(&Up::Request(id, request));
        let body = packed.and_then(|body| match (body.len(), limit(&self.settings)) {
            (size, limit) if size > limit => Err(Error::too_large(size, limit)),
            _ => Ok(body),
        });
        match body {
            Ok(body) => {
                self.lock().answers.insert(id, answer);
                // A closed control socket means that the host is gone, and this process about to be.
                drop(
                    self.control
                        .send(Head::new(Kind::Control), &body, body.fds.clone()),
                );
            }
            // Whoever asked may be gone already.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Sends to the host. Nothing is lost but with the host itself.
    pub(crate) fn say(&self, up: &Up) {
        match Payload::pack(up) {
            // A closed control socket means that the host is gone, and this process about to be.
            Ok(body) => drop(
                self.control
                    .send(Head::new(Kind::Control), &body, body.fds.clone()),
            ),
            Err(error) => tracing::error!(%error, "a message to the host was lost"),
        }
    }

    /// Waits until all that was said is on its way.
    pub(crate) async fn said(&self) {
        // Closed: the host is gone, and this process about to be.
        let _ = self.control.drained().await;
    }

    /// Takes what concerns those who wait; gives back the rest.
    pub(crate) fn hear(&self, down: Down, fds: Vec<OwnedFd>) -> Option<(Down, Vec<OwnedFd>)> {
        match down {
            Down::Answer(id, answer) => self.answered(id, answer, fds),
            Down::Fate(link, fate) => {
                if let Some(waiting) = self.lock().fates.remove(&link) {
                    waiting.tell(fate);
                }
            }
            Down::Exit(monitor, exit) => {
                if let Some(monitor) = self.lock().monitors.get(&monitor) {
                    let _ = monitor.send(exit);
                }
            }
            Down::Unheard(monitor) => drop(self.lock().monitors.remove(&monitor)),
            other => return Some((other, fds)),
        }
        None
    }

    fn answered(&self, id: u64, answer: Result<Answer>, fds: Vec<OwnedFd>) {
        let mut open = self.lock();
        let fate = answer
            .as_ref()
            .ok()
            .and_then(Answer::introduced)
            .map(|introduced| {
                let (teller, fate) = fate::channel();
                open.fates.insert(introduced.link, teller);
                fate
            });
        let Some(waiting) = open.answers.remove(&id) else {
            return;
        };
        let answered = answer.map(|answer| Answered { answer, fds, fate });
        // An asker that no longer waits closes what the answer carried.
        if let Err(Ok(unheard)) = waiting.send(answered)
            && let Some(introduced) = unheard.answer.introduced()
        {
            open.fates.remove(&introduced.link);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number for the next start of this process.
fn ticket() -> Ticket {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Ticket(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn gone() -> Error {
    Error::with_kind(ErrorKind::Shutdown, "the host is going down")
}
