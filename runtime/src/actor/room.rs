//! Where an actor lives: its value, and the order in which messages reach it.
//!
//! `&mut self` methods run alone, `&self` methods beside each other, and every message begins in the order in which it
//! was read, whatever the kind of its method: only the first in the line asks for the lock. A message may skip the line
//! while that is empty. It runs as far as it goes without waiting as it is read; what is left becomes a task.

use crate::error::{Error, ErrorKind};
use crate::exit::ExitReason;
use crate::process::page::{Page, Running};
use crate::wire::codec;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::child::{self, Identity, die_of_panic};
use super::contract::{Actor, Invocation, Method, Outcome, Run};
use super::current::{self, Current};
use super::lock::Lock;
use super::port::Message;
use super::queue::{Place, Queue};
use super::source::{self, Source};
use super::work::Work;

/// What serves the messages of a process.
pub(crate) trait Serve {
    /// Takes a message, and sees to its answer.
    fn deliver(self: Rc<Self>, message: Message);
    /// Handles a message at once, whose body is lent, or gives it back: it is to be delivered with a body then.
    fn deliver_lent(self: Rc<Self>, message: Message, body: &[u8]) -> Option<Message> {
        let _ = body;
        Some(message)
    }
    /// Takes no more messages, waits for the end of those that it has, and says farewell.
    fn stop(self: Rc<Self>, reason: ExitReason) -> LocalBoxFuture<'static, ()>;
}

/// The method that every actor has: how many messages it has begun or has yet to begin.
pub(crate) const IN_FLIGHT: u32 = u32::MAX;

/// An actor and its lock.
pub(crate) struct Room<A> {
    actor: Lock<A>,
    page: Rc<Page>,
    /// The messages that were taken and have not begun.
    queue: Rc<Queue>,
    /// How many were taken and have not ended.
    n_open: Rc<Cell<usize>>,
    /// The messages that streams answer now.
    streams: Rc<RefCell<Vec<Rc<Message>>>>,
    stopping: Cell<bool>,
}

/// What became of a message that was to be handled at once.
enum AtOnce {
    Done,
    /// It has to wait for its turn.
    NotNow,
    /// It began, and a stream answers it.
    Streams(Source, Running),
}

impl<A: Actor> Room<A> {
    pub(crate) fn new(actor: A, page: Rc<Page>) -> Self {
        Room {
            actor: Lock::new(actor),
            page,
            queue: Rc::default(),
            n_open: Rc::default(),
            streams: Rc::default(),
            stopping: Cell::new(false),
        }
    }

    /// Handles a message at once, if it needs no future and nobody is before it.
    #[inline]
    fn at_once(&self, method: &Method<A>, message: &Message, lent: Option<&[u8]>) -> AtOnce {
        if !self.queue.is_empty() {
            return AtOnce::NotNow;
        }
        let invocation = Invocation { message, lent };
        match method.run {
            Run::Shared(run) => match self.actor.try_read() {
                Some(actor) => self.handle(message, || run(&actor, invocation)),
                None => AtOnce::NotNow,
            },
            Run::Exclusive(run) => match self.actor.try_write() {
                Some(mut actor) => self.handle(message, || run(&mut actor, invocation)),
                None => AtOnce::NotNow,
            },
            Run::SharedAsync(_) | Run::ExclusiveAsync(_) => AtOnce::NotNow,
        }
    }

    /// Whether the method could begin now.
    fn is_free(&self, method: &Method<A>) -> bool {
        self.queue.is_empty()
            && match method.is_exclusive() {
                true => self.actor.try_write().is_some(),
                false => self.actor.try_read().is_some(),
            }
    }

    #[inline]
    fn handle(&self, message: &Message, run: impl FnOnce() -> Outcome) -> AtOnce {
        if message.is_late() {
            message.expire();
            return AtOnce::Done;
        }
        let running = message.begin(&self.page);
        // Settled in there, so that what it came to is not moved about.
        let stream = guarded(|| match run() {
            Outcome::Stream(source) => Some(source),
            outcome => {
                message.settle(outcome);
                None
            }
        });
        match stream {
            Some(source) => AtOnce::Streams(source, running),
            None => AtOnce::Done,
        }
    }

    /// A message that began at once is answered by a stream.
    fn begin_stream(self: Rc<Self>, message: Message, source: Source, running: Running) {
        let (message, open) = (Rc::new(message), Counted::one_of(&self.n_open));
        let answered = message.clone();
        let work = Work::spawn(async move {
            let _open = open;
            self.stream(answered, source, running).await;
        });
        message.runs(work);
    }

