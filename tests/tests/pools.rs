//! Pools: what a map promises, and what a death in it costs.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::Result;
use procession::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[task]
fn double(x: u64) -> u64 {
    2 * x
}

#[task]
fn halves(x: u64) -> Result<u64, String> {
    match x % 2 {
        0 => Ok(x / 2),
        _ => Err(format!("{x} is odd")),
    }
}

#[task]
async fn takes_longer_the_earlier(idx: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(40 - 10 * idx)).await;
    idx
}

/// Both, at once.
async fn join<A: IntoFuture, B: IntoFuture>(one: A, two: B) -> (A::Output, B::Output) {
    futures::future::join(one.into_future(), two.into_future()).await
}

/// Kills the process that runs it.
fn die(signal: Signal) {
    kill(Pid::this(), signal).unwrap();
}

// ---- how outcomes come

#[procession::test]
async fn an_awaited_map_gives_its_outputs_in_order() {
    let pool = Pool::new(3).await.unwrap();
    assert_eq!(
        pool.map(takes_longer_the_earlier, 0..4).await.unwrap(),
        [0, 1, 2, 3]
    );
    let expected: Vec<u64> = (0..10_000).map(|n| 2 * n).collect();
    assert_eq!(pool.map(double, 0..10_000).await.unwrap(), expected);
    assert_eq!(pool.map(double, []).await.unwrap(), []);
}

#[procession::test]
async fn an_awaited_map_ends_with_the_first_error() {
    let pool = Pool::new(2).await.unwrap();
    let error = pool.map(halves, [2, 4, 5, 6]).await.unwrap_err();
    assert!(
        matches!(error, TaskError::Failed(ref text) if text == "5 is odd"),
        "{error}"
    );
    assert_eq!(pool.map(halves, [2, 4]).await.unwrap(), [1, 2]);
}

#[procession::test]
async fn a_stream_gives_every_outcome_in_order() {
    let pool = Pool::new(3).await.unwrap();
    let outcomes: Vec<_> = pool.map(takes_longer_the_earlier, 0..4).stream().collect().await;
    assert_eq!(outcomes, (0..4).map(Ok).collect::<Vec<_>>());
    let outcomes: Vec<_> = pool.map(halves, 0..1000).stream().collect().await;
    for (n, outcome) in (0..1000).zip(outcomes) {
        match n % 2 {
            0 => assert_eq!(outcome, Ok(n / 2)),
            _ => assert_eq!(outcome, Err(TaskError::Failed(format!("{n} is odd")))),
        }
    }
}

#[procession::test]
async fn an_unordered_stream_gives_each_outcome_once_as_it_comes() {
    let pool = Pool::new(4).await.unwrap();
    let outcomes: Vec<_> = pool
        .map(takes_longer_the_earlier, 0..4)
        .chunk_size(1)
        .unordered()
        .collect()
        .await;
    let outcomes: Vec<u64> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_ne!(outcomes, [0, 1, 2, 3], "the first takes longest");
    assert_eq!(outcomes.into_iter().collect::<BTreeSet<_>>(), (0..4).collect());
    let outcomes: BTreeSet<u64> = pool
        .map(double, 0..5000)
        .unordered()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(outcomes, (0..5000).map(|n| 2 * n).collect());
}

#[procession::test]
async fn inputs_come_back_with_their_outcomes() {
    let pool = Pool::new(2).await.unwrap();
    let pairs = pool.map(double, 0..100).with_input().await.unwrap();
    assert_eq!(pairs, (0..100).map(|n| (n, 2 * n)).collect::<Vec<_>>());
    let mut pairs = pool.map(halves, 0..100).with_input().unordered();
    let mut seen = BTreeSet::new();
    while let Some((n, outcome)) = pairs.next().await {
        assert!(seen.insert(n));
        assert_eq!(outcome.is_ok(), n % 2 == 0);
    }
    assert_eq!(seen.len(), 100);
}

