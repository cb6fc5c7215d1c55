//! A call whose both sides sleep: what waking up costs.

use crate::raw::fork;
use crate::record::emit_micros;
use crate::workload::Workload;
use nix::sys::eventfd::EventFd;
use procession::prelude::*;
use std::time::{Duration, Instant};

const METRIC: &str = "sleep_rtt_us";
/// Longer than anybody spins.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
pub(crate) struct Sleeper;

#[actor]
impl Sleeper {
    fn next(&mut self, x: u64) -> u64 {
        x + 1
    }
}

pub(crate) async fn ours(peer: &str, workload: Workload) -> procession::Result<()> {
    let sleeper = Sleeper::spawn().await?;
    let mut times = Vec::new();
    for x in 0..workload.sleeps {
        tokio::time::sleep(PAUSE).await;
        let begin = Instant::now();
        assert_eq!(sleeper.next(x).await?, x + 1);
        times.push(begin.elapsed());
    }
    emit_micros(peer, METRIC, times);
    Ok(())
}

/// A pair of eventfds.
pub(crate) fn raw(peer: &str, workload: Workload) {
    let bell = || EventFd::new().expect("an eventfd");
    let (there, back) = (bell(), bell());
    let _other = fork(|| {
        while let Ok(n) = there.read() {
            back.write(n).expect("room for a number");
        }
    });
    let times = (0..workload.sleeps).map(|_| {
        std::thread::sleep(PAUSE);
        let begin = Instant::now();
        there.write(1).expect("room for a number");
        back.read().expect("an answer");
        begin.elapsed()
    });
    emit_micros(peer, METRIC, times.collect());
}
