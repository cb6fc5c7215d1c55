//! Items of a pool that came with one message, handed out one by one to the task that maps them.
//!
//! What the host needs to know at any instruction that this process may die at is in the status page: the chunk, how
//! many of its items have begun, and, in the outbox, the results that were not sent yet. So a death costs the item that
//! had begun and not ended, and no other.
//!
//! The outbox of a chunk is reset before the chunk's number is published, and an item's result is in the outbox before
//! the next item begins. Results leave it only after they were handed to the kernel.

use crate::error::{Error, Result};
use crate::process::page::Page;
use crate::wire::attach::{Descriptors, Payload, whole};
use crate::wire::codec;
use crate::wire::items::{Items, Writer};
use std::time::{Duration, Instant};
use tokio::task::yield_now;

use super::port::Message;

/// How an item of a pool ended, as a tag of its encoded outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ItemKind {
    Value = 0,
    Failed = 1,
    Fault = 2,
}

/// A chunk that runs.
pub(crate) struct Chunk<'a> {
    page: &'a Page,
    /// Whether the host watches how long an item takes.
    timed: bool,
    message: &'a Message,
    /// Those that have not begun.
    items: Items<'a>,
    /// The number of the item that began last, from 1.
    begun: u64,
    /// Those of this chunk that were not sent yet.
    results: Writer,
    /// They are no longer all in the outbox, which holds no descriptors, or are more than a message may hold.
    full: bool,
    limit: usize,
    since: Instant,
    pace: Pace,
}

impl<'a> Chunk<'a> {
    /// Of what came as the body of that message.
    pub(crate) fn new(
        page: &'a Page,
        timed: bool,
        message: &'a Message,
        (items, fds): (&'a [u8], Descriptors),
    ) -> Self {
        page.begin_chunk(message.port.slot, message.seq);
        page.begin(message.port.slot, message.seq);
        let since = Instant::now();
        Chunk {
            page,
            timed,
            message,
            items: Items::new(items, fds),
            begun: 0,
            results: Writer::with_capacity((2 * items.len()).min(page.outbox_room())),
            full: false,
            limit: message.port.limit(),
            since,
            pace: Pace::new(since),
        }
    }

    /// The input of the next item, which has begun from here on: to decode it runs the user's code too.
    #[inline]
    pub(crate) fn next<T>(&mut self, decode: impl FnOnce(&mut &[u8]) -> Result<T>) -> Option<Result<T>> {
        self.items.read(|_, input| {
            self.begun += 1;
            self.page.begin_item(self.begun, self.timed);
            whole(input, decode)
        })
    }

    /// The item is done: the outcome, written by `encode`, which may attach descriptors.
    #[inline]
    pub(crate) fn done(&mut self, kind: ItemKind, encode: impl FnOnce(&mut Vec<u8>) -> Result<()>) {
        match self.results.push(kind as u8, self.limit, encode) {
            Ok(()) => self.keep(),
            Err(error) => self.fault(&error),
        }
    }

    /// The item is done, and there is an error in place of its outcome.
    #[cold]
    pub(crate) fn fault(&mut self, error: &Error) {
        let (fault, any) = (ItemKind::Fault as u8, usize::MAX);
        let told = self
            .results
            .push(fault, any, |out| Ok(codec::encode(error, out)?));
        if told.is_err() {
            let _ = self.results.push(fault, any, |_| Ok(()));
        }
        self.keep();
    }

    /// Whether a pause is due, asked once between two items.
    #[inline]
    pub(crate) fn is_due(&mut self) -> bool {
        self.pace.is_due() | self.full
    }

    /// Hears a stop or a cancel, and sends the results that are too many to be kept.
    #[cold]
    pub(crate) async fn pause(&mut self) {
        yield_now().await;
        if self.full {
            self.flush().await;
        }
    }

    /// The results that were not sent, and how many nanoseconds it took.
    pub(crate) fn end(mut self) -> (Payload, u64) {
        let took = self.since.elapsed();
        let results = std::mem::take(&mut self.results);
        (results.into_payload(), took.as_nanos() as u64)
    }

    /// Keeps the last result where it outlives this process.
    #[inline]
    fn keep(&mut self) {
        let last = self.results.last();
        let in_outbox = !self.results.last_has_fds() && self.page.extend_outbox(&self.results.bytes, last);
        self.full |= !in_outbox || self.results.is_too_much(self.limit);
    }

    #[cold]
    async fn flush(&mut self) {
        let mut results = std::mem::take(&mut self.results);
        // If they are too many it is the last that made them so: before it they were not.
        let last = match results.is_too_much(self.limit) {
            true => Some(results.split_off_last()),
            false => None,
        };
        self.message.part(results.into_payload());
        if let Some(last) = last {
            self.message.part(last);
        }
        self.message.port.flushed().await;
        self.page.reset_outbox(self.begun);
        self.full = false;
    }
}

impl Drop for Chunk<'_> {
    /// Also where the chunk was cancelled: nobody's time runs any more.
    fn drop(&mut self) {
        self.page.end_chunk();
    }
}

/// How long cheap items may keep this thread from hearing what it is told.
const DEAF: Duration = Duration::from_micros(200);

/// The most items between two looks at the clock.
const MOST: u32 = 128;

/// Says when to let others run: between any two items that take their time, and every so often between cheap ones,
/// for which looking at the clock each time would cost more than they do.
struct Pace {
    /// Items until the next look at the clock.
    left: u32,
    stride: u32,
    looked: Instant,
    paused: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Pace {
            left: 1,
            stride: 1,
            looked: now,
            paused: now,
        }
    }

    #[inline]
    fn is_due(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && self.look(Instant::now())
    }

    fn look(&mut self, now: Instant) -> bool {
        let took = now - self.looked;
        self.looked = now;
        self.stride = match took {
            took if took < DEAF / 8 => (2 * self.stride).min(MOST),
            took if took > DEAF / 2 => (self.stride / 2).max(1),
            _ => self.stride,
        };
        self.left = self.stride;
        let is_due = now - self.paused >= DEAF;
        if is_due {
            self.paused = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many items of that length run before each of the first pauses.
    fn runs(item: Duration) -> Vec<u32> {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut runs = vec![0];
        while runs.len() < 20 {
            now += item;
            *runs.last_mut().unwrap() += 1;
            pace.left -= 1;
            if pace.left == 0 && pace.look(now) {
                runs.push(0);
            }
        }
        runs.pop();
        runs
    }

    #[test]
    fn what_is_told_is_heard_between_any_two_items_that_take_their_time() {
        assert!(runs(Duration::from_millis(5)).iter().all(|n_items| *n_items == 1));
        assert!(runs(DEAF).iter().all(|n_items| *n_items == 1));
    }

    #[test]
    fn cheap_items_keep_it_from_being_heard_for_little_longer_than_one_would() {
        for nanos in [50, 1_000, 10_000, 60_000, 150_000] {
            let item = Duration::from_nanos(nanos);
            assert!(
                runs(item).iter().all(|n_items| *n_items * item < 2 * DEAF),
                "{nanos}"
            );
        }
    }
}
