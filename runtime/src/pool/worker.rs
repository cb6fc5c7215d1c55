//! A pool's worker, in its own process: chunks of items in, results out.
//!
//! Chunks run one after another, and the items of a chunk in order, as [`Chunk`] says.

use crate::actor::chunk::Chunk;
use crate::actor::contract::Outcome;
use crate::actor::port::Message;
use crate::actor::room::{Serve, unwound};
use crate::actor::row::{self, Entry};
use crate::actor::work::Work;
use crate::error::{Error, ErrorKind};
use crate::exit::ExitReason;
use crate::process::page::Page;
use crate::wire::attach::Payload;
use futures::future::LocalBoxFuture;
use std::rc::Rc;
use tokio::sync::Mutex;

/// Serves a pool.
struct Worker {
    page: Rc<Page>,
    /// Whether the host watches how long an item takes.
    timed: bool,
    turn: Rc<Mutex<()>>,
}

/// The body of a worker's process. Its input is one byte: whether items are timed.
pub(crate) fn body(page: Rc<Page>, input: Payload) -> Rc<dyn Serve> {
    Rc::new(Worker {
        page,
        timed: input.bytes.first() == Some(&1),
        turn: Rc::default(),
    })
}

impl Serve for Worker {
    fn deliver(self: Rc<Self>, message: Message) {
        let message = Rc::new(message);
        let left = Left(message.clone());
        let running = message.clone();
        let work = Work::spawn(async move {
            let turn = self.turn.clone();
            let _turn = turn.lock().await;
            drop(left);
            unwound(self.map(&message)).await;
        });
        running.runs(work);
    }

    fn stop(self: Rc<Self>, _: ExitReason) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move { drop(self.turn.lock().await) })
    }
}

/// A chunk in the mailbox: it leaves that when its turn comes, or when it is cancelled.
struct Left(Rc<Message>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Worker {
    async fn map(&self, message: &Message) {
        let task = match row::at(message.method).map(|row| &row.entry) {
            Ok(Entry::Task(task)) => task,
            Ok(_) => {
                let fault = Error::with_kind(ErrorKind::NotInBuild, "only tasks run in a pool");
                return message.settle(Outcome::Fault(fault));
            }
            Err(error) => return message.settle(Outcome::Fault(error)),
        };
        let Payload { bytes, fds, .. } = match message.payload() {
            Ok(payload) => payload,
            Err(error) => return message.settle(Outcome::Fault(error)),
        };
        let mut chunk = Chunk::new(&self.page, self.timed, message, (&bytes, fds));
        (task.chunk)(&mut chunk).await;
        let (results, nanos) = chunk.end();
        message.finish(results, nanos);
        // The next chunk takes the outbox over: what was in it has to be with the kernel by then.
        message.port.flush_now();
        message.port.flushed().await;
    }
}
