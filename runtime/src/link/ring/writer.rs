//! The writing side of a lane.

use super::lane::{GONE, Lane, Mapped, Name, Word, is_asleep, must_ring};
use super::{Fault, PART};
use crate::crash::{self, Point};
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Owns what is free of a lane. One in each process, under a lock where there are several threads.
#[derive(Debug)]
pub(super) struct Writer<L> {
    lane: L,
    written: u64,
    /// How much of that the reader was told of.
    told: u64,
    /// What was last seen of `Read`.
    read: u64,
    /// How far it had written when the pages were last given back.
    released: u64,
}

/// Why nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    /// Nobody reads any more.
    Gone,
    Fault(Fault),
}

impl<L: Lane> Writer<L> {
    pub(super) fn new(lane: L) -> Self {
        Writer {
            lane,
            written: 0,
            told: 0,
            read: 0,
            released: 0,
        }
    }

    /// Writes what fits, of one part: how many bytes, which is at least one unless none was given. The reader is yet to be
    /// told.
    pub(super) fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Refused> {
        if self.lane.word(Name::Reader).load(Relaxed) == GONE {
            return Err(Refused::Gone);
        }
        let len = slices.iter().map(|slice| slice.len()).sum::<usize>().min(PART);
        let room = self.room(len)?.min(len);
        if room == 0 && len > 0 {
            return Err(Refused::Full);
        }
        let mut position = self.written;
        let mut left = room;
        for slice in slices {
            let part = &slice[..left.min(slice.len())];
            if !part.is_empty() {
                self.lane.put(position, part);
            }
            position += part.len() as u64;
            left -= part.len();
        }
        crash::at(Point::RingFilled);
        self.written = position;
        // Pairs with the reader's Acquire: the bytes are there before the cursor says so.
        self.lane.word(Name::Written).store(position, Release);
        crash::at(Point::RingPublished);
        self.lane.prefetch(position);
        Ok(room)
    }

    /// How many bytes the reader was not told of.
    pub(super) fn untold(&self) -> u64 {
        self.written - self.told
    }

    /// How many bytes the reader says that it has not read. Unchecked: for guesses.
    pub(super) fn unread(&self) -> u64 {
        let read = self.lane.word(Name::Read).load(Relaxed);
        self.written.wrapping_sub(read)
    }

    /// Whether the reader is known to sleep.
    pub(super) fn is_asleep(&self) -> bool {
        is_asleep(&self.lane, Name::Reader)
    }

    /// Tells the reader of all that was written; whether it sleeps, and is to be woken.
    pub(super) fn tell(&mut self) -> bool {
        if self.untold() == 0 {
            return false;
        }
        self.told = self.written;
        // Pairs with the reader's Acquire, as above.
        self.lane.word(Name::Told).store(self.told, Release);
        must_ring(&self.lane, Name::Reader)
    }

    pub(super) fn lane(&self) -> &L {
        &self.lane
    }

    /// How much is free; the reader is asked only where what is known is not enough.
    fn room(&mut self, wanted: usize) -> Result<usize, Refused> {
        let capacity = self.lane.capacity();
        if ((capacity - (self.written - self.read)) as usize) < wanted {
            self.look()?;
        }
        Ok((capacity - (self.written - self.read)) as usize)
    }

    fn look(&mut self) -> Result<(), Refused> {
        // Pairs with the reader's Release: the bytes are copied out before they are overwritten.
        let read = self.lane.word(Name::Read).load(Acquire);
        if read.wrapping_sub(self.read) > self.written - self.read {
            return Err(Refused::Fault(Fault::Cursor(Name::Read, self.read, read)));
        }
        self.read = read;
        Ok(())
    }
}

/// No more is written to a lane; whether its reader is to be woken.
pub(super) fn close<L: Lane>(lane: &L) -> bool {
    // Pairs with the reader's Acquire: who sees it sees the last cursor. What else the word may hold is left to be seen.
    lane.word(Name::Closed).replace(0, 1, Release);
    must_ring(lane, Name::Reader)
}

impl Writer<Mapped> {
    /// Gives the pages back that hold nothing, if any was written since it last did.
    pub(super) fn release(&mut self) -> io::Result<()> {
        if self.released == self.written || self.look().is_err() {
            return Ok(());
        }
        self.released = self.written;
        let used = self.written - self.read;
        match used {
            // Its own page too.
            0 => self.lane.release(0, self.lane.capacity() as usize),
            _ => self
                .lane
                .release(self.written, (self.lane.capacity() - used) as usize),
        }
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Full => io::ErrorKind::WouldBlock.into(),
            Refused::Gone => io::ErrorKind::BrokenPipe.into(),
            Refused::Fault(fault) => io::Error::new(io::ErrorKind::InvalidData, fault),
        }
    }
}