#[procession::test]
async fn any_chunk_size_gives_the_same() {
    let pool = Pool::new(2).await.unwrap();
    let expected: Vec<u64> = (0..500).map(|n| 2 * n).collect();
    for n_items in [0, 1, 2, 7, 499, 500, 501, usize::MAX] {
        assert_eq!(
            pool.map(double, 0..500).chunk_size(n_items).await.unwrap(),
            expected,
            "{n_items}"
        );
    }
}

#[procession::test]
async fn run_runs_a_task_once() {
    let pool = Pool::new(2).await.unwrap();
    assert_eq!(pool.run(double, 21).await.unwrap(), 42);
    assert_eq!(
        pool.run(halves, 3).await,
        Err(TaskError::Failed("3 is odd".to_owned()))
    );
    let both = join(pool.run(double, 1), pool.run(double, 2)).await;
    assert_eq!(both, (Ok(2), Ok(4)));
}

// ---- inputs

#[procession::test]
async fn inputs_are_pulled_no_faster_than_they_are_worked_on() {
    let pool = Pool::new(2).await.unwrap();
    let pulled = Cell::new(0_u64);
    let endless = (0..).inspect(|_| pulled.set(pulled.get() + 1));
    let mut outcomes = pool.map(double, endless).chunk_size(10).unordered();
    assert_eq!(pulled.get(), 0, "a map that nobody polls pulls nothing");
    for n in 0..50_000 {
        assert!(outcomes.next().await.is_some_and(|outcome| outcome.is_ok()));
        // Of chunks as short as these a message has at most 64 and each worker at most 4 messages, and there is one
        // whose outcomes are being taken.
        let ahead = (2 * 4 + 1) * 64 * 10;
        assert!(pulled.get() <= n + ahead, "{} were pulled for {n}", pulled.get());
    }
}

#[task]
fn takes_a_millisecond(x: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(1));
    x
}

#[procession::test]
async fn of_chunks_that_take_their_time_a_worker_has_one_that_waits() {
    let pool = Pool::new(2).await.unwrap();
    let pulled = Cell::new(0_u64);
    let endless = (0..).inspect(|_| pulled.set(pulled.get() + 1));
    let mut outcomes = pool.map(takes_a_millisecond, endless).chunk_size(10).unordered();
    for n in 0..300 {
        assert!(outcomes.next().await.is_some_and(|outcome| outcome.is_ok()));
        // Two chunks for each worker, and one whose outcomes are being taken.
        assert!(pulled.get() <= n + 60, "{} were pulled for {n}", pulled.get());
    }
}

#[procession::test]
async fn an_endless_iterator_is_fine() {
    let pool = Pool::new(2).await.unwrap();
    let some: Vec<_> = pool
        .map(double, 0..)
        .stream()
        .take(20_000)
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(some, (0..20_000).map(|n| 2 * n).collect::<Vec<_>>());
    let some: Vec<_> = pool.map(double, 0..).unordered().take(20_000).collect().await;
    assert_eq!(some.len(), 20_000);
    assert_eq!(pool.run(double, 1).await.unwrap(), 2);
}

#[task]
fn shouts(text: &str) -> String {
    text.to_uppercase()
}

#[procession::test]
async fn inputs_may_be_made_from_what_is_borrowed() {
    let pool = Pool::new(2).await.unwrap();
    let (numbers, words) = (vec![1, 2, 3], ["a".to_owned(), "b".to_owned()]);
    assert_eq!(
        pool.map(double, numbers.iter().copied()).await.unwrap(),
        [2, 4, 6]
    );
    let lazily = words.iter().map(|word| format!("{word}{}", numbers.len()));
    assert_eq!(pool.map(shouts, lazily).await.unwrap(), ["A3", "B3"]);
    let mut stream = pool.map(shouts, words.iter().cloned()).stream();
    assert_eq!(stream.next().await, Some(Ok("A".to_owned())));
}

#[task]
fn checksum(bytes: Vec<u8>) -> (usize, u8) {
    (bytes.len(), bytes.iter().fold(0, |sum, byte| sum ^ byte))
}

