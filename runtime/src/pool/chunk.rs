//! One chunk: items on their way to a worker, and what came of each.

use crate::actor::conn::{Answer, Reply};
use crate::actor::contract::Task;
use crate::error::{Error, Result, TaskError};
use crate::exit::ExitReason;
use crate::wire::attach::{Lent, Payload};
use crate::wire::codec;
use crate::wire::control::Salvage;
use std::time::Duration;

use super::parts::{Parts, Place};
use super::workers::is_timeout;

/// Items that go to a worker together.
#[derive(Debug)]
pub(super) struct Chunk<I> {
    pub(super) items: Vec<Item<I>>,
    /// Their encoded inputs, each with its header before it.
    pub(super) body: Payload,
}

impl<I> Default for Chunk<I> {
    fn default() -> Self {
        Chunk {
            items: Vec::new(),
            body: Payload::default(),
        }
    }
}

/// An item of a chunk, until its result is known.
#[derive(Debug)]
pub(super) struct Item<I> {
    pub(super) idx: u64,
    /// The input itself, where it is given back with the result.
    pub(super) input: I,
    /// How often it may yet run again.
    pub(super) retries: u32,
    /// Where its encoded input is in the body.
    pub(super) place: Place,
}

/// An item that is to be sent again.
#[derive(Debug)]
pub(super) struct Again<I> {
    pub(super) idx: u64,
    pub(super) input: I,
    pub(super) retries: u32,
    pub(super) body: Payload,
}

/// The outcome of a task. Its error is large, and rare.
pub(super) type Outcome<T> = Result<<T as Task>::Output, Box<TaskError<<T as Task>::Error>>>;

/// An item with its outcome.
pub(super) struct Done<T: Task, I> {
    pub(super) idx: u64,
    pub(super) input: I,
    pub(super) outcome: Outcome<T>,
}

/// What became of a chunk.
pub(super) struct Sorted<T: Task, I> {
    /// Items with their outcomes.
    pub(super) done: Vec<Done<T, I>>,
    /// Items that had not begun: they run as if nothing had been.
    pub(super) again: Vec<Again<I>>,
    /// An item whose worker died, to be run again alone.
    pub(super) alone: Option<Again<I>>,
    /// How long the chunk took, if it ran to its end.
    pub(super) nanos: Option<u64>,
}

/// Sorts the items of a chunk by what its answer says of them.
pub(super) fn sort<T: Task, I>(
    chunk: Chunk<I>,
    answer: Result<Answer>,
    timeout: Option<Duration>,
) -> Sorted<T, I> {
    let Chunk { items, body } = chunk;
    let mut sorted = Sorted {
        done: Vec::with_capacity(items.len()),
        again: Vec::new(),
        alone: None,
        nanos: None,
    };
    let mut items = items.into_iter();
    let (parts, reply) = match answer {
        Ok(Answer { parts, reply }) => (parts, reply),
        Err(error) => {
            sorted.fail(items, &error);
            return sorted;
        }
    };
    for part in parts {
        sorted.take(&mut items, &mut Parts::new(&part.bytes, part.fds));
    }
    match reply {
        Reply::Value(last, nanos) => {
            sorted.take(&mut items, &mut Parts::new(&last.bytes, last.fds));
            sorted.nanos = Some(nanos);
            sorted.fail(items, &Error::msg("the worker gave no result for this item"));
        }
        Reply::Fault(error) => sorted.fail(items, &error),
        Reply::Failed(_) => sorted.fail(items, &Error::msg("the worker failed as only an actor can")),
        Reply::Died { reason, salvage, .. } => {
            let begun = salvage.as_ref().map_or(0, |salvage| salvage.begun);
            let overdue = salvage.as_ref().is_some_and(|salvage| salvage.overdue);
            if let Some(salvage) = salvage {
                sorted.salvage(&mut items, salvage);
            }
            let mut left = items.map(
                |Item {
                     idx,
                     input,
                     retries,
                     place,
                 }| {
                    Again {
                        idx,
                        input,
                        retries,
                        body: place.of(&body),
                    }
                },
            );
            if begun > sorted.done.len() as u64 {
                sorted.blame(left.next(), reason, timeout.filter(|_| overdue));
            }
            sorted.again.extend(left);
        }
    }
    sorted
}

impl<T: Task, I> Sorted<T, I> {
    /// Takes results for the items that are next.
    fn take(&mut self, items: &mut impl Iterator<Item = Item<I>>, results: &mut Parts<'_>) {
        for result in results {
            let Some(Item { idx, input, .. }) = items.next() else {
                break;
            };
            self.done.push(Done {
                idx,
                input,
                outcome: decode::<T>(result),
            });
        }
    }

    /// Takes what was in a dead worker's outbox: those of its results that came already are passed over.
    fn salvage(&mut self, items: &mut impl Iterator<Item = Item<I>>, Salvage { base, results, .. }: Salvage) {
        let mut results = Parts::new(&results, Vec::new());
        let Some(came) = (self.done.len() as u64).checked_sub(base) else {
            return;
        };
        if (0..came).all(|_| results.next().is_some()) {
            self.take(items, &mut results);
        }
    }

    /// The item that the worker was on when it died.
    fn blame(&mut self, item: Option<Again<I>>, reason: ExitReason, overdue: Option<Duration>) {
        let Some(mut item) = item else { return };
        let outcome = match overdue {
            Some(timeout) if is_timeout(&reason) => TaskError::Timeout(timeout),
            _ if item.retries > 0 => {
                item.retries -= 1;
                self.alone = Some(item);
                return;
            }
            _ => TaskError::Died { reason, begun: true },
        };
        self.done.push(Done {
            idx: item.idx,
            input: item.input,
            outcome: Err(Box::new(outcome)),
        });
    }

    fn fail(&mut self, items: impl Iterator<Item = Item<I>>, error: &Error) {
        let failed = items.map(|Item { idx, input, .. }| Done {
            idx,
            input,
            outcome: Err(Box::new(TaskError::Other(error.clone()))),
        });
        self.done.extend(failed);
    }
}

fn decode<T: Task>((kind, result): (u8, Lent<'_>)) -> Outcome<T> {
    let error = match kind {
        0 => match result.decode(T::decode_output) {
            Ok(output) => return Ok(output),
            Err(error) => TaskError::Other(error),
        },
        1 => result
            .decode(T::decode_error)
            .map_or_else(TaskError::Other, TaskError::Failed),
        2 => TaskError::Other(codec::decode(result.bytes).unwrap_or_else(Error::from)),
        other => TaskError::Other(Error::msg(format_args!("a worker gave a result of kind {other}"))),
    };
    Err(Box::new(error))
}
