//! Moving over to an idle processor.
//!
//! Who rings says on which processor it runs. Where a hypervisor gives idle processors away, the kernel takes them for busy,
//! and has whoever is woken wait for the processor of its waker, however many others are idle; and there they stay, since
//! each runs only while the other waits. So who was woken by one that goes on, on the processor that both are on, moves to
//! another, if that is as likely idle as not. Nobody is bound to a processor by it: the kernel may move it on at once.
//!
//! To move costs as much as to wake an idle processor does, so a thread seldom does it where it does not last, and seldom
//! asks where it cannot. A peer that says what is not so has it move in vain, no more often than that.

use crate::os::{cpus, procfs};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The least time between two moves of a thread, and how much that may come to where the last ones were soon undone.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);

/// A move that was undone within so many pauses did not last.
const LASTING: u32 = 4;

/// Where the machine has no idle processor, it is not asked again before this; each time for twice as long.
const BUSY: Duration = Duration::from_millis(1);

/// When this thread may move next, how long it is to stay then, and how long it waits where it cannot.
#[derive(Debug, Clone, Copy)]
struct Pace {
    next: Option<Instant>,
    moved: Option<Instant>,
    pause: Duration,
    busy: Duration,
}

thread_local! {
    static PACE: Cell<Pace> = const { Cell::new(Pace::new()) };
}

impl Pace {
    const fn new() -> Self {
        Pace {
            next: None,
            moved: None,
            pause: PAUSE,
            busy: BUSY,
        }
    }

    fn may_move(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// The same after a try to move.
    fn after(self, now: Instant, moved: bool) -> Self {
        if !moved {
            return Pace {
                next: Some(now + self.busy),
                busy: (2 * self.busy).min(LONGEST),
                ..self
            };
        }
        let lasted = self.moved.is_none_or(|moved| now - moved > LASTING * self.pause);
        let pause = match lasted {
            true => PAUSE,
            false => (2 * self.pause).min(LONGEST),
        };
        Pace {
            next: Some(now + pause),
            moved: Some(now),
            pause,
            busy: BUSY,
        }
    }
}

/// Moves this thread to another processor than `here`, unless it did so lately or there is hardly an idle one.
#[cold]
pub(super) fn move_over(here: usize) {
    let (pace, now) = (PACE.get(), Instant::now());
    if pace.may_move(now) {
        let moved = has_idle(cpus::allowed(), procfs::n_running()) && cpus::leave(here).is_ok();
        PACE.set(pace.after(now, moved));
    }
}

/// Whether another processor than this, on which two are ready to run, is at least as likely idle as not.
fn has_idle(n_allowed: usize, n_running: Option<usize>) -> bool {
    let n_others = n_allowed.saturating_sub(1);
    let n_idle = n_running.map_or(0, |n_running| (n_allowed + 1).saturating_sub(n_running));
    n_others > 0 && 2 * n_idle >= n_others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_moves_to_a_processor_that_is_likely_busy() {
        assert!(has_idle(2, Some(2)) && !has_idle(2, Some(3)));
        assert!(has_idle(4, Some(3)) && !has_idle(4, Some(4)));
        assert!(has_idle(64, Some(33)) && !has_idle(64, Some(34)));
        assert!(!has_idle(1, Some(1)) && !has_idle(2, None) && !has_idle(2, Some(1000)));
    }

    #[test]
    fn moves_that_do_not_last_become_rare() {
        let (mut now, mut pace, mut n_moves) = (Instant::now(), Pace::new(), 0);
        for _ in 0..100_000 {
            now += Duration::from_micros(100);
            if pace.may_move(now) {
                pace = pace.after(now, true);
                n_moves += 1;
            }
        }
        assert!((10..=20).contains(&n_moves), "{n_moves} moves in ten seconds");
        now += LASTING * LONGEST + PAUSE;
        assert_eq!(pace.after(now, true).pause, PAUSE);
    }

    #[test]
    fn a_busy_machine_is_asked_again_more_and_more_seldom() {
        let (mut now, mut pace) = (Instant::now(), Pace::new());
        pace = pace.after(now, false);
        assert!(!pace.may_move(now) && pace.may_move(now + BUSY));
        for _ in 0..20 {
            now += LONGEST;
            pace = pace.after(now, false);
        }
        assert!(!pace.may_move(now + LONGEST / 2) && pace.may_move(now + LONGEST));
        assert_eq!(pace.after(now, true).busy, BUSY);
    }
}