#[procession::test]
async fn inputs_may_be_huge() {
    let pool = Pool::new(2).await.unwrap();
    let inputs = (0..6).map(|n| vec![n; (16 << 20) + 1]);
    let sums = pool.map(checksum, inputs).await.unwrap();
    assert_eq!(sums, (0..6).map(|n| ((16 << 20) + 1, n)).collect::<Vec<_>>());
    let inputs = (0..3).map(|n| vec![n; (63 << 20) + 1]);
    assert_eq!(pool.map(checksum, inputs).await.unwrap().len(), 3);
}

// ---- results

const MIB: usize = 1 << 20;

#[task]
fn fills(byte: u8) -> Vec<u8> {
    vec![byte; MIB]
}

#[task]
fn fills_until(byte: u8) -> Vec<u8> {
    if byte == 5 {
        die(Signal::SIGKILL);
    }
    vec![byte; MIB]
}

#[procession::test]
async fn results_may_be_larger_than_what_a_worker_can_leave_behind() {
    let pool = Pool::new(2).await.unwrap();
    for n_items in [1, 7, 20] {
        let outputs = pool.map(fills, 0..20).chunk_size(n_items).await.unwrap();
        for (byte, output) in (0..20).zip(outputs) {
            assert!(output.len() == MIB && output.iter().all(|b| *b == byte));
        }
    }
}

#[procession::test]
async fn a_death_after_large_results_costs_its_own_item_alone() {
    let pool = Pool::new(1).await.unwrap();
    let outcomes: Vec<_> = pool
        .map(fills_until, 0..10)
        .chunk_size(10)
        .stream()
        .collect()
        .await;
    for (byte, outcome) in (0..10).zip(outcomes) {
        match outcome {
            Ok(output) => assert!(byte != 5 && output.len() == MIB && output[0] == byte),
            Err(error) => assert!(
                byte == 5 && error.to_string().contains("SIGKILL"),
                "{byte}: {error}"
            ),
        }
    }
}

// ---- deaths

/// Side effects that survive whoever had them: a line for each.
#[derive(Debug)]
struct Ledger {
    folder: tempfile::TempDir,
}

impl Ledger {
    fn new() -> Self {
        let ledger = Ledger {
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::File::create(ledger.path()).unwrap();
        ledger
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ledger")
    }

    /// How often each number was written, and by whom first.
    fn entries(&self) -> BTreeMap<u64, Vec<u32>> {
        let mut entries = BTreeMap::<_, Vec<_>>::new();
        for line in std::fs::read_to_string(self.path()).unwrap().lines() {
            let (number, pid) = line.split_once(' ').unwrap();
            entries
                .entry(number.parse().unwrap())
                .or_default()
                .push(pid.parse().unwrap());
        }
        entries
    }
}

fn enter(path: &Path, number: u64) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    // In one call: it is there whole, or not at all.
    file.write_all(format!("{number} {}\n", std::process::id()).as_bytes())
        .unwrap();
}

#[task]
fn enters(path: &Path, number: u64, deadly: Vec<u64>) -> u64 {
    enter(path, number);
    if deadly.contains(&number) {
        die(Signal::SIGKILL);
    }
    number
}

#[procession::test]
async fn a_worker_that_dies_costs_the_item_that_it_was_on_and_no_item_runs_twice() {
    let pool = Pool::new(2).await.unwrap();
    for n_items in [1, 10, 100] {
        let ledger = Ledger::new();
        let deadly = vec![0, 17, 18, 50, 99];
        let inputs = (0..100).map(|n| (ledger.path(), n, deadly.clone()));
        let outcomes: Vec<_> = pool
            .map(enters, inputs)
            .chunk_size(n_items)
            .stream()
            .collect()
            .await;
        for (n, outcome) in (0..100).zip(outcomes) {
            match outcome {
                Ok(number) => assert!(number == n && !deadly.contains(&n)),
                Err(TaskError::Died { reason, begun, .. }) => {
                    assert!(deadly.contains(&n), "{n} died too: {reason}");
                    assert_eq!(reason.to_string(), "killed by SIGKILL");
                    assert!(begun);
                }
                Err(error) => panic!("{n}: {error}"),
            }
        }
        let entries = ledger.entries();
        assert_eq!(entries.len(), 100);
        assert!(entries.values().all(|runs| runs.len() == 1), "{entries:?}");
    }
}

