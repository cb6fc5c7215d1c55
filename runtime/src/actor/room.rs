//! Where an actor lives: its value, and the order in which messages reach it.
//!
//! `&mut self` methods run alone, `&self` methods beside each other, and every message begins in the order in which it
//! was read, whatever the kind of its method. The lock is tokio's fair one, so that order is the order of asking for
//! it; a message may skip the queue of tasks only while nobody in it has yet to begin.

use crate::error::{Error, ErrorKind};
use crate::exit::ExitReason;
use crate::process::page::Page;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::RwLock;

use super::child::die_of_panic;
use super::contract::{Actor, Invocation, Method, Outcome, Run};
use super::port::Message;
use super::work::Work;

/// What serves the messages of a process.
pub(crate) trait Serve {
    /// Takes a message, and sees to its answer.
    fn deliver(self: Rc<Self>, message: Message);
    /// Takes no more messages, waits for the end of those that it has, and says farewell.
    fn stop(self: Rc<Self>, reason: ExitReason) -> LocalBoxFuture<'static, ()>;
}

/// An actor and its lock.
pub(crate) struct Room<A> {
    actor: Arc<RwLock<A>>,
    page: Rc<Page>,
    /// How many messages were taken and have not begun.
    queued: Rc<Cell<usize>>,
    stopping: Cell<bool>,
}

impl<A: Actor> Room<A> {
    pub(crate) fn new(actor: A, page: Rc<Page>) -> Self {
        Room {
            actor: Arc::new(RwLock::new(actor)),
            page,
            queued: Rc::default(),
            stopping: Cell::new(false),
        }
    }

    /// Runs a method at once, if it needs no future and nobody is before it.
    fn at_once(&self, method: &Method<A>, message: &Message) -> Option<Outcome> {
        if self.queued.get() > 0 {
            return None;
        }
        match method.run {
            Run::Shared(run) => {
                let actor = self.actor.try_read().ok()?;
                message.taken();
                Some(guarded(|| run(&actor, self.invocation(message))))
            }
            Run::Exclusive(run) => {
                let mut actor = self.actor.try_write().ok()?;
                message.taken();
                Some(guarded(|| run(&mut actor, self.invocation(message))))
            }
            Run::SharedAsync(_) | Run::ExclusiveAsync(_) => None,
        }
    }

    /// Runs a method in its turn.
    async fn in_turn(self: Rc<Self>, method: &'static Method<A>, queued: Queued) -> Outcome {
        let invocation = self.invocation(&queued.message);
        let begin = || drop(queued);
        match method.run {
            Run::Shared(run) => {
                let actor = self.actor.read().await;
                begin();
                run(&actor, invocation)
            }
            Run::SharedAsync(run) => {
                let actor = self.actor.read().await;
                begin();
                run(&actor, invocation).await
            }
            Run::Exclusive(run) => {
                let mut actor = self.actor.write().await;
                begin();
                run(&mut actor, invocation)
            }
            Run::ExclusiveAsync(run) => {
                let mut actor = self.actor.write().await;
                begin();
                run(&mut actor, invocation).await
            }
        }
    }

    fn invocation(&self, message: &Message) -> Invocation {
        Invocation {
            body: message.body.clone(),
            page: self.page.clone(),
            slot: message.port.slot,
            seq: message.seq,
        }
    }
}

impl<A: Actor> Serve for Room<A> {
    fn deliver(self: Rc<Self>, message: Message) {
        if self.stopping.get() {
            // Not begun and not answered: its sender learns of the end, and sends it to the next incarnation, if any.
            return message.unheard();
        }
        let Some(method) = A::METHODS.get(message.method as usize) else {
            message.taken();
            let what = format!("the actor has no method {}", message.method);
            return message.settle(Outcome::Fault(Error::with_kind(ErrorKind::NotInBuild, what)));
        };
        if let Some(outcome) = self.at_once(method, &message) {
            return message.settle(outcome);
        }
        let message = Rc::new(message);
        let queued = Queued::new(message.clone(), &self.queued);
        let running = message.clone();
        let work = Work::spawn(async move {
            let outcome = unwound(self.in_turn(method, queued)).await;
            message.settle(outcome);
        });
        running.runs(work);
    }

    fn stop(self: Rc<Self>, reason: ExitReason) -> LocalBoxFuture<'static, ()> {
        self.stopping.set(true);
        Box::pin(async move {
            let mut actor = self.actor.write().await;
            unwound(actor.terminate(&reason)).await;
        })
    }
}

/// A message that has not begun. It leaves the mailbox when it begins, or is cancelled before.
struct Queued {
    message: Rc<Message>,
    count: Rc<Cell<usize>>,
}

impl Queued {
    fn new(message: Rc<Message>, count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Queued {
            message,
            count: count.clone(),
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        self.message.taken();
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
