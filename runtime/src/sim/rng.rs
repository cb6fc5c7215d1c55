//! Chance, all of it from the seed.

use std::cell::Cell;

/// SplitMix64: short, and good enough to decide who is next.
#[derive(Debug)]
pub(super) struct Rng(Cell<u64>);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        let rng = Rng(Cell::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d)));
        rng.next();
        rng
    }

    pub(super) fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `n`, which is not 0.
    pub(super) fn below(&self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// From `least` to `most`, both included.
    pub(super) fn between(&self, least: u64, most: u64) -> u64 {
        least + self.below((most - least + 1) as usize) as u64
    }

    /// So often in a thousand times.
    pub(super) fn chance(&self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }

    pub(super) fn pick<T: Copy>(&self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }
}
