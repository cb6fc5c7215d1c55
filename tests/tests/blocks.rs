//! Large blocks of bytes: as arguments and as answers, over a death, and of memory that does something at its end.

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tests::within;

#[derive(Default)]
struct Keeper {
    heard: u64,
    kept: Vec<Bytes>,
}

#[actor]
impl Keeper {
    fn same(&self, block: Bytes) -> Bytes {
        block
    }
    fn joined(&self, first: Bytes, between: String, second: Vec<u8>, third: &[u8]) -> Vec<u8> {
        [&first, between.as_bytes(), &second, third].concat()
    }
    /// Keeps the last few, and says what is in them.
    fn keep(&mut self, block: Bytes) -> u64 {
        self.kept.push(block);
        if self.kept.len() > 5 {
            self.kept.remove(0);
        }
        self.kept.iter().map(|block| sum(block)).sum()
    }
    fn hear(&mut self, n: u64) {
        self.heard += n;
    }
    fn heard(&self) -> u64 {
        self.heard
    }
    /// Dies, a while after it has begun.
    fn die(&mut self) {
        std::thread::sleep(Duration::from_millis(50));
        std::process::abort();
    }
}

/// No two of these are alike, and no part of one is another.
fn block(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 251 + n + seed * 7) as u8).collect()
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}

const SIZES: [usize; 9] = [
    0,
    1,
    511,
    20_000,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    1 << 20,
    5 << 20,
];

#[procession::test]
async fn blocks_of_any_size_arrive_as_they_were_and_come_back() {
    let keeper = within("spawn", Keeper::spawn()).await.expect("an actor");
    for (seed, len) in SIZES.into_iter().enumerate() {
        let block = block(seed, len);
        let back = within("a call", keeper.same(block.clone().into())).await;
        assert_eq!(back.expect("a block"), block);
    }
    for (seed, first) in SIZES.into_iter().enumerate() {
        let (first, second, third) = (
            block(seed, first),
            block(seed + 1, SIZES[(seed + 4) % 9]),
            block(seed + 2, SIZES[(seed + 7) % 9]),
        );
        let want = [&first[..], b"between", &second, &third].concat();
        let call = keeper.joined(first.into(), "between".to_owned(), second, &third);
        assert_eq!(within("a call", call).await.expect("a block"), want);
    }
}

#[procession::test]
async fn blocks_that_are_kept_stay_as_they_were_while_others_come() {
    let keeper = within("spawn", Keeper::spawn()).await.expect("an actor");
    let mut last = Vec::new();
    for (seed, len) in SIZES.into_iter().cycle().take(40).enumerate() {
        let block = Bytes::from(block(seed, len.min(1 << 20)));
        last.push(sum(&block));
        let want = last.iter().rev().take(5).sum();
        assert_eq!(within("a call", keeper.keep(block)).await, Ok(want));
    }
}

#[procession::test]
async fn blocks_that_had_not_begun_reach_the_next_incarnation_whole() {
    let spec = Keeper::spec().backoff(Backoff::none());
    let keeper = within("spawn", spec.spawn()).await.expect("an actor");
    within("a tell", keeper.die().tell()).await.expect("accepted");
    let calls = (0..6).map(|seed| {
        let (keeper, block) = (keeper.clone(), block(seed, 700_000));
        async move {
            let back = within("a call", keeper.same(block.clone().into())).await;
            assert_eq!(back.expect("a block"), block);
        }
    });
    futures::future::join_all(calls).await;
}

#[procession::test]
async fn a_block_that_is_on_its_way_when_its_receiver_is_killed_reaches_the_next_incarnation_whole() {
    let spec = Keeper::spec()
        .backoff(Backoff::none())
        .intensity(10, Duration::from_secs(60));
    let keeper = within("spawn", spec.spawn()).await.expect("an actor");
    for seed in 0..4 {
        let pid = within("pid", keeper.pid()).await.expect("it").expect("a pid");
        assert_eq!(within("a call", keeper.heard()).await, Ok(0));
        let block = block(seed, 6 << 20);
        signal(pid, Signal::SIGSTOP);
        let mut call = pin!(keeper.same(block.clone().into()).into_future());
        // It is begun, and the rest waits for room.
        assert!(futures::poll!(call.as_mut()).is_pending());
        for _ in 0..seed {
            tokio::task::yield_now().await;
        }
        signal(pid, Signal::SIGKILL);
        assert_eq!(within("a call", call).await.expect("a block"), block);
    }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("a signal to a process that lives");
}

/// Memory whose end is a message.
struct Says {
    bytes: Vec<u8>,
    to: KeeperRef,
}

static SAID: AtomicU64 = AtomicU64::new(0);

impl AsRef<[u8]> for Says {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Says {
    fn drop(&mut self) {
        if self.to.hear(1).try_tell().is_ok() {
            SAID.fetch_add(1, Relaxed);
        }
    }
}

#[procession::test]
async fn a_block_whose_end_is_a_message_holds_nobody_up() {
    let keeper = within("spawn", Keeper::spawn()).await.expect("an actor");
    assert_eq!(within("a call", keeper.heard()).await, Ok(0));
    let says = |seed| {
        Bytes::from_owner(Says {
            bytes: block(seed, 300_000),
            to: keeper.clone(),
        })
    };
    for seed in 0..20 {
        within("a call", keeper.same(says(seed))).await.expect("a block");
        within("a tell", keeper.keep(says(seed)).tell())
            .await
            .expect("accepted");
        // One that is taken back on its way.
        let _ = tokio::time::timeout(Duration::ZERO, keeper.same(says(seed)).into_future()).await;
    }
    // Where the mailbox is full one says nothing.
    let heard = async { while keeper.heard().await != Ok(SAID.load(Relaxed)) {} };
    within("what the blocks say", heard).await;
    assert!(SAID.load(Relaxed) > 20);
}
