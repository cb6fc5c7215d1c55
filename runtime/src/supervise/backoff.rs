//! How long to wait before a child is started again: [`Backoff`].
//!
//! The values may come from another process and be anything; a delay is always finite and never panics.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The pause before each restart of a child that keeps failing.
///
/// The first restart comes without delay. Each one after it waits longer, until the child was up for a healthy time;
/// then it begins anew.
///
/// | setting | [`exponential`](Backoff::exponential), which is the default | |
/// | --- | --- | --- |
/// | [`initial`](Backoff::initial) | 100 ms | the delay of the second restart |
/// | [`factor`](Backoff::factor) | 2 | by how much each delay is longer than the one before |
/// | [`max`](Backoff::max) | 30 s | the longest delay, before the jitter |
/// | [`jitter`](Backoff::jitter) | 0.25 | the part of the delay by which chance makes it longer or shorter |
/// | [`healthy`](Backoff::healthy) | 10 s | how long it must be up for all that to be forgotten |
///
/// ```
/// use procession::Backoff;
/// use std::time::Duration;
///
/// let patient = Backoff::exponential().initial(Duration::from_secs(1)).max(Duration::from_secs(60));
/// assert_ne!(patient, Backoff::default());
/// assert_ne!(Backoff::none(), Backoff::default()); // every restart at once
/// ```
///
/// Back-off slows restarts down, the [`Intensity`](crate::Intensity) ends them: with the default of three within five
/// seconds a child that fails at once is given up after the third, whatever its back-off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    healthy: Duration,
}

impl Default for Backoff {
    /// [`Backoff::exponential`].
    fn default() -> Self {
        Backoff::exponential()
    }
}

impl Backoff {
    /// Every restart without delay.
    #[must_use]
    pub const fn none() -> Self {
        Backoff {
            initial: Duration::ZERO,
            max: Duration::ZERO,
            factor: 1.0,
            jitter: 0.0,
            healthy: Duration::ZERO,
        }
    }

    /// The first restart without delay, then 100 ms, doubling to 30 s.
    #[must_use]
    pub const fn exponential() -> Self {
        Backoff {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(30),
            factor: 2.0,
            jitter: 0.25,
            healthy: Duration::from_secs(10),
        }
    }

    /// The delay of the second restart.
    #[must_use]
    pub const fn initial(mut self, delay: Duration) -> Self {
        self.initial = delay;
        self
    }

    /// The longest delay, before the jitter.
    #[must_use]
    pub const fn max(mut self, delay: Duration) -> Self {
        self.max = delay;
        self
    }

    /// By how much each delay is longer than the one before; what is less than 1 counts as 1.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The part of the delay, from 0 to 1, by which chance makes it longer or shorter: children that failed together
    /// do not come back in step.
    #[must_use]
    pub const fn jitter(mut self, part: f64) -> Self {
        self.jitter = part;
        self
    }

    /// How long the child must be up for its failures to be forgotten.
    #[must_use]
    pub const fn healthy(mut self, time: Duration) -> Self {
        self.healthy = time;
        self
    }

    /// The delay after `failures` in a row that were not the first; `chance` is from 0 to 1.
    pub(crate) fn delay(&self, failures: u32, chance: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        // Finite, since nothing times infinity is no number.
        let growth = at_least(self.factor, 1.0)
            .powf(f64::from(doublings))
            .min(f64::MAX);
        let delay = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        let part = at_least(self.jitter, 0.0).min(1.0);
        let delay = delay * (1.0 + part * (2.0 * chance - 1.0));
        Duration::try_from_secs_f64(delay).unwrap_or(self.max)
    }

    /// Whether a child that was up for so long begins anew.
    pub(crate) fn forgets_after(&self, up: Duration) -> bool {
        up >= self.healthy
    }
}

/// `value`, but `least` if it is less or no number.
fn at_least(value: f64, least: f64) -> f64 {
    value.max(least)
}

/// A source of chance for the jitter: good enough to spread restarts, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        Chance(seed)
    }

    /// From 0 to 1, without 1.
    pub(crate) fn next(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// SplitMix64.
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(backoff: Backoff, failures: u32) -> u128 {
        backoff.delay(failures, 0.5).as_millis()
    }

    #[test]
    fn the_first_restart_is_at_once_and_the_next_ones_double() {
        let delays = [0, 1, 2, 3, 9, 10, 1000].map(|n| millis(Backoff::exponential(), n));
        assert_eq!(delays, [0, 100, 200, 400, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn without_backoff_every_restart_is_at_once() {
        assert!((0..100).all(|n| Backoff::none().delay(n, 0.9).is_zero()));
    }

    #[test]
    fn an_initial_delay_of_zero_stays_zero() {
        assert_eq!(
            millis(Backoff::exponential().initial(Duration::ZERO), u32::MAX),
            0
        );
    }

    #[test]
    fn chance_is_spread_over_the_whole_range() {
        let mut chance = Chance::seeded(7);
        let drawn: Vec<f64> = (0..1000).map(|_| chance.next()).collect();
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        assert!((0.45..0.55).contains(&mean));
    }

    proptest! {
        #[test]
        fn jitter_keeps_within_its_part(failures in 1u32..40, chance in 0.0..1.0) {
            let exact = Backoff::exponential().jitter(0.0).delay(failures, chance).as_secs_f64();
            let spread = Backoff::exponential().delay(failures, chance).as_secs_f64();
            prop_assert!((spread - exact).abs() <= exact * 0.25 + 1e-9);
        }

        #[test]
        fn no_values_make_a_delay_panic(
            (initial, max) in any::<(Duration, Duration)>(),
            factor in any::<f64>(),
            jitter in any::<f64>(),
            failures in any::<u32>(),
            chance in 0.0..1.0,
        ) {
            let backoff = Backoff::none().initial(initial).max(max).factor(factor).jitter(jitter);
            let delay = backoff.delay(failures, chance);
            prop_assert!(delay.as_secs_f64() <= max.as_secs_f64() * 2.0 + 1e-9);
        }
    }
}
