//! The clock that all processes of a machine share.

use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Nanoseconds since the machine was started, but for its sleep; never goes back.
pub(crate) fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}
