//! How many restarts are too many: [`Intensity`], and the memory of the recent ones.
//!
//! A restart counts when it is decided, at the failure, not when its back-off has passed.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// How many restarts within how long a supervisor allows before it gives up.
///
/// One failure counts once, however many siblings are started again with the child that failed. With the failure that
/// makes it more than `max` within `period`, all children are stopped in reverse order and the supervisor ends
/// abnormally; the supervisor above it then decides in its turn.
///
/// ```
/// use procession::Intensity;
/// use std::time::Duration;
///
/// let default = Intensity::default(); // as in OTP
/// assert_eq!(default, Intensity::new(3, Duration::from_secs(5)));
/// let never_again = Intensity::new(0, Duration::from_secs(1)); // the first failure ends the supervisor
/// # assert_ne!(never_again, default);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intensity {
    /// The most restarts that are allowed.
    pub max: u32,
    /// Within how long.
    pub period: Duration,
}

impl Intensity {
    /// At most `max` restarts within `period`.
    pub const fn new(max: u32, period: Duration) -> Self {
        Intensity { max, period }
    }
}

impl Default for Intensity {
    fn default() -> Self {
        Intensity::new(3, Duration::from_secs(5))
    }
}

/// When the restarts of the last period were decided, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent(VecDeque<Duration>);

impl Recent {
    /// Counts a restart at `now`, unless it is one too many: then `false`.
    pub(crate) fn admit(&mut self, now: Duration, intensity: Intensity) -> bool {
        while self
            .0
            .front()
            .is_some_and(|&then| now.saturating_sub(then) > intensity.period)
        {
            self.0.pop_front();
        }
        let admitted = self.0.len() < intensity.max as usize;
        if admitted {
            self.0.push_back(now);
        }
        admitted
    }

    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_fourth_restart_within_five_seconds_is_one_too_many() {
        let mut recent = Recent::default();
        let admitted = [0, 1, 2, 5].map(|at| recent.admit(SECOND * at, Intensity::default()));
        assert_eq!(admitted, [true, true, true, false]);
    }

    #[test]
    fn a_restart_longer_ago_than_the_period_is_forgotten() {
        let mut recent = Recent::default();
        let admitted = [0, 1, 2, 6].map(|at| recent.admit(SECOND * at, Intensity::default()));
        assert_eq!(admitted, [true; 4]);
    }

    #[test]
    fn with_a_maximum_of_zero_there_is_no_restart() {
        assert!(!Recent::default().admit(SECOND, Intensity::new(0, SECOND)));
    }

    proptest! {
        #[test]
        fn no_period_holds_more_restarts_than_the_maximum(
            max in 0u32..5,
            period in 0u64..50,
            steps in prop::collection::vec(0u64..20, 0..60),
        ) {
            let intensity = Intensity::new(max, Duration::from_nanos(period));
            let (mut recent, mut now, mut admitted) = (Recent::default(), 0, Vec::new());
            for step in steps {
                now += step;
                if recent.admit(Duration::from_nanos(now), intensity) {
                    admitted.push(now);
                }
                let within = admitted.iter().filter(|&&then| now - then <= period).count();
                prop_assert!(within <= max as usize);
            }
        }
    }
}