    /// Handles a message in its turn.
    async fn in_turn(
        self: Rc<Self>,
        method: &'static Method<A>,
        message: Rc<Message>,
        (place, _open): (Place, Counted),
    ) {
        place.first().await;
        let begin = || {
            drop(place);
            if message.is_late() {
                message.expire();
                return None;
            }
            Some((message.begin(&self.page), invocation(&message)))
        };
        // Each arm lets go of the actor at its end: a stream outlives its method, not the other way round.
        let (running, outcome) = match method.run {
            Run::Shared(run) => {
                let actor = self.actor.read().await;
                let Some((running, invocation)) = begin() else {
                    return;
                };
                (running, guarded(|| run(&actor, invocation)))
            }
            Run::SharedAsync(run) => {
                let actor = self.actor.read().await;
                let Some((running, invocation)) = begin() else {
                    return;
                };
                let handler = unwound(run(&actor, invocation));
                (
                    running,
                    current::within(message.as_current(method), handler).await,
                )
            }
            Run::Exclusive(run) => {
                let mut actor = self.actor.write().await;
                let Some((running, invocation)) = begin() else {
                    return;
                };
                (running, guarded(|| run(&mut actor, invocation)))
            }
            Run::ExclusiveAsync(run) => {
                let mut actor = self.actor.write().await;
                let Some((running, invocation)) = begin() else {
                    return;
                };
                let handler = unwound(run(&mut actor, invocation));
                (
                    running,
                    current::within(message.as_current(method), handler).await,
                )
            }
        };
        match outcome {
            Outcome::Stream(source) => self.stream(message, source, running).await,
            outcome => message.settle(outcome),
        }
    }

    /// Answers a message with a stream, to its end.
    async fn stream(self: Rc<Self>, message: Rc<Message>, source: Source, running: Running) {
        if self.stopping.get() {
            return message.settle(source::stopped());
        }
        let _streaming = Streaming::new(&self.streams, &message);
        source::send(&message, source, running).await;
    }
}

/// A message that a stream answers, until it is dropped.
struct Streaming {
    all: Rc<RefCell<Vec<Rc<Message>>>>,
    message: Rc<Message>,
}

impl Streaming {
    fn new(all: &Rc<RefCell<Vec<Rc<Message>>>>, message: &Rc<Message>) -> Self {
        all.borrow_mut().push(message.clone());
        Streaming {
            all: all.clone(),
            message: message.clone(),
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let mut all = self.all.borrow_mut();
        all.retain(|other| !Rc::ptr_eq(other, &self.message));
    }
}

fn invocation(message: &Message) -> Invocation<'_> {
    Invocation { message, lent: None }
}

impl Message {
    fn as_current<A>(&self, method: &Method<A>) -> Current {
        Current {
            message: (self.port.link, self.seq),
            deadline: self.deadline,
            ancestors: self.ancestors.clone(),
            method: method.name,
            exclusive: method.is_exclusive(),
        }
    }

    /// This actor, if one of the calls that wait for the message is handled by it.
    fn waits_for_itself(&self) -> Option<&'static Identity> {
        let me = child::identity()?;
        let ancestors = self.ancestors.as_deref()?;
        ancestors.iter().any(|step| step.actor == me.child).then_some(me)
    }
}

impl<A: Actor> Serve for Room<A> {
    fn deliver(self: Rc<Self>, message: Message) {
        if self.stopping.get() {
            return message.unheard();
        }
        if message.method == IN_FLIGHT {
            // It does not begin: those before it may have yet to.
            let n_open = self.n_open.get() as u64;
            return message.settle(invocation(&message).value(|out| Ok(codec::encode(&n_open, out)?)));
        }
        let Some(method) = A::METHODS.get(message.method as usize) else {
            let what = format!("the actor has no method {}", message.method);
            return message.settle(Outcome::Fault(Error::with_kind(ErrorKind::NotInBuild, what)));
        };
        match self.at_once(method, &message, None) {
            AtOnce::Done => return,
            AtOnce::NotNow => {}
            AtOnce::Streams(source, running) => return self.begin_stream(message, source, running),
        }
        if let Some(me) = message.waits_for_itself()
            && !self.is_free(method)
        {
            let last = format!("{}.{}", me.name, method.name);
            return message.settle(Outcome::Fault(current::cycle(
                message.ancestors.as_deref(),
                &last,
            )));
        }
        let message = Rc::new(message);
        let counted = (self.queue.join(), Counted::one_of(&self.n_open));
        if let Some(work) = Work::start(self.in_turn(method, message.clone(), counted)) {
            message.runs(work);
        }
    }

    fn deliver_lent(self: Rc<Self>, message: Message, body: &[u8]) -> Option<Message> {
        let method = A::METHODS.get(message.method as usize);
        let Some(method) = method.filter(|_| !self.stopping.get()) else {
            return Some(message);
        };
        match self.at_once(method, &message, Some(body)) {
            AtOnce::Done => None,
            AtOnce::NotNow => Some(message),
            AtOnce::Streams(source, running) => {
                self.begin_stream(message, source, running);
                None
            }
        }
    }

    fn stop(self: Rc<Self>, reason: ExitReason) -> LocalBoxFuture<'static, ()> {
        self.stopping.set(true);
        source::stop(self.streams.take());
        let place = self.queue.join();
        Box::pin(async move {
            place.first().await;
            let mut actor = self.actor.write().await;
            unwound(actor.terminate(&reason)).await;
        })
    }
}

/// One of those that are counted, until it is dropped.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn one_of(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The value, or the end of the process: a panic of the user's code ends it, with its reason.
pub(crate) fn guarded<T>(run: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| die_of_panic(&*payload))
}

/// The same for a future.
pub(crate) async fn unwound<T>(run: impl Future<Output = T>) -> T {
    AssertUnwindSafe(run)
        .catch_unwind()
        .await
        .unwrap_or_else(|payload| die_of_panic(&*payload))
}
