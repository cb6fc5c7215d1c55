//! 200 items of 5 ms on two workers, beside the same items on two raw processes, in turn.
//!
//! A pair is one of each, so that both see the same machine. What others took from the two processors meanwhile is said
//! with it.

use crate::kernel::{Ticks, own_seconds, seconds_of};
use crate::ours;
use crate::raw::fork;
use crate::record::{Record, emit};
use crate::workload::{self, WORKERS, Workload};
use procession::Error;
use procession::prelude::*;
use std::process::Command;
use std::time::Instant;

/// How long it took, in seconds.
const RAW: &str = "cpu_raw_s";

#[task]
fn primes(item: u64) -> u64 {
    workload::primes(item)
}

#[procession::main]
pub(crate) async fn main() {
    compare(Workload::chosen())
        .await
        .expect("the benchmark runs to its end");
}

async fn compare(workload: Workload) -> procession::Result<()> {
    let pool = Pool::new(WORKERS).await?;
    pool.map(primes, 0..WORKERS as u64 * 2).await?;
    for _ in 0..workload.pairs {
        let ticks = Ticks::now();
        let raw = measure_raw()?;
        let (host, workers) = (own_seconds(), seconds_of_all(&pool).await?);
        let begin = Instant::now();
        pool.map(primes, 0..workload.cpu_items).await?;
        let took = begin.elapsed().as_secs_f64();
        emit(ours::MULTI, "cpu_s", took);
        emit("raw", "cpu_s", raw);
        emit(ours::MULTI, "cpu_of_raw_pct", 100.0 * raw / took);
        emit(ours::MULTI, "cpu_host_s", own_seconds() - host);
        emit(
            ours::MULTI,
            "cpu_workers_s",
            seconds_of_all(&pool).await? - workers,
        );
        emit(ours::MULTI, "steal_pct", ticks.stolen());
    }
    Ok(())
}

async fn seconds_of_all(pool: &Pool) -> procession::Result<f64> {
    Ok(pool.pids().await?.into_iter().map(seconds_of).sum())
}

/// Starts this program again, since one that runs the library has threads and cannot fork.
fn measure_raw() -> procession::Result<f64> {
    let words = std::env::args().skip(1).filter(|word| word == "--brief");
    let output = Command::new(std::env::current_exe()?)
        .args(["--section", "raw-pair"])
        .args(words)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let record = text.lines().find_map(Record::parse);
    record
        .map(|record| record.value)
        .ok_or_else(|| Error::msg("the raw processes gave no figure"))
}

/// The same items, half of them in each of two forked processes.
pub(crate) fn raw(workload: Workload) {
    let share = workload.cpu_items / WORKERS as u64;
    let begin = Instant::now();
    let workers: Vec<_> = (0..WORKERS as u64)
        .map(|worker| {
            fork(move || {
                drop(
                    (worker * share..(worker + 1) * share)
                        .map(workload::primes)
                        .map(std::hint::black_box)
                        .collect::<Vec<_>>(),
                )
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.wait());
    emit("raw", RAW, begin.elapsed().as_secs_f64());
}