#[task]
fn enters_slowly(path: &Path, number: u64) -> u64 {
    enter(path, number);
    std::thread::sleep(Duration::from_micros(500));
    number
}

#[procession::test]
async fn workers_that_are_killed_from_outside_cost_one_item_each_at_most() {
    let pool = Pool::new(2).await.unwrap();
    let ledger = Ledger::new();
    let mapping = async {
        let inputs = (0..600).map(|n| (ledger.path(), n));
        pool.map(enters_slowly, inputs).unordered().with_index().await
    };
    let killing = async {
        let mut kills = 0;
        for _ in 0..15 {
            tokio::time::sleep(Duration::from_millis(15)).await;
            if let Some(pid) = pool.pids().await.unwrap().first() {
                kills += usize::from(kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).is_ok());
            }
        }
        kills
    };
    let ((done, died), kills) = tokio::time::timeout(LONG, join(mapping, killing))
        .await
        .expect("a hang");
    assert_eq!(done.len() + died, 600);
    assert!(died <= kills, "{died} items for {kills} kills");
    let entries = ledger.entries();
    assert!(
        entries.values().all(|runs| runs.len() == 1),
        "an item ran twice: {entries:?}"
    );
    assert!(done.iter().all(|n| entries.contains_key(n)));
}

#[procession::test]
async fn a_kill_among_cheap_items_costs_one_of_them_at_most_and_loses_no_result() {
    let pool = Pool::new(2).await.unwrap();
    let (mut kills, mut died) = (0, 0);
    let mut outcomes = pool.map(double, 0..).stream();
    for n in 0..200_000 {
        if n % 10_000 == 0 {
            let pids = pool.pids().await.unwrap();
            // Now this one, now that one: each has a chunk that it is in the middle of.
            if let Some(pid) = pids.get(kills % 2) {
                kills += usize::from(kill(Pid::from_raw(*pid as i32), Signal::SIGKILL).is_ok());
            }
        }
        match outcomes.next().await {
            Some(Ok(output)) => assert_eq!(output, 2 * n),
            Some(Err(TaskError::Died { begun: true, .. })) => died += 1,
            other => panic!("{n}: {other:?}"),
        }
    }
    assert!(kills >= 10 && died <= kills, "{died} items for {kills} kills");
}

/// Sorts the outcomes of a map of numbers.
trait WithIndex {
    async fn with_index(self) -> (BTreeSet<u64>, usize);
}

