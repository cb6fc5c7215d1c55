//! An array of 4 GiB, summed by all cores in processes of their own, and in memory once: nothing is copied.
//!
//! An argument is its size in MiB: `cargo run --release -p examples --example zero_copy -- 64`.

use futures::future::try_join_all;
use procession::Error;
use procession::prelude::*;
use std::ops::Range;
use std::time::Instant;

struct Reader {
    numbers: SharedSlice<u64>,
}

#[actor]
impl Reader {
    #[init]
    fn open(numbers: SharedSlice<u64>) -> Self {
        Reader { numbers }
    }

    fn sum(&self, part: Range<usize>) -> u64 {
        self.numbers[part].iter().sum()
    }
}

/// The memory of all processes of this program, in MiB: of what several have, each is counted its share.
async fn memory() -> procession::Result<u64> {
    let children = Process::active().await?;
    let pids = children
        .iter()
        .filter_map(|child| child.pid)
        .chain([std::process::id()]);
    let mut kib = 0;
    for pid in pids {
        let sizes = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let share = sizes.lines().find_map(|line| line.strip_prefix("Pss:"));
        let share = share.and_then(|size| size.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib += share.ok_or_else(|| Error::msg("the kernel does not say how memory is shared"))?;
    }
    Ok(kib / 1024)
}

#[procession::main]
async fn main() -> procession::Result<()> {
    let mib = match std::env::args().nth(1) {
        Some(size) => size.parse().map_err(Error::new)?,
        None => 4096,
    };
    let len = mib * (1 << 20) / size_of::<u64>();
    let cores = std::thread::available_parallelism()?.get();

    let numbers = SharedSlice::from_exact_iter((0..len).map(|n| n as u64))?;
    let readers = try_join_all((0..cores).map(|_| Reader::spawn(numbers.clone()))).await?;
    println!("before: {} MiB in {} processes", memory().await?, cores + 1);

    let begin = Instant::now();
    let parts = (0..cores).map(|core| core * len / cores..(core + 1) * len / cores);
    let sums = readers
        .iter()
        .zip(parts)
        .map(|(reader, part)| reader.sum(part).into_future());
    let total: u64 = try_join_all(sums).await?.iter().sum();
    println!("summed {mib} MiB in {:.2?}", begin.elapsed());

    println!("after: {} MiB in {} processes", memory().await?, cores + 1);
    assert_eq!(total, len as u64 * (len as u64 - 1) / 2);
    Ok(())
}
