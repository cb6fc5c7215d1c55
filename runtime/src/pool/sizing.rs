//! How many items go into a chunk.
//!
//! A chunk should take about as long as it is worth: long enough that its way there and back does not count, short
//! enough that the work stays even among workers and a slow item holds up few others. Workers say how long a chunk took,
//! so the size follows the items; it grows in steps, since the first items may not be like the rest. What is left in the
//! end is shared among the workers, but in no smaller pieces than are worth their way.
//!
//! Where chunks are shorter than their way, since their size was asked for, several travel together, and more of them
//! wait at a worker: as many as it works off while an answer and the next message are on their way.

use std::time::Duration;

/// How long a chunk should take whose outcomes are looked at as they come.
const GOAL: Duration = Duration::from_millis(2);

/// The same where they are looked at when all are there: an answer, and what follows it, takes a processor from the workers.
const GOAL_OF_ALL: Duration = Duration::from_millis(20);

/// The most by which one chunk is larger than the last.
const STEP: usize = 8;

/// Into how many chunks for each worker what is left is divided.
const SHARES: usize = 8;

/// What should wait at a worker while it runs a chunk: longer than an answer and the next chunk are on their way.
const AHEAD: Duration = Duration::from_micros(200);

/// How many messages with chunks a worker may have: one that runs, and one that waits so that it need not.
pub(super) const DEPTH: usize = 2;

/// The same where they are short.
const MOST_DEPTH: usize = 4;

/// The most chunks in a message, where their size was asked for.
const MOST_TOGETHER: usize = 64;

/// The most items in a chunk, and the most encoded bytes.
const MOST: usize = 1 << 16;
pub(super) const MOST_BYTES: usize = 256 << 10;

/// Chooses sizes.
#[derive(Debug)]
pub(super) struct Sizing {
    fixed: Option<usize>,
    goal: Duration,
    n_workers: usize,
    last: usize,
    /// Nanoseconds for an item, as a moving average; `None` before the first chunk is back.
    cost: Option<f64>,
    /// How many items that average stands for: the first, on a cold worker, says little of the rest.
    weight: f64,
    /// The encoded bytes of an item, of those in the last chunk.
    bytes: f64,
}

impl Sizing {
    pub(super) fn new(fixed: Option<usize>, n_workers: usize) -> Self {
        Sizing {
            fixed,
            goal: GOAL,
            n_workers,
            last: 0,
            cost: None,
            weight: 0.0,
            bytes: 0.0,
        }
    }

    /// The same for a map of which nobody sees an outcome before all are there.
    pub(super) fn of_all(self) -> Self {
        Sizing {
            goal: GOAL_OF_ALL,
            ..self
        }
    }

    /// The size of the next chunk, with so many items to go, if that is known.
    pub(super) fn next(&mut self, left: Option<usize>) -> usize {
        // The last chunks get smaller, so that all workers end together.
        let fair = left.map_or(MOST, |left| left.div_ceil(SHARES * self.n_workers));
        if let Some(fixed) = self.fixed {
            return fixed.saturating_mul(self.together(fixed).min(fair.div_ceil(fixed)).max(1));
        }
        let Some(cost) = self.cost else { return 1 };
        let within = |time: Duration| (time.as_nanos() as f64 / cost.max(1.0)) as usize;
        // But not so small that their ways take longer than they do.
        let fair = fair.max(within(AHEAD));
        let size = within(self.goal)
            .min(fair)
            .min(self.last.max(1) * STEP)
            .clamp(1, MOST);
        self.last = size;
        size
    }

    /// How many items a message has now.
    pub(super) fn largest(&self) -> usize {
        let fixed = self.fixed.map(|fixed| fixed.saturating_mul(self.together(fixed)));
        let fitting = 1 + (MOST_BYTES as f64 / self.bytes.max(1.0)) as usize;
        fixed.unwrap_or(self.last).clamp(1, fitting)
    }

    /// How many chunks of so many items a message has: half of what should wait at a worker, so that the other half is
    /// there while it is answered.
    fn together(&self, n_items: usize) -> usize {
        let chunk = self.cost.map(|cost| cost * n_items as f64);
        let fitting = chunk.map_or(1.0, |chunk| AHEAD.as_nanos() as f64 / 2.0 / chunk.max(1.0));
        (fitting as usize).clamp(1, MOST_TOGETHER)
    }

    /// Learns what a chunk took.
    pub(super) fn took(&mut self, n_items: usize, nanos: u64) {
        let (before, n_items) = (self.weight / 2.0, n_items.max(1) as f64);
        self.weight = before + n_items;
        self.cost = Some((self.cost.unwrap_or(0.0) * before + nanos as f64) / self.weight);
    }

    /// How many bytes a chunk of so many items is likely to have.
    pub(super) fn bytes(&self, n_items: usize) -> usize {
        // Some more, since a larger buffer later is dearer.
        ((1.1 * self.bytes * n_items as f64) as usize).min(MOST_BYTES)
    }