impl<S: futures::Stream<Item = Result<u64, TaskError>> + Unpin> WithIndex for S {
    async fn with_index(mut self) -> (BTreeSet<u64>, usize) {
        let (mut done, mut died) = (BTreeSet::new(), 0);
        while let Some(outcome) = self.next().await {
            match outcome {
                Ok(n) => assert!(done.insert(n), "{n} came twice"),
                Err(TaskError::Died { .. }) => died += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (done, died)
    }
}

/// Dies the first times that it runs.
#[task]
fn dies_at_first(path: &Path, number: u64, times: usize) -> u64 {
    let text = std::fs::read_to_string(path).unwrap();
    let before = text
        .lines()
        .filter(|line| line.starts_with(&format!("{number} ")))
        .count();
    enter(path, number);
    if before < times {
        die(Signal::SIGSEGV);
    }
    number
}

#[procession::test]
async fn an_item_whose_worker_died_runs_again_on_another_as_often_as_it_may() {
    let pool = Pool::new(2).await.unwrap();
    let ledger = Ledger::new();
    // Number n dies n times.
    let inputs = (0..4).map(|n| (ledger.path(), n, n as usize));
    let outcomes: Vec<_> = pool
        .map(dies_at_first, inputs)
        .chunk_size(4)
        .retries(2)
        .stream()
        .collect()
        .await;
    assert_eq!(outcomes[..3], [Ok(0), Ok(1), Ok(2)]);
    assert!(matches!(outcomes[3], Err(TaskError::Died { begun: true, .. })));
    let entries = ledger.entries();
    for (n, n_runs) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
        assert_eq!(entries[&n].len(), n_runs, "{n}");
        assert_eq!(
            entries[&n].iter().collect::<BTreeSet<_>>().len(),
            n_runs,
            "each on a worker of its own"
        );
    }
}

#[task]
fn enters_and_fails(path: &Path, number: u64) -> Result<(), String> {
    enter(path, number);
    Err("always".to_owned())
}

#[task]
async fn enters_and_sleeps(path: &Path, number: u64) {
    enter(path, number);
    std::future::pending::<()>().await;
}

#[procession::test]
async fn an_item_that_failed_or_took_too_long_does_not_run_again() {
    let pool = Pool::builder()
        .workers(1)
        .task_timeout(Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let ledger = Ledger::new();
    let failed = pool
        .map(enters_and_fails, [(ledger.path(), 1)])
        .retries(3)
        .await
        .unwrap_err();
    assert!(matches!(failed, TaskError::Failed(_)), "{failed}");
    let late = pool
        .map(enters_and_sleeps, [(ledger.path(), 2)])
        .retries(3)
        .await
        .unwrap_err();
    assert!(
        matches!(late, TaskError::Timeout(after) if after == Duration::from_millis(100)),
        "{late}"
    );
    assert!(ledger.entries().values().all(|runs| runs.len() == 1));
}

// ---- time

#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
enum Way {
    Quick,
    Sleeps,
    Spins,
    Stops,
}

#[task]
async fn goes(way: Way) -> Way {
    match way {
        Way::Quick => tokio::time::sleep(Duration::from_millis(20)).await,
        Way::Sleeps => std::future::pending().await,
        Way::Spins => loop {
            std::hint::spin_loop();
        },
        Way::Stops => die(Signal::SIGSTOP),
    }
    way
}

#[procession::test]
async fn the_task_timeout_is_that_of_an_item_and_ends_whatever_hangs() {
    let after = Duration::from_millis(300);
    let pool = Pool::builder()
        .workers(2)
        .task_timeout(after)
        .build()
        .await
        .unwrap();
    // Together they take longer than one may.
    let quick = pool.map(goes, [Way::Quick; 25]).chunk_size(25).await.unwrap();
    assert_eq!(quick.len(), 25);
    let inputs = [
        Way::Quick,
        Way::Sleeps,
        Way::Quick,
        Way::Spins,
        Way::Quick,
        Way::Stops,
        Way::Quick,
    ];
    for n_items in [1, 7] {
        let mut outcomes = pool.map(goes, inputs).chunk_size(n_items).with_input().stream();
        while let Some((way, outcome)) = tokio::time::timeout(LONG, outcomes.next()).await.expect("a hang") {
            match (way, outcome) {
                (Way::Quick, Ok(Way::Quick)) => {}
                (Way::Sleeps | Way::Spins | Way::Stops, Err(TaskError::Timeout(took))) => {
                    assert_eq!(took, after)
                }
                (way, outcome) => panic!("{way:?}: {outcome:?}"),
            }
        }
    }
}

// ---- many maps, and their ends

#[procession::test]
async fn two_maps_at_once_share_a_pool() {
    let pool = Pool::new(2).await.unwrap();
    for _ in 0..10 {
        let (one, two) = join(
            pool.map(double, 0..2000),
            pool.map(halves, (0..2000).map(|n| 2 * n)),
        )
        .await;
        assert_eq!(one.unwrap(), (0..2000).map(|n| 2 * n).collect::<Vec<_>>());
        assert_eq!(two.unwrap(), (0..2000).collect::<Vec<_>>());
    }
}

#[procession::test]
async fn two_maps_at_once_of_which_one_kills_workers() {
    let pool = Pool::new(2).await.unwrap();
    let ledger = Ledger::new();
    let deadly: Vec<u64> = (0..100).step_by(10).collect();
    let inputs = (0..100).map(|n| (ledger.path(), n, deadly.clone()));
    let (killing, other) = join(
        pool.map(enters, inputs)
            .chunk_size(5)
            .stream()
            .collect::<Vec<_>>(),
        pool.map(double, 0..5000),
    )
    .await;
    let died = killing.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!(died, deadly.len());
    assert_eq!(other.unwrap().len(), 5000);
    assert!(ledger.entries().values().all(|runs| runs.len() == 1));
}

#[procession::test]
async fn a_pool_serves_maps_of_two_runtimes() {
    let pool = Arc::new(Pool::new(2).await.unwrap());
    let expected: Vec<u64> = (0..3000).map(|n| 2 * n).collect();
    for _ in 0..3 {
        let elsewhere = pool.clone();
        let there = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { elsewhere.map(double, 0..3000).await.unwrap() })
        });
        let (here, there) = join(pool.map(double, 0..3000), there).await;
        assert_eq!(here.unwrap(), expected);
        assert_eq!(there.unwrap(), expected);
    }
}

