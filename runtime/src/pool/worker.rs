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
use crate::wire::codec;
use bytes::Bytes;
use futures::future::LocalBoxFuture;
use std::rc::Rc;
use std::time::Instant;
use tokio::sync::Mutex;

/// Before each item's encoded outcome: its kind and its length.
pub(super) const ITEM_HEADER: usize = 5;

/// Serves a pool.
struct Worker {
    page: Rc<Page>,
    /// Whether the host watches how long an item takes.
    timed: bool,
    turn: Rc<Mutex<()>>,
}

/// The body of a worker's process. Its input is one byte: whether items are timed.
pub(crate) fn body(page: Rc<Page>, input: Bytes) -> Rc<dyn Serve> {
    Rc::new(Worker {
        page,
        timed: input.first() == Some(&1),
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
        let results = Bytes::from(std::mem::take(&mut run.results));
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
    /// Those that have not begun, each with its length before it.
    items: &'a [u8],
    /// The item that is next, from 0.
    next: u64,
    /// Those of this chunk that were not sent yet.
    results: Vec<u8>,
    /// Where the last of them begins.
    last: usize,
    /// They are no longer all in the outbox, or are more than a message may hold.
    full: bool,
}

impl<'a> Run<'a> {
    fn new(worker: &'a Worker, message: &'a Message) -> Self {
        let page = &*worker.page;
        page.begin_chunk(message.port.slot, message.seq);
        page.begin(message.port.slot, message.seq);
        let items = &message.body[..];
        let results = Vec::with_capacity(items.len());
        Run {
            page,
            timed: worker.timed,
            message,
            items,
            next: 0,
            results,
            last: 0,
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
    /// Whether the result that begins there can be sent.
    fn fits(&self, start: usize) -> Result<()> {
        let (size, limit) = (self.results.len() - start, self.message.port.limit());
        match size {
            size if size > limit => Err(Error::too_large(size, limit)),
            _ => Ok(()),
        }
    }
}

impl Chunk for Run<'_> {
    fn next(&mut self) -> Option<&[u8]> {
        let (length, rest) = self.items.split_first_chunk()?;
        let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.items = rest;
        self.next += 1;
        self.page.begin_item(self.next, self.timed);
        Some(item)
    }

    fn done(&mut self, kind: ItemKind, encode: &mut dyn FnMut(&mut Vec<u8>) -> Result<()>) {
        let start = self.results.len();
        self.results.extend([kind as u8, 0, 0, 0, 0]);
        if let Err(error) = encode(&mut self.results).and_then(|()| self.fits(start)) {
            self.results.truncate(start);
            self.results.extend([ItemKind::Fault as u8, 0, 0, 0, 0]);
            if codec::encode(&error, &mut self.results).is_err() {
                self.results.truncate(start + ITEM_HEADER);
            }
        }
        let length = (self.results.len() - start - ITEM_HEADER) as u32;
        self.results[start + 1..start + ITEM_HEADER].copy_from_slice(&length.to_le_bytes());
        self.last = start;
        let in_outbox = self.page.push_outbox(&self.results[start..]);
        self.full |= !in_outbox || self.results.len() > self.message.port.limit();
    }

    fn is_full(&self) -> bool {
        self.full
    }

    fn flush(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            let mut results = std::mem::take(&mut self.results);
            if results.len() > self.message.port.limit() {
                // It is the last that made them too many: before it they were not.
                let last = results.split_off(self.last);
                self.message.part(Bytes::from(results));
                results = last;
            }
            self.message.part(Bytes::from(results));
            self.message.port.flushed().await;
            self.page.reset_outbox(self.next);
            self.full = false;
        })
    }
}