    /// Learns how many bytes a chunk has.
    pub(super) fn took_bytes(&mut self, n_items: usize, n_bytes: usize) {
        self.bytes = n_bytes as f64 / n_items.max(1) as f64;
    }

    /// How many messages with chunks each worker should have: more than the one that it runs only where that keeps none from an idle
    /// worker.
    pub(super) fn depth(&self, left: Option<usize>) -> usize {
        if left.is_some_and(|left| left <= DEPTH * self.n_workers) {
            return 1;
        }
        match (self.cost, self.fixed) {
            (Some(cost), _) => {
                let message = cost * self.largest() as f64;
                (1 + (AHEAD.as_nanos() as f64 / message.max(1.0)) as usize).clamp(DEPTH, MOST_DEPTH)
            }
            (None, Some(_)) => DEPTH,
            (None, None) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_chunk_has_one_item_and_the_next_grow_with_cheap_items() {
        let mut sizing = Sizing::new(None, 2);
        assert_eq!(sizing.next(None), 1);
        sizing.took(1, 100);
        assert_eq!(sizing.next(None), 8);
        assert_eq!(sizing.next(None), 64);
    }

    #[test]
    fn items_of_five_milliseconds_go_one_by_one() {
        let mut sizing = Sizing::new(None, 2);
        sizing.took(1, 5_000_000);
        assert_eq!(sizing.next(Some(200)), 1);
    }

    #[test]
    fn items_of_five_milliseconds_go_together_where_nobody_looks_before_the_end() {
        let mut sizing = Sizing::new(None, 2).of_all();
        sizing.took(1, 5_000_000);
        assert_eq!(
            [200, 64, 48, 32, 16].map(|left| sizing.next(Some(left))),
            [4, 4, 3, 2, 1]
        );
    }

    #[test]
    fn the_last_chunks_are_shared_among_the_workers() {
        let mut sizing = Sizing::new(None, 2);
        sizing.took(1000, 20_000_000);
        for _ in 0..6 {
            sizing.next(None);
        }
        assert_eq!(sizing.next(Some(320)), 20);
        assert_eq!(sizing.next(Some(200)), 13);
    }

    #[test]
    fn the_last_chunks_are_worth_their_way() {
        let mut sizing = Sizing::new(None, 2);
        sizing.took(1000, 20_000_000);
        for _ in 0..6 {
            sizing.next(None);
        }
        // Ten of them take as long as an answer and the next chunk are on their way.
        assert_eq!(sizing.next(Some(159)), 10);
        assert_eq!(sizing.next(Some(1)), 10);
    }

    #[test]
    fn short_chunks_travel_together_and_long_ones_alone() {
        for (nanos, together, depth) in [
            (100, 64, 4),
            (10_000, 10, 3),
            (70_000, 1, 3),
            (5_000_000, 1, DEPTH),
        ] {
            let mut sizing = Sizing::new(Some(1), 2);
            assert_eq!((sizing.next(None), sizing.depth(None)), (1, DEPTH));
            sizing.took(1, nanos);
            assert_eq!(
                (sizing.next(None), sizing.depth(None)),
                (together, depth),
                "{nanos}"
            );
        }
    }

    #[test]
    fn the_last_short_chunks_are_shared_among_the_workers() {
        let mut sizing = Sizing::new(Some(3), 2);
        sizing.took(3, 300);
        assert_eq!(sizing.next(Some(4000)), 3 * 64);
        assert_eq!(sizing.next(Some(200)), 3 * 5);
        assert_eq!(sizing.next(Some(1)), 3);
    }

    #[test]
    fn a_chunk_has_room_for_an_item_also_where_none_is_said_to_be_left() {
        for fixed in [None, Some(1), Some(usize::MAX)] {
            let mut sizing = Sizing::new(fixed, 2);
            assert!(sizing.next(Some(0)) >= 1);
            sizing.took(1, 100);
            assert!(sizing.next(Some(0)) >= 1);
        }
    }

    #[test]
    fn a_message_of_large_items_has_as_many_as_fit() {
        let mut sizing = Sizing::new(None, 2);
        for _ in 0..6 {
            sizing.took(1000, 1_000_000);
            sizing.next(None);
        }
        assert_eq!(sizing.largest(), 2000);
        sizing.took_bytes(256, 256 << 10);
        assert_eq!(sizing.largest(), 257);
    }

    #[test]
    fn the_last_items_wait_for_whoever_is_idle_first() {
        let mut sizing = Sizing::new(None, 2);
        assert_eq!(sizing.depth(None), 1);
        sizing.took(1, 10_000);
        assert_eq!(sizing.depth(Some(4)), 1);
    }

    #[test]
    fn a_size_that_was_asked_for_is_kept() {
        let mut sizing = Sizing::new(Some(7), 2);
        sizing.took(7, 1);
        assert_eq!(sizing.next(Some(1)), 7);
    }
}
