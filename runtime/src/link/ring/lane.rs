//! One direction of a ring: its words and its bytes, whatever memory they are in.

use super::CAPACITY;
use crate::os::cpus;
use crate::os::map::Map;
use bytes::BytesMut;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How large the mapping is: a page of words and two areas.
pub(super) const SIZE: usize = PAGE + 2 * CAPACITY;

/// Pages are given back whole; on systems with larger ones, that fails and they are kept.
pub(super) const PAGE: usize = 4096;

/// So much goes past the writer's caches: it is on its way to memory before the reader gets to it.
const MUCH: usize = 16 << 10;

/// A cache line, in bytes.
const CACHE_LINE: usize = 64;

/// How many lines are asked for before they are written: of as many as most messages have, none is waited for then.
const AHEAD: usize = 2;

/// Two cache lines, in words.
const LINES: usize = 16;

/// The words of one lane.
const WORDS: usize = 5 * LINES;

/// On which processor the writer last rang, counted from 1. Nothing hangs on it.
const PLACE: usize = 2;

/// Counts the processes that have opened the ring.
const OPENED: usize = 2 * WORDS;

/// A word, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Name {
    Told = 0,
    Closed = 1,
    Read = LINES,
    Reader = 2 * LINES,
    Writer = 3 * LINES,
    Written = 4 * LINES,
}

/// What `Reader` and `Writer` hold.
pub(super) const AWAKE: u64 = 0;
pub(super) const ASLEEP: u64 = 1;
pub(super) const GONE: u64 = 2;

/// An atomic word: the processor's, or that of a model.
pub(super) trait Word {
    fn load(&self, order: Ordering) -> u64;
    fn store(&self, value: u64, order: Ordering);
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// Whether it held `from` and now holds `to`.
    fn replace(&self, from: u64, to: u64, order: Ordering) -> bool;
}

/// One direction. Positions are counted from the ring's beginning and wrap around the capacity.
pub(super) trait Lane {
    type Word: Word;

    fn capacity(&self) -> u64;
    fn word(&self, name: Name) -> &Self::Word;
    /// Copies bytes in; no more than the capacity.
    fn put(&self, position: u64, bytes: &[u8]);
    /// What lies behind this position is written next.
    fn prefetch(&self, _position: u64) {}
    /// Appends bytes to `out`, which has room for them.
    fn take(&self, position: u64, len: usize, out: &mut BytesMut);
    /// A fence of sequential consistency.
    fn fence();
}

/// Whether somebody was seen to sleep. Who falls asleep just now may be missed.
pub(super) fn is_asleep<L: Lane>(lane: &L, sleeper: Name) -> bool {
    !matches!(lane.word(sleeper).load(Ordering::Relaxed), AWAKE | GONE)
}

/// Whether there is somebody to be woken, who is then no longer asleep. The caller has published what the sleeper
/// waits for.
pub(super) fn must_ring<L: Lane>(lane: &L, sleeper: Name) -> bool {
    L::fence();
    let word = lane.word(sleeper);
    let state = word.load(Ordering::Relaxed);
    // Whoever is gone stays so: that is why it is not just overwritten.
    state != AWAKE && state != GONE && word.replace(state, AWAKE, Ordering::Relaxed)
}

/// Says that one sleeps, whom [`must_ring`] will find. What is waited for must be looked for once more after this.
pub(super) fn fall_asleep<L: Lane>(lane: &L, sleeper: Name) {
    // A swap, as it is ordered behind what the other side last made of the word; loom does not know that of a store.
    lane.word(sleeper).swap(ASLEEP, Ordering::Relaxed);
    L::fence();
}

/// A lane of a mapping that two processes share.
#[derive(Clone)]
pub(super) struct Mapped {
    map: Arc<Map>,
    idx: usize,
    /// What is much is written past the caches. Where there is one processor, its reader finds it there.
    streams: bool,
}

impl Mapped {
    /// The two lanes of this process: the one that it writes, then the one that it reads. `None` if two have them.
    pub(super) fn claim(map: Map) -> Option<(Self, Self)> {
        let map = Arc::new(map);
        let streams = cpus::allowed() > 1;
        let lane = |idx| Mapped {
            map: map.clone(),
            idx,
            streams,
        };
        match map.cell(OPENED).fetch_add(1, Ordering::Relaxed) {
            0 => Some((lane(0), lane(1))),
            1 => Some((lane(1), lane(0))),
            _ => None,
        }
    }

    /// Says where this process, which writes the lane, runs as it rings.
    pub(super) fn say_place(&self, cpu: Option<usize>) {
        let place = cpu.map_or(0, |cpu| cpu as u64 + 1);
        self.place().store(place, Ordering::Relaxed);
    }

    /// Where the process that writes the lane ran when it last rang.
    pub(super) fn last_place(&self) -> Option<usize> {
        let place = self.place().load(Ordering::Relaxed);
        usize::try_from(place.checked_sub(1)?).ok()
    }

    fn place(&self) -> &AtomicU64 {
        self.map.cell(self.idx * WORDS + PLACE)
    }

    /// Gives whole pages back that hold nothing: `len` bytes from `position` on.
    pub(super) fn release(&self, position: u64, len: usize) -> io::Result<()> {
        let begin = (position as usize).next_multiple_of(PAGE);
        let end = (position as usize + len) / PAGE * PAGE;
        let (first, second) = split(begin as u64, end.saturating_sub(begin), CAPACITY);
        self.map.release(self.area() + begin % CAPACITY, first)?;
        self.map.release(self.area(), second)
    }

    fn put_at(&self, offset: usize, bytes: &[u8]) -> bool {
        match self.streams && bytes.len() >= MUCH {
            true => self.map.stream(offset, bytes),
            false => self.map.put(offset, bytes),
        }
    }

    fn area(&self) -> usize {
        PAGE + self.idx * CAPACITY
    }
}

impl Lane for Mapped {
    type Word = AtomicU64;

    fn capacity(&self) -> u64 {
        CAPACITY as u64
    }

    fn word(&self, name: Name) -> &AtomicU64 {
        self.map.cell(self.idx * WORDS + name as usize)
    }

    fn put(&self, position: u64, bytes: &[u8]) {
        let (first, _) = split(position, bytes.len(), CAPACITY);
        let (first, second) = bytes.split_at(first);
        let at = self.area() + position as usize % CAPACITY;
        let fits = self.put_at(at, first) && (second.is_empty() || self.put_at(self.area(), second));
        debug_assert!(fits);
    }

    #[inline]
    fn prefetch(&self, position: u64) {
        for line in 1..=AHEAD {
            let at = (position as usize + line * CACHE_LINE) % CAPACITY;
            self.map.prefetch(self.area() + at);
        }
    }

    fn take(&self, position: u64, len: usize, out: &mut BytesMut) {
        let (first, second) = split(position, len, CAPACITY);
        let at = self.area() + position as usize % CAPACITY;
        let fits = self.map.take(at, first, out) && (second == 0 || self.map.take(self.area(), second, out));
        debug_assert!(fits);
    }

    fn fence() {
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

impl Word for AtomicU64 {
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }

    fn replace(&self, from: u64, to: u64, order: Ordering) -> bool {
        self.compare_exchange(from, to, order, Ordering::Relaxed).is_ok()
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.idx)
    }
}

/// How many of `len` bytes from `position` on lie before the end of the area, and how many at its beginning.
pub(super) fn split(position: u64, len: usize, capacity: usize) -> (usize, usize) {
    let first = len.min(capacity - position as usize % capacity);
    (first, len - first)
}