#[procession::test]
async fn a_map_that_is_dropped_takes_its_work_back() {
    let pool = Pool::new(1).await.unwrap();
    let ledger = Ledger::new();
    for _ in 0..20 {
        let inputs = (0..1000).map(|n| (ledger.path(), n));
        let mut outcomes = pool.map(enters_slowly, inputs).chunk_size(5).stream();
        assert_eq!(outcomes.next().await, Some(Ok(0)));
        drop(outcomes);
        assert_eq!(pool.run(double, 4).await.unwrap(), 8);
    }
    let n_runs: usize = ledger.entries().values().map(Vec::len).sum();
    assert!(
        n_runs <= 20 * 20,
        "{n_runs} items ran of 20 maps that wanted one each"
    );
}

#[procession::test]
async fn dropping_a_pool_in_the_middle_of_a_map_ends_its_workers() {
    let ledger = Ledger::new();
    let path = ledger.path();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let mapping = tokio::spawn(async move {
        let pool = Pool::builder().workers(3).name("doomed").build().await.unwrap();
        let mut outcomes = pool
            .map(enters_slowly, (0..).map(|n| (path.clone(), n)))
            .unordered();
        outcomes.next().await.unwrap().unwrap();
        begun.send(pool.pids().await.unwrap()).unwrap();
        while outcomes.next().await.is_some() {}
    });
    let pids = begins.await.unwrap();
    assert_eq!(pids.len(), 3);
    mapping.abort();
    assert!(mapping.await.unwrap_err().is_cancelled());
    let gone = async {
        while !Process::active().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone)
        .await
        .expect("its workers live on");
    assert!(
        pids.iter()
            .all(|pid| kill(Pid::from_raw(*pid as i32), None).is_err())
    );
    // The name is free.
    let pool = Pool::builder().workers(3).name("doomed").build().await.unwrap();
    assert_eq!(pool.map(double, 0..3).await.unwrap(), [0, 2, 4]);
}

#[task]
fn large_small_or_dies(n: u64) -> Vec<u8> {
    match n {
        0 => vec![0; MIB],
        3 => {
            die(Signal::SIGKILL);
            unreachable!("it was killed")
        }
        n => vec![n as u8; 10],
    }
}

#[procession::test]
async fn small_results_behind_a_large_one_survive_a_death() {
    let pool = Pool::new(1).await.unwrap();
    let outcomes = pool.map(large_small_or_dies, 0..6).chunk_size(6).stream();
    let outcomes: Vec<_> = outcomes.map(|outcome| outcome.ok()).collect().await;
    let lens: Vec<_> = outcomes
        .iter()
        .map(|bytes| Some((bytes.as_ref()?.len(), bytes.as_ref()?[0])))
        .collect();
    let small = |n| Some((10, n));
    assert_eq!(
        lens,
        [Some((MIB, 0)), small(1), small(2), None, small(4), small(5)]
    );
}
