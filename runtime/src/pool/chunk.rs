//! One chunk: items on their way to a worker, and what came of each.

use crate::actor::chunk::ItemKind;
use crate::actor::conn::{Answer, Death, Reply};
use crate::actor::contract::Task;
use crate::error::{Error, Result, TaskError};
use crate::exit::ExitReason;
use crate::wire::attach::{Payload, whole};
use crate::wire::codec;
use crate::wire::control::Salvage;
use crate::wire::items::{Items, Received, split};
use std::marker::PhantomData;
use std::time::Duration;
use std::vec;

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

/// What became of items that follow one another, each with what is kept of its input. A result is decoded when it is asked for.
pub(super) struct Outcomes<T, K> {
    kept: vec::IntoIter<K>,
    /// The results of the first.
    results: Received,
    /// What became of those behind them.
    end: End,
    task: PhantomData<fn() -> T>,
}

/// What became of an item that has no result.
#[derive(Debug)]
enum End {
    Missing,
    Failed(Error),
    TimedOut(Duration),
    Died(ExitReason),
}

/// What became of a chunk.
pub(super) struct Sorted<T, K> {
    /// The items that have an outcome: the first, and those behind it.
    pub(super) done: Outcomes<T, K>,
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
    let Answer { mut parts, reply } = match answer {
        Ok(answer) => answer,
        Err(error) => return Sorted::all(Outcomes::failed(chunk.kept, error)),
    };
    let end = match reply {
        Reply::Value(last, nanos) => {
            parts.push(last);
            return Sorted {
                nanos: Some(nanos),
                ..Sorted::all(Outcomes::new(chunk.kept, parts, End::Missing))
            };
        }
        Reply::Died(death) => return died(chunk, parts, *death, timeout),
        Reply::Fault(error) => error,
        Reply::Failed(_) => Error::msg("the worker failed as only an actor can"),
    };
    Sorted::all(Outcomes::new(chunk.kept, parts, End::Failed(end)))
}

/// Sorts those of a worker that died.
fn died<T: Task, K>(
    mut chunk: Chunk<K>,
    mut parts: Vec<Payload>,
    death: Death,
    timeout: Option<Duration>,
) -> Sorted<T, K> {
    let Death { reason, salvage, .. } = death;
    let begun = salvage.as_ref().map_or(0, |salvage| salvage.begun as usize);
    let overdue = salvage.as_ref().is_some_and(|salvage| salvage.overdue);
    let came = parts.iter().map(count).sum();
    parts.extend(salvage.and_then(|salvage| left_in(salvage, came)));
    let n_done = parts.iter().map(count).sum::<usize>().min(chunk.kept.len());
    let mut rest = chunk.split_off(n_done);
    let (mut alone, mut end) = (None, End::Missing);
    if begun > n_done && !rest.kept.is_empty() {
        let mut item = std::mem::take(&mut rest);
        rest = item.split_off(1);
        match timeout.filter(|_| overdue && is_timeout(&reason)) {
            None if item.retries > 0 => {
                item.retries -= 1;
                alone = Some(item);
            }
            timeout => {
                end = timeout.map_or(End::Died(reason), End::TimedOut);
                chunk.kept.append(&mut item.kept);
            }
        }
    }
    Sorted {
        alone,
        rest: Some(rest).filter(|rest| !rest.kept.is_empty()),
        ..Sorted::all(Outcomes::new(chunk.kept, parts, end))
    }
}

fn count(results: &Payload) -> usize {
    Items::new(&results.bytes, results.fds.clone()).count()
}

/// The results in a dead worker's outbox behind those that came already.
fn left_in(salvage: Salvage, came: usize) -> Option<Payload> {
    let n_twice = (came as u64).checked_sub(salvage.base)?;
    Some(split(salvage.results.into(), n_twice as usize).1)
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

    /// Leaves its first `n` items in it, and gives the others.
    fn split_off(&mut self, n: usize) -> Chunk<K> {
        let (first, rest) = split(std::mem::take(&mut self.body), n);
        self.body = first;
        Chunk {
            first: self.first + n as u64,
            retries: self.retries,
            kept: self.kept.split_off(n),
            body: rest,
        }
    }
}

