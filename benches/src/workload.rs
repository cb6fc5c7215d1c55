//! What is done. The sizes are those that other libraries were measured with, so that figures can be set side by side.

use crate::section::Options;
use std::time::Duration;

pub(crate) const WINDOW: u64 = 64;
/// How many calls each of many callers makes between two looks at the clock: one for each call would cost a tenth of it.
pub(crate) const UNTIMED: u64 = 16;
pub(crate) const CAST: usize = 64;
pub(crate) const MIB: usize = 1 << 20;
pub(crate) const WORKERS: usize = 2;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) warm: u64,
    pub(crate) calls: u64,
    pub(crate) pipelined: Duration,
    /// Calls of sides that sleep, and of the same large memory.
    pub(crate) sleeps: u64,
    pub(crate) casts: u64,
    /// The figure, the size of a payload, how many are sent.
    pub(crate) payloads: [(&'static str, usize, usize); 2],
    /// So many threads have one to each of so many actors.
    pub(crate) links: (usize, usize),
    pub(crate) siblings: usize,
    pub(crate) kills: usize,
    pub(crate) map_items: u64,
    pub(crate) cpu_items: u64,
    pub(crate) pairs: usize,
}

impl Workload {
    /// What the command line asks for.
    pub(crate) fn chosen() -> Workload {
        if Options::get().brief {
            Workload::BRIEF
        } else {
            Workload::FULL
        }
    }

    pub(crate) const FULL: Workload = Workload {
        warm: 2_000,
        calls: 20_000,
        pipelined: Duration::from_millis(700),
        sleeps: 300,
        casts: 200_000,
        payloads: [("pay_1m_gbs", MIB, 128), ("pay_64m_gbs", 64 * MIB, 6)],
        links: (10, 100),
        siblings: 20,
        kills: 15,
        map_items: 100_000,
        cpu_items: 200,
        pairs: 9,
    };

    /// Each once, or a few times.
    pub(crate) const BRIEF: Workload = Workload {
        warm: 20,
        calls: 200,
        pipelined: Duration::from_millis(20),
        sleeps: 5,
        casts: 2_000,
        payloads: [("pay_1m_gbs", MIB, 4), ("pay_64m_gbs", 64 * MIB, 1)],
        links: (2, 4),
        siblings: 4,
        kills: 2,
        map_items: 5_000,
        cpu_items: 20,
        pairs: 1,
    };
}

/// Distinct buffers, filled before a clock starts.
pub(crate) fn buffers(size: usize, n: usize) -> Vec<Vec<u8>> {
    (0..n).map(|i| vec![i as u8 | 1; size]).collect()
}

/// Reads one byte of every page: proves that the reader holds them.
pub(crate) fn touch(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .step_by(4096)
        .map(|&byte| u64::from(byte))
        .sum::<u64>()
        + bytes.len() as u64
}

pub(crate) fn cube(x: u64) -> u64 {
    x.wrapping_mul(x).wrapping_mul(x)
}

/// Counts primes by trial division, which takes some milliseconds.
pub(crate) fn primes(item: u64) -> u64 {
    let from = 1_000_001 + item as u32 % 64;
    (from..from + 12_000).filter(|&x| is_prime(x)).count() as u64
}

fn is_prime(x: u32) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= x {
        if x.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    true
}
