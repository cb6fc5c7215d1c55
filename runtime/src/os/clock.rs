//! The clock that all processes of a machine share.

use crate::local;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// By how much the coarse clock may be behind: a tick of the slowest kernel.
const TICK: u64 = 10_000_000;

/// Nanoseconds since the machine was started, but for its sleep; never goes back.
pub(crate) fn monotonic() -> u64 {
    match local::virtual_time() {
        Some(time) => time,
        None => read(ClockId::CLOCK_MONOTONIC),
    }
}

/// The same, at times a few milliseconds ago: it costs a fraction.
pub(crate) fn coarse() -> u64 {
    match local::virtual_time() {
        Some(time) => time,
        None => read(ClockId::CLOCK_MONOTONIC_COARSE),
    }
}

/// Whether it is later than that. Costs little where there is time left.
pub(crate) fn is_past(time: u64) -> bool {
    coarse().saturating_add(TICK) > time && monotonic() > time
}

fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock).map(Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarse_clock_is_a_tick_behind_at_most() {
        for _ in 0..10_000 {
            let (coarse, now, after) = (coarse(), monotonic(), super::coarse());
            assert!(coarse <= now && now <= after + TICK, "{coarse} {now} {after}");
            assert!(is_past(now - 1) && !is_past(now + 1_000_000_000) && is_past(0));
        }
    }
}
