//! What the kernel says of memory and time.

use crate::record::emit;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::fs;
use std::time::Duration;

/// What the kernel keeps for all processes, in KiB: stacks, page tables and other memory that is never given back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelMemory(f64);

impl KernelMemory {
    /// Since another, in KiB.
    pub(crate) fn since(self, before: KernelMemory) -> f64 {
        self.0 - before.0
    }

    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        KernelMemory(
            ["KernelStack:", "PageTables:", "SUnreclaim:"]
                .iter()
                .map(|key| kib(&text, key))
                .sum(),
        )
    }
}

/// Says the memory of idle siblings: the median of what each maps, and the mean of what the kernel keeps for them.
pub(crate) fn emit_memory(peer: &str, pids: &[u32], before: KernelMemory) {
    // What they did to become idle is over.
    std::thread::sleep(Duration::from_millis(100));
    let grown = KernelMemory::now().since(before);
    let mut pss = Vec::new();
    let mut uss = Vec::new();
    for pid in pids {
        let text = rollup(*pid);
        pss.push(kib(&text, "Pss:"));
        uss.push(kib(&text, "Private_Clean:") + kib(&text, "Private_Dirty:"));
    }
    emit(peer, "pss_mib", median(pss) / 1024.0);
    emit(peer, "uss_mib", median(uss) / 1024.0);
    emit(peer, "kernel_mib", grown / pids.len() as f64 / 1024.0);
}

/// What these processes hold for themselves and share with each other, in KiB.
pub(crate) fn held_by(pids: &[u32]) -> f64 {
    let held = pids.iter().map(|pid| {
        let text = rollup(*pid);
        kib(&text, "Anonymous:") + kib(&text, "Pss_Shmem:")
    });
    held.sum()
}

/// How often threads began to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switches(u64);

impl Switches {
    /// All threads of these processes, but for the one that asks.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let this = nix::unistd::gettid().to_string();
        let threads = pids
            .iter()
            .flat_map(|pid| threads_of(*pid))
            .filter(|thread| thread.file_name().to_string_lossy() != this);
        let switches = threads.map(|thread| {
            let text = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            kib(&text, "voluntary_ctxt_switches:")
        });
        Switches(switches.sum::<f64>() as u64)
    }

    pub(crate) fn since(self, before: Switches) -> u64 {
        self.0 - before.0
    }
}

/// How long all threads of another process have run, in seconds.
pub(crate) fn seconds_of(pid: u32) -> f64 {
    let nanos = threads_of(pid).filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanos.sum::<f64>() / 1e9
}

/// How long this process has run, in seconds.
pub(crate) fn own_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the usage of this process");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

/// The time that all processors worked, and of that they wanted to and could not, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticks {
    busy: f64,
    stolen: f64,
}

impl Ticks {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or_default();
        Ticks {
            busy: at(0) + at(1) + at(2) + at(5) + at(6),
            stolen: at(7),
        }
    }

    /// What share of the wanted time was stolen since, in percent.
    pub(crate) fn stolen(self) -> f64 {
        let now = Ticks::now();
        let (busy, stolen) = (now.busy - self.busy, now.stolen - self.stolen);
        100.0 * stolen / (busy + stolen).max(1.0)
    }
}

fn threads_of(pid: u32) -> impl Iterator<Item = fs::DirEntry> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten()
}

fn rollup(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default()
}

fn kib(text: &str, key: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(f64::NAN)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
