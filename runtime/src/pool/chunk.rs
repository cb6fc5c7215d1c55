//! One chunk: items on their way to a worker, and what came of each.

use crate::actor::chunk::ItemKind;
use crate::actor::conn::{Answer, Death, Reply};
use crate::actor::contract::Task;
use crate::error::{Error, Result, TaskError};
use crate::exit::ExitReason;
use crate::wire::attach::{Lent, Payload};
use crate::wire::codec;
use crate::wire::control::Salvage;
use crate::wire::items::{Items, split};
use std::time::Duration;

use super::workers::is_timeout;

/// Items that go to a worker together. Their numbers follow one another.
#[derive(Debug)]
pub(super) struct Chunk<K> {
    /// The number of the first.
    pub(super) first: u64,
    /// How often each may yet run again.
    pub(super) retries: u32,
    /// What is kept of each input.
    pub(super) kept: Vec<K>,
    /// Their encoded inputs.
    pub(super) body: Payload,
}

impl<K> Default for Chunk<K> {
    fn default() -> Self {
        Chunk {
            first: 0,
            retries: 0,
            kept: Vec::new(),
            body: Payload::default(),
        }
    }
}

/// The outcome of a task. Its error is large, and rare.
pub(super) type Outcome<T> = Result<<T as Task>::Output, Box<TaskError<<T as Task>::Error>>>;

/// An outcome with what is kept of its input.
pub(super) type Done<T, K> = (K, Outcome<T>);

/// What became of a chunk.
pub(super) struct Sorted<T: Task, K> {
    /// The outcomes of the items that have one: the first, and those behind it.
    pub(super) done: Vec<Done<T, K>>,
    /// The item behind them, if its worker died of it and it may run again.
    pub(super) alone: Option<Chunk<K>>,
    /// The items behind that: they had not begun, and run as if nothing had been.
    pub(super) rest: Option<Chunk<K>>,
    /// How long the chunk took, if it ran to its end.
    pub(super) nanos: Option<u64>,
}

/// Sorts the items of a chunk by what its answer says of them.
pub(super) fn sort<T: Task, K>(
    chunk: Chunk<K>,
    answer: Result<Answer>,
    timeout: Option<Duration>,
) -> Sorted<T, K> {
    let Chunk {
        first,
        retries,
        kept,
        body,
    } = chunk;
    let mut sorted = Sorted {
        done: Vec::with_capacity(kept.len()),
        alone: None,
        rest: None,
        nanos: None,
    };
    let mut kept = kept.into_iter();
    let (parts, reply) = match answer {
        Ok(Answer { parts, reply }) => (parts, reply),
        Err(error) => {
            sorted.fail(kept, &error);
            return sorted;
        }
    };
    for part in parts {
        sorted.take(&mut kept, Items::new(&part.bytes, part.fds));
    }
    match reply {
        Reply::Value(last, nanos) => {
            sorted.take(&mut kept, Items::new(&last.bytes, last.fds));
            sorted.nanos = Some(nanos);
            sorted.fail(kept, &Error::msg("the worker gave no result for this item"));
        }
        Reply::Fault(error) => sorted.fail(kept, &error),
        Reply::Failed(_) => sorted.fail(kept, &Error::msg("the worker failed as only an actor can")),
        Reply::Died(death) => {
            let Death { reason, salvage, .. } = *death;
            let begun = salvage.as_ref().map_or(0, |salvage| salvage.begun);
            let overdue = salvage.as_ref().is_some_and(|salvage| salvage.overdue);
            if let Some(salvage) = salvage {
                sorted.salvage(&mut kept, &salvage);
            }
            let n_done = sorted.done.len();
            let mut left = Chunk {
                first: first + n_done as u64,
                retries,
                kept: kept.collect(),
                body: split(body, n_done).1,
            };
            if begun > n_done as u64 && !left.kept.is_empty() {
                let rest = left.split_first();
                sorted.blame(left, reason, timeout.filter(|_| overdue));
                left = rest;
            }
            sorted.rest = Some(left).filter(|left| !left.kept.is_empty());
        }
    }
    sorted
}

impl<K> Chunk<K> {
    pub(super) fn of_one(idx: u64, retries: u32, kept: K, body: Payload) -> Self {
        Chunk {
            first: idx,
            retries,
            kept: vec![kept],
            body,
        }
    }

    /// Leaves its first item in it, and gives the others.
    fn split_first(&mut self) -> Chunk<K> {
        let (first, rest) = split(std::mem::take(&mut self.body), 1);
        self.body = first;
        Chunk {
            first: self.first + 1,
            retries: self.retries,
            kept: self.kept.split_off(1),
            body: rest,
        }
    }
}

impl<T: Task, K> Sorted<T, K> {
    /// Takes results for the items that are next.
    fn take(&mut self, kept: &mut impl Iterator<Item = K>, results: Items<'_>) {
        for result in results {
            let Some(kept) = kept.next() else { break };
            self.done.push((kept, decode::<T>(result)));
        }
    }

    /// Takes what was in a dead worker's outbox: those of its results that came already are passed over.
    fn salvage(&mut self, kept: &mut impl Iterator<Item = K>, salvage: &Salvage) {
        if let Some(came) = (self.done.len() as u64).checked_sub(salvage.base) {
            self.take(
                kept,
                Items::new(&salvage.results, Vec::new()).skipping(came as usize),
            );
        }
    }

    /// The item that the worker was on when it died.
    fn blame(&mut self, mut item: Chunk<K>, reason: ExitReason, overdue: Option<Duration>) {
        let outcome = match overdue {
            Some(timeout) if is_timeout(&reason) => TaskError::Timeout(timeout),
            _ if item.retries > 0 => {
                item.retries -= 1;
                self.alone = Some(item);
                return;
            }
            _ => TaskError::Died { reason, begun: true },
        };
        let outcome = |kept| (kept, Err(Box::new(outcome)));
        self.done.extend(item.kept.pop().map(outcome));
    }

    fn fail(&mut self, kept: impl Iterator<Item = K>, error: &Error) {
        let failed = kept.map(|kept| (kept, Err(Box::new(TaskError::Other(error.clone())))));
        self.done.extend(failed);
    }
}

#[inline]
fn decode<T: Task>((kind, result): (u8, Lent<'_>)) -> Outcome<T> {
    const VALUE: u8 = ItemKind::Value as u8;
    match kind {
        VALUE => result
            .decode(T::decode_output)
            .map_err(|error| Box::new(TaskError::Other(error))),
        _ => Err(Box::new(failure::<T>(kind, result))),
    }
}

#[cold]
fn failure<T: Task>(kind: u8, result: Lent<'_>) -> TaskError<T::Error> {
    const FAILED: u8 = ItemKind::Failed as u8;
    const FAULT: u8 = ItemKind::Fault as u8;
    match kind {
        FAILED => result
            .decode(T::decode_error)
            .map_or_else(TaskError::Other, TaskError::Failed),
        FAULT => TaskError::Other(codec::decode(result.bytes).unwrap_or_else(Error::from)),
        other => TaskError::Other(Error::msg(format_args!("a worker gave a result of kind {other}"))),
    }
}
