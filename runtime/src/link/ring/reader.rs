//! The reading side of a lane.

use super::lane::{AWAKE, GONE, Lane, Name, Word, fall_asleep, must_ring};
use super::{Fault, PART};
use crate::crash::{self, Point};
use bytes::BytesMut;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Owns what was written to a lane and not yet read.
#[derive(Debug)]
pub(super) struct Reader<L> {
    lane: L,
    read: u64,
    /// What was last seen of `Told`.
    told: u64,
    /// How much is known to be written.
    written: u64,
    /// `Reader` says that it sleeps, or did until it was woken.
    asleep: bool,
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Got {
    /// 0: there is nothing.
    pub(super) len: usize,
    /// The writer waits for room, and is to be woken.
    pub(super) ring: bool,
}

impl<L: Lane> Reader<L> {
    pub(super) fn new(lane: L) -> Self {
        Reader {
            lane,
            read: 0,
            told: 0,
            written: 0,
            asleep: false,
        }
    }

    /// Appends to `out` what it was told of, up to its spare capacity and one part.
    pub(super) fn read(&mut self, out: &mut BytesMut) -> Result<Got, Fault> {
        self.look()?;
        self.take(out)
    }

    /// The same of all that is there.
    pub(super) fn read_untold(&mut self, out: &mut BytesMut) -> Result<Got, Fault> {
        self.look_closely()?;
        self.take(out)
    }

    fn take(&mut self, out: &mut BytesMut) -> Result<Got, Fault> {
        let used = (self.written - self.read) as usize;
        let len = used.min(out.capacity() - out.len()).min(PART);
        if len == 0 {
            return Ok(Got { len, ring: false });
        }
        self.wake();
        self.lane.take(self.read, len, out);
        crash::at(Point::RingEmptied);
        self.read += len as u64;
        // Pairs with the writer's Acquire: it overwrites only what was copied out.
        self.lane.word(Name::Read).store(self.read, Release);
        let ring = self.crossed(len) && must_ring(&self.lane, Name::Writer);
        Ok(Got { len, ring })
    }

    /// Whether all was read that will ever be written.
    pub(super) fn is_ended(&mut self) -> Result<bool, Fault> {
        // Pairs with the writer's Release: the cursor that is loaded behind it is the last.
        match self.lane.word(Name::Closed).load(Acquire) {
            0 => return Ok(false),
            1 => self.look_closely()?,
            other => return Err(Fault::Word(Name::Closed, other)),
        }
        Ok(self.read == self.written)
    }

    /// Whether it is told of something. For polling.
    pub(super) fn has_more(&self) -> bool {
        self.lane.word(Name::Told).load(Relaxed) != self.told
            || self.lane.word(Name::Closed).load(Relaxed) != 0
    }

    /// Says that it sleeps: the writer rings for what comes from now on. Whether it may: nothing came just before.
    pub(super) fn sleep(&mut self) -> bool {
        self.asleep = true;
        fall_asleep(&self.lane, Name::Reader);
        self.lane.word(Name::Written).load(Relaxed) == self.read && !self.has_more()
    }

    /// Says that it is awake, if it said otherwise: no bell is needed.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.asleep) {
            self.lane.word(Name::Reader).swap(AWAKE, Relaxed);
        }
    }

    /// It reads no more; whether the writer is to be woken, who has nothing to wait for any more.
    pub(super) fn abandon(&mut self) -> bool {
        // A swap for the reason that `fall_asleep` has.
        self.lane.word(Name::Reader).swap(GONE, Relaxed);
        must_ring(&self.lane, Name::Writer)
    }

    pub(super) fn lane(&self) -> &L {
        &self.lane
    }

    /// Whether the last `len` bytes went over the middle or the end of the area.
    fn crossed(&self, len: usize) -> bool {
        let half = self.lane.capacity() / 2;
        self.read / half != (self.read - len as u64) / half
    }

    fn look(&mut self) -> Result<(), Fault> {
        // Pairs with the writer's Release: the bytes are there before the cursor says so.
        let told = self.lane.word(Name::Told).load(Acquire);
        self.check(Name::Told, self.told, told)?;
        // On the same line, so it costs nothing to see rubbish before what follows it is believed.
        match self.lane.word(Name::Closed).load(Relaxed) {
            0 | 1 => {}
            other => return Err(Fault::Word(Name::Closed, other)),
        }
        self.told = told;
        // It may be behind what was found without it.
        self.written = self.written.max(told);
        Ok(())
    }

    /// Looks at what the writer writes all the time: that costs it more than to be polled.
    fn look_closely(&mut self) -> Result<(), Fault> {
        self.look()?;
        // Pairs with the writer's Release, as above.
        let written = self.lane.word(Name::Written).load(Acquire);
        self.check(Name::Written, self.written, written)?;
        self.written = written;
        Ok(())
    }

    /// A cursor only grows, and no further than the ring is large.
    fn check(&self, name: Name, before: u64, now: u64) -> Result<(), Fault> {
        let most = self.read + self.lane.capacity() - before;
        match now.wrapping_sub(before) > most {
            true => Err(Fault::Cursor(name, before, now)),
            false => Ok(()),
        }
    }
}
