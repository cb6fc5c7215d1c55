//! Looking for frames in place of the task that owns the driver.
//!
//! Whoever waits for an answer over a ring can look for it itself, for as long as one go of a spin. What comes in time then
//! costs no wake-up of another task, and in either process no system call. All that comes meanwhile is heard, whomever
//! it is for, in its order. The driver's task sleeps on, and is woken for what is not a looker's business: a fault, the
//! end of file, frames that came as it stopped.

use super::driver::{Driver, State};
use super::outbox::Flushed;
use super::{Incoming, LinkError};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long a looker waits for something to happen: no longer where the peer may wait for this very processor. Elsewhere it
/// may have to wake up first, with the processor that it is on.
const HELD: Duration = Duration::from_micros(20);
const HELD_ELSEWHERE: Duration = Duration::from_micros(100);

/// How often it waits because the peer still reads what was sent.
const MOST_READS: u32 = 8;

impl Driver {
    /// A flag to set while somebody waits to look; `None` if there is nothing to be looked at over this transport.
    pub(crate) fn wanted(&mut self) -> Option<Arc<AtomicBool>> {
        self.port.ring().map(|ring| ring.wanted())
    }

    /// Hears what comes until it is `done`, or nothing has happened for a moment.
    pub(crate) fn help(
        &mut self,
        mut hear: impl FnMut(Incoming) -> Result<(), String>,
        mut done: impl FnMut() -> bool,
    ) {
        self.sender.ring();
        let is_quiet = self.look(&mut hear, &mut done);
        let must_rest = self.idle.as_ref().is_some_and(|idle| !idle.is_running());
        if !is_quiet || must_rest {
            self.sender.wake_driver();
        }
    }

    /// Whether the driver's task can sleep on.
    fn look(
        &mut self,
        hear: &mut impl FnMut(Incoming) -> Result<(), String>,
        done: &mut impl FnMut() -> bool,
    ) -> bool {
        let mut n_reads = 0;
        loop {
            if let Err(error) = self.hear_all(hear) {
                self.found = Some(error);
                return false;
            }
            let (Some(ring), State::Open) = (self.port.ring(), self.state) else {
                return false;
            };
            let taken = ring.n_taken();
            if done() {
                return ring.doze();
            }
            let is_blocked = self.sender.queued() > 0
                && match self.sender.flush() {
                    Flushed::All => false,
                    Flushed::Blocked => true,
                    Flushed::Closed | Flushed::Stalled | Flushed::Gone => return false,
                };
            // It answers when it has read all.
            let is_reading = n_reads < MOST_READS && ring.is_taking(taken);
            n_reads += u32::from(is_reading);
            let is_watched = is_blocked || is_reading;
            if !ring.hold(HELD, HELD_ELSEWHERE, is_watched.then_some(taken)) {
                return ring.doze();
            }
        }
    }

    fn hear_all(&mut self, hear: &mut impl FnMut(Incoming) -> Result<(), String>) -> Result<(), LinkError> {
        while let Some(frame) = self.try_next()? {
            hear(frame).map_err(LinkError::State)?;
        }
        Ok(())
    }

    /// The next frame that is here.
    fn try_next(&mut self) -> Result<Option<Incoming>, LinkError> {
        loop {
            if let Some(frame) = self.inbox.next(self.port.lots())? {
                return Ok(Some(frame));
            }
            if self.state != State::Open || !self.read()? {
                return Ok(None);
            }
        }
    }

    /// One read, without waiting; whether something came.
    fn read(&mut self) -> Result<bool, LinkError> {
        let Some(ring) = self.port.ring() else {
            return Ok(false);
        };
        match ring.read_told(self.inbox.room().0) {
            Ok(None) => return Ok(false),
            Ok(Some(received)) => self.received(received, self.inbox.fds.len())?,
            Err(error) => self.read_failed(error)?,
        }
        Ok(true)
    }
}
