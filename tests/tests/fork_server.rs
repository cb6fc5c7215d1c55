//! The fork server killed: a new one serves, living children are untouched, starts under way are repeated.
//!
//! One test, since it counts all processes of its host.

use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use tests::oracle::Oracle;
use tests::{Counts, proc, until, within};

#[task]
fn process(n: u64) -> (u64, u32) {
    (n, std::process::id())
}

/// Writes down that it began.
#[task]
fn noted(memory: PathBuf, n: u64) -> (u64, u32) {
    let memory = Oracle::open(&memory).expect("the memory");
    memory.word(n as usize).fetch_add(1, SeqCst);
    (n, std::process::id())
}

#[derive(Default)]
struct Counter(u64);

#[actor]
impl Counter {
    fn count(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The fork server that is there now.
async fn server() -> Option<u32> {
    procession::in_use().await.expect("what is in use").fork_server
}

/// Kills it. One that is gone already was killed by the round before, and is not replaced until it is needed.
async fn kill_server() {
    if let Some(pid) = server().await {
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
}

#[procession::test]
async fn a_fork_server_that_is_killed_costs_nothing() {
    let start = procession::in_use().await.expect("what is in use").start;
    let counter = within("spawn", Counter::spawn()).await.expect("an actor");
    let pool = within("build", Pool::new(2)).await.expect("a pool");
    assert_eq!(within("a call", counter.count()).await, Ok(1));
    is_started_as_asked(&counter).await;
    let (memory, path) = Oracle::create().expect("memory");
    let before = Counts::now();

    for round in 0..5 {
        kill_server().await;
        let starts = (0..50).map(async |n| {
            let started = Process::spawn(noted, (path.clone(), n)).await?;
            started.join().await.map_err(Into::into)
        });
        let mut kills = 0;
        let starts = join_all(starts);
        let killer = async {
            // Again and again while they start.
            loop {
                kill_server().await;
                kills += 1;
                if kills == 4 {
                    return std::future::pending::<()>().await;
                }
                tokio::task::yield_now().await;
            }
        };
        let started: Vec<procession::Result<(u64, u32)>> = within("starts", async {
            tokio::select! {
                started = starts => started,
                () = killer => unreachable!("it never ends"),
            }
        })
        .await;
        let mut pids = BTreeSet::new();
        for (n, started) in started.into_iter().enumerate() {
            let (given, pid) = started.unwrap_or_else(|error| panic!("round {round}, start {n}: {error:#}"));
            assert_eq!(given, n as u64);
            pids.insert(pid);
        }
        assert_eq!(pids.len(), 50, "one start gave one process");
        let begun: Vec<u64> = (0..50).map(|n| memory.word(n).load(SeqCst)).collect();
        assert_eq!(begun, [round + 1; 50], "no body began twice");
        // Those that lived go on living, with their state.
        assert_eq!(within("a call", counter.count()).await, Ok(round + 2));
        assert!(within("the pool", pool.run(process, 1)).await.is_ok());
    }
    within("a fork server for all that", is_served()).await;
    let used = procession::in_use().await.expect("what is in use");
    assert_eq!(used.start, start, "it was killed, and could serve");
    until("the last that was killed is reaped", || {
        Counts::now().zombies == 0
    })
    .await;
    before.return_to().await;
}

/// Comes back once there is one that lives.
async fn is_served() {
    while !server().await.is_some_and(proc::is_alive) {
        tokio::task::yield_now().await;
    }
}

/// A clone of the fork server begins where that begins; an image that was executed does not.
async fn is_started_as_asked(counter: &CounterRef) {
    let child = counter.pid().await.expect("it").expect("a pid");
    let (server, child) = (server().await.and_then(proc::base), proc::base(child));
    let is_clone = server.is_some() && server == child;
    let start = procession::in_use().await.expect("what is in use").start;
    assert_eq!(
        is_clone,
        start == procession::StartMode::ForkServer,
        "{server:?} {child:?}"
    );
}
