//! A pool's worker, in its own process: chunks of items in, results out.
//!
//! Chunks run one after another, and the items of a chunk in order. What the host needs to know at any instruction that
//! this process may die at is in the status page: the chunk, how many of its items have begun, and, in the outbox, the
//! results that were not sent yet. So a death costs the item that had begun and not ended, and no other.
//!
//! The outbox of a chunk is reset before the chunk's number is published, and an item's result is in the outbox before
//! the next item begins. Results leave it only after they were handed to the kernel.

use crate::actor::contract::{Chunk, ItemKind, Outcome};
use crate::actor::port::Message;
use crate::actor::room::{Serve, unwound};
use crate::actor::row::{self, Entry};
use crate::actor::work::Work;
use crate::error::{Error, ErrorKind, Result};
use crate::exit::ExitReason;
use crate::process::page::Page;
use crate::wire::attach::{Lent, Payload};
use crate::wire::codec;
use futures::future::LocalBoxFuture;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Mutex;

use super::parts::{Parts, Place, Writer};

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
        let begin = Instant::now();
        let mut run = Run::new(self, message);
        (task.chunk)(&mut run).await;
        let results = std::mem::take(&mut run.results).into_payload();
        drop(run);
        message.finish(results, begin.elapsed().as_nanos() as u64);
        // The next chunk takes the outbox over: what was in it has to be with the kernel by then.
        message.port.flush_now();
        message.port.flushed().await;
    }
}

/// A chunk that runs.
struct Run<'a> {
    page: &'a Page,
    timed: bool,
    message: &'a Message,
    /// Those that have not begun.
    items: Parts<'a>,
    /// The item that is next, from 0.
    next: u64,
    /// Those of this chunk that were not sent yet.
    results: Writer,
    /// Where the last of them is.
    last: Place,
    /// They are no longer all in the outbox, which holds no descriptors, or are more than a message may hold.
    full: bool,
}

impl<'a> Run<'a> {
    fn new(worker: &'a Worker, message: &'a Message) -> Self {
        let page = &*worker.page;
        page.begin_chunk(message.port.slot, message.seq);
        page.begin(message.port.slot, message.seq);
        let items = Parts::new(&message.body, message.fds.take());
        let results = Writer::with_capacity(message.body.len());
        Run {
            page,
            timed: worker.timed,
            message,
            items,
            next: 0,
            results,
            last: Place::default(),
            full: false,
        }
    }
}

impl Drop for Run<'_> {
    /// Also where the chunk was cancelled: nobody's time runs any more.
    fn drop(&mut self) {
        self.page.end_chunk();
    }
}

impl Run<'_> {
    /// The error in place of a result.
    fn fault(&mut self, error: &Error) -> Place {
        let kind = ItemKind::Fault as u8;
        let text = self
            .results
            .push(kind, usize::MAX, |out| Ok(codec::encode(error, out)?));
        text.or_else(|_| self.results.push(kind, usize::MAX, |_| Ok(())))
            .unwrap_or_default()
    }
}

impl Chunk for Run<'_> {
    fn next(&mut self) -> Option<Lent<'_>> {
        let (_, item) = self.items.next()?;
        self.next += 1;
        self.page.begin_item(self.next, self.timed);
        Some(item)
    }

    fn done(&mut self, kind: ItemKind, encode: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>) {
        let limit = self.message.port.limit();
        let pushed = self.results.push(kind as u8, limit, |out| encode(out));
        self.last = pushed.unwrap_or_else(|error| self.fault(&error));
        let in_outbox = self.last.fds.is_empty() && self.page.push_outbox(self.results.part(&self.last));
        self.full |= !in_outbox || self.results.is_too_much(limit);
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn flush(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            let mut results = std::mem::take(&mut self.results);
            if results.is_too_much(self.message.port.limit()) {
                // It is the last that made them too many: before it they were not.
                let last = results.split_off(&self.last);
                self.message.part(results.into_payload());
                self.message.part(last);
            } else {
                self.message.part(results.into_payload());
            }
            self.message.port.flushed().await;
            self.page.reset_outbox(self.next);
            self.full = false;
        })
    }
}