impl<T, K> Sorted<T, K> {
    fn all(done: Outcomes<T, K>) -> Self {
        Sorted {
            done,
            alone: None,
            rest: None,
            nanos: None,
        }
    }
}

impl<T, K> Outcomes<T, K> {
    fn new(kept: Vec<K>, results: Vec<Payload>, end: End) -> Self {
        Outcomes {
            kept: kept.into_iter(),
            results: Received::new(results),
            end,
            task: PhantomData,
        }
    }

    /// None of them has a result.
    pub(super) fn failed(kept: Vec<K>, error: Error) -> Self {
        Outcomes::new(kept, Vec::new(), End::Failed(error))
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}

impl<T: Task, K> Iterator for Outcomes<T, K> {
    type Item = (K, Outcome<T>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let kept = self.kept.next()?;
        let outcome = self.results.read(decode::<T>);
        Some((
            kept,
            outcome.unwrap_or_else(|| Err(Box::new(self.end.to_error()))),
        ))
    }
}

impl End {
    #[cold]
    fn to_error<E>(&self) -> TaskError<E> {
        match self {
            End::Missing => TaskError::Other(Error::msg("the worker gave no result for this item")),
            End::Failed(error) => TaskError::Other(error.clone()),
            End::TimedOut(timeout) => TaskError::Timeout(*timeout),
            End::Died(reason) => TaskError::Died {
                reason: reason.clone(),
                begun: true,
            },
        }
    }
}

#[inline]
fn decode<T: Task>(kind: u8, result: &mut &[u8]) -> Outcome<T> {
    const VALUE: u8 = ItemKind::Value as u8;
    match kind {
        VALUE => whole(result, T::decode_output).map_err(other),
        _ => Err(Box::new(failure::<T>(kind, result))),
    }
}

#[cold]
fn other<E>(error: Error) -> Box<TaskError<E>> {
    Box::new(TaskError::Other(error))
}

#[cold]
fn failure<T: Task>(kind: u8, result: &mut &[u8]) -> TaskError<T::Error> {
    const FAILED: u8 = ItemKind::Failed as u8;
    const FAULT: u8 = ItemKind::Fault as u8;
    match kind {
        FAILED => whole(result, T::decode_error).map_or_else(TaskError::Other, TaskError::Failed),
        FAULT => TaskError::Other(codec::decode(result).unwrap_or_else(Error::from)),
        other => TaskError::Other(Error::msg(format_args!("a worker gave a result of kind {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::items::Writer;

    /// The results of these items, each one byte.
    fn results(items: std::ops::Range<u8>) -> Payload {
        let mut writer = Writer::default();
        for item in items {
            let write = |out: &mut Vec<u8>| {
                out.push(item);
                Ok(())
            };
            writer.push(ItemKind::Value as u8, usize::MAX, write).unwrap();
        }
        writer.into_payload()
    }

    fn salvage(base: u64, items: std::ops::Range<u8>) -> Salvage {
        Salvage {
            seq: 1,
            begun: u64::from(items.end),
            base,
            results: results(items).bytes.into_bytes(),
            overdue: false,
        }
    }

    #[test]
    fn results_that_were_sent_and_are_in_the_outbox_yet_count_once() {
        let left = |base, items, came| left_in(salvage(base, items), came).map(|left| left.bytes);
        assert_eq!(left(1, 1..5, 1), Some(results(1..5).bytes));
        assert_eq!(left(1, 1..5, 3), Some(results(3..5).bytes));
        assert_eq!(left(1, 1..5, 5), Some(results(5..5).bytes));
        // Some are missing: then those behind them are not theirs.
        assert_eq!(left(1, 1..5, 0), None);
    }
}
