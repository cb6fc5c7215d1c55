//! What becomes of messages when a process dies: each sentence of `docs/delivery.md`, held by a test.

use futures::future::{join_all, poll_immediate};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{Backoff, DeadCause, Overflow, Restart};
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Wake};
use std::time::Duration;
use tests::{Fault, Journal, Marker, until, within};

/// Writes down what it handles.
struct Clerk {
    journal: Journal,
}

#[actor]
impl Clerk {
    #[init]
    fn open(journal: Journal) -> Self {
        Clerk { journal }
    }
    fn write(&mut self, n: u64) {
        self.journal.write(n);
    }
    /// Writes it down, unless it is the one that it dies of.
    fn write_but(&mut self, n: u64, fatal: u64) {
        if n == fatal {
            std::process::abort();
        }
        self.journal.write(n);
    }
    /// Holds the process up until it is killed.
    fn block(&mut self, at: Marker) {
        at.reach();
        loop {
            std::thread::park();
        }
    }
    /// Holds it up the first time that anybody comes here.
    fn block_once(&mut self, at: Marker) {
        if at.reach() == 0 {
            loop {
                std::thread::park();
            }
        }
    }
    fn ready(&self) {}
    /// Holds it up until somebody was there, if that is soon enough.
    fn wait_for(&mut self, at: Marker) -> bool {
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || at.count() > 0)
    }
    async fn linger(&self, at: Marker) {
        at.reach();
        std::future::pending::<()>().await;
    }
    /// Dies until it was tried so often.
    #[idempotent(retries = 2)]
    fn survive(&mut self, at: Marker, deaths: u64) -> u64 {
        let before = at.reach();
        if before < deaths {
            std::process::abort();
        }
        before
    }
    /// The same, tried once more.
    #[idempotent]
    fn survive_once(&mut self, at: Marker, deaths: u64) -> u64 {
        let before = at.reach();
        if before < deaths {
            std::process::abort();
        }
        before
    }
    #[idempotent(retries = 9)]
    fn poison(&mut self, at: Marker) {
        at.reach();
        std::process::abort();
    }
    #[idempotent]
    async fn linger_once(&self, at: Marker) {
        if at.reach() == 0 {
            std::future::pending::<()>().await;
        }
    }
}

async fn clerk(journal: &Journal) -> ClerkRef {
    let spec = Clerk::spec(journal.clone())
        .intensity(10_000, Duration::from_secs(1))
        .backoff(Backoff::none());
    within("spawn", spec.spawn()).await.expect("an actor")
}

async fn pid(clerk: &ClerkRef) -> u32 {
    within("ready", clerk.ready()).await.expect("an actor that is up");
    within("pid", clerk.pid()).await.expect("it").expect("a pid")
}

fn kill_9(pid: u32) {
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a signal to a process that lives");
}

/// Waits until all that this process sent before was handled.
async fn all_handled(clerk: &ClerkRef) {
    within("what was sent before", clerk.ready())
        .await
        .expect("an answer");
}

#[procession::test]
async fn a_crash_costs_the_message_that_had_begun_and_no_other() {
    let journal = Journal::new();
    let clerk = clerk(&journal).await;
    for n in 0..1000 {
        let sent = clerk.write_but(n, 500).tell();
        within("a tell", sent).await.expect("an actor that lives on");
    }
    all_handled(&clerk).await;
    let expected: Vec<_> = (0..1000).filter(|n| *n != 500).collect();
    assert_eq!(journal.read(), expected);
    let dead = within("dead letters", clerk.dead_letters())
        .await
        .expect("a list");
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!(letter.method, "write_but");
    assert!(matches!(&letter.cause, DeadCause::Died(reason) if Fault::Abort.is_reason(reason)));
}

#[procession::test]
async fn a_flood_survives_any_number_of_kills_in_order_and_each_costs_at_most_one() {
    let journal = Journal::new();
    let clerk = clerk(&journal).await;
    let (kills, total) = (20, 20_000_u64);
    let killer = {
        let (clerk, journal) = (clerk.clone(), journal.clone());
        tokio::spawn(async move {
            for n in 1..=kills {
                journal.reached(n * total / (kills + 2)).await;
                within("kill", clerk.kill()).await.expect("a death");
            }
        })
    };
    for n in 0..total {
        within("a tell", clerk.write(n).tell())
            .await
            .expect("an actor that lives on");
    }
    within("the killer", killer).await.expect("its end");
    all_handled(&clerk).await;
    let written = journal.read();
    assert!(written.is_sorted_by(|a, b| a < b), "out of order or twice");
    let lost = total - written.len() as u64;
    assert!(lost <= kills, "{lost} of {total} were lost in {kills} deaths");
}

/// Sends what it is told to, from a process of its own.
#[task]
async fn send(clerk: ClerkRef, from: u64, to: u64) -> procession::Result<()> {
    for n in from..to {
        clerk.write(n).tell().await?;
    }
    Ok(())
}

#[procession::test]
async fn what_a_process_sent_before_its_orderly_end_survives_the_death_of_the_receiver_too() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let pid = pid(&clerk).await;
    within("a tell", clerk.block_once(at.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let sender = within("spawn", Process::spawn(send, (clerk.clone(), 0, 100)))
        .await
        .expect("a task");
    within("its end", sender.join()).await.expect("all was accepted");
    assert_eq!(journal.read(), [0; 0]);
    kill_9(pid);
    within("all of it", journal.reached(100)).await;
    assert_eq!(journal.read(), (0..100).collect::<Vec<_>>());
}

#[procession::test]
async fn calls_that_had_not_begun_are_answered_by_the_next_incarnation_in_their_order() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let pid = pid(&clerk).await;
    let mut first = pin!(clerk.block(at.clone()).into_future());
    assert!(poll_immediate(&mut first).await.is_none());
    let mut rest = pin!(join_all((0..100).map(|n| clerk.write(n).into_future())));
    assert!(poll_immediate(&mut rest).await.is_none());
    at.reached(1).await;
    kill_9(pid);
    match within("the call that had begun", first).await {
        Err(CallError::Died {
            reason, begun: true, ..
        }) => assert!(Fault::Kill.is_reason(&reason)),
        other => panic!("{other:?}"),
    }
    assert!(within("the rest", rest).await.iter().all(Result::is_ok));
    assert_eq!(journal.read(), (0..100).collect::<Vec<_>>());
}

#[procession::test]
async fn order_holds_between_refs_that_were_made_apart_and_dropped_at_once() {
    let journal = Journal::new();
    let clerk = clerk(&journal).await;
    let name = clerk.name().await.expect("a name");
    for n in 0..200 {
        let apart = within("lookup", ClerkRef::lookup(&name)).await.expect("an actor");
        within("a tell", apart.write_but(n, 100).tell())
            .await
            .expect("accepted");
    }
    within("the last", journal.reached(199)).await;
    assert_eq!(journal.read(), (0..200).filter(|n| *n != 100).collect::<Vec<_>>());
}

#[procession::test]
async fn a_message_whose_only_ref_is_gone_is_handled_by_the_next_incarnation_all_the_same() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let (pid, name) = (pid(&clerk).await, clerk.name().await.expect("a name"));
    within("a tell", clerk.block_once(at.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    drop(clerk);
    let apart = within("lookup", ClerkRef::lookup(&name)).await.expect("an actor");
    within("a tell", apart.write(7).tell()).await.expect("accepted");
    drop(apart);
    kill_9(pid);
    within("the message", journal.reached(1)).await;
    assert_eq!(journal.read(), [7]);
}

/// Comes up at the first try and at the fourth: the second hangs, and the third fails.
struct Reborn {
    journal: Journal,
}

#[actor]
impl Reborn {
    #[init]
    fn open(journal: Journal, tries: Marker, go_on: Marker) -> Result<Self, String> {
        match tries.reach() {
            1 => loop {
                std::thread::park();
            },
            2 => {
                tests::deadline::blocks_until(tests::deadline::PATIENCE, || go_on.count() > 0);
                Err("the third".to_owned())
            }
            _ => Ok(Reborn { journal }),
        }
    }
    fn write(&mut self, n: u64) {
        self.journal.write(n);
    }
    fn number(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn what_was_sent_to_a_process_that_did_not_come_up_is_handled_by_the_next_that_does() {
    let (journal, tries, go_on) = (Journal::new(), Marker::new(), Marker::new());
    let spec = Reborn::spec(journal.clone(), tries.clone(), go_on.clone())
        .intensity(100, Duration::from_secs(60))
        .backoff(Backoff::none());
    let reborn = within("spawn", spec.spawn()).await.expect("an actor");
    let first = within("a call", reborn.number()).await.expect("the first");
    kill_9(first);
    until("the second", || tries.count() >= 2).await;
    for n in 0..100 {
        within("a tell", reborn.write(n).tell())
            .await
            .expect("an actor that lives on");
    }
    let mut call = pin!(reborn.number().into_future());
    assert!(
        poll_immediate(call.as_mut()).await.is_none(),
        "it has not come up"
    );
    let second = within("pid", reborn.pid()).await.expect("it").expect("a pid");
    kill_9(second);
    until("the third", || tries.count() >= 3).await;
    assert!(
        poll_immediate(call.as_mut()).await.is_none(),
        "it has not come up"
    );
    go_on.reach();
    let fourth = within("a call", call).await.expect("an answer");
    assert!(![first, second].contains(&fourth));
    assert_eq!(journal.read(), (0..100).collect::<Vec<_>>());
}

#[procession::test]
async fn an_orderly_restart_loses_nothing() {
    let journal = Journal::new();
    let clerk = clerk(&journal).await;
    let restarts = {
        let clerk = clerk.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                within("restart", clerk.restart()).await.expect("a restart");
            }
        })
    };
    let mut sent = 0;
    while !restarts.is_finished() {
        within("a tell", clerk.write(sent).tell())
            .await
            .expect("accepted");
        sent += 1;
        tokio::task::yield_now().await;
    }
    within("the restarts", restarts).await.expect("their end");
    all_handled(&clerk).await;
    assert_eq!(journal.read(), (0..sent).collect::<Vec<_>>());
}

#[procession::test]
async fn at_the_end_for_good_calls_fail_and_tells_become_dead_letters() {
    let (journal, at) = (Journal::new(), Marker::new());
    let spec = Clerk::spec(journal.clone()).restart(Restart::Temporary);
    let clerk = within("spawn", spec.spawn()).await.expect("an actor");
    let pid = pid(&clerk).await;
    let mut first = pin!(clerk.block(at.clone()).into_future());
    assert!(poll_immediate(&mut first).await.is_none());
    at.reached(1).await;
    for n in 0..3 {
        within("a tell", clerk.write(n).tell()).await.expect("accepted");
    }
    let mut waits = pin!(clerk.ready().into_future());
    assert!(poll_immediate(&mut waits).await.is_none());
    kill_9(pid);
    assert!(matches!(
        within("the first call", first).await,
        Err(CallError::Died { begun: true, .. })
    ));
    match within("the call behind it", waits).await {
        Err(CallError::Died {
            reason, begun: false, ..
        }) => assert!(Fault::Kill.is_reason(&reason)),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        within("a later call", clerk.ready()).await,
        Err(CallError::Stopped)
    );
    let dead = within("dead letters", clerk.dead_letters())
        .await
        .expect("a list");
    assert_eq!(dead.len(), 3, "{dead:?}");
    for letter in dead {
        assert_eq!(letter.method, "write");
        assert!(matches!(letter.cause, DeadCause::Undeliverable(_)), "{letter:?}");
    }
}

#[procession::test]
async fn an_idempotent_call_runs_again_as_often_as_it_may() {
    let journal = Journal::new();
    let clerk = clerk(&journal).await;
    for deaths in [0, 1, 2] {
        let at = Marker::new();
        let survived = within("a call", clerk.survive(at.clone(), deaths)).await;
        assert_eq!(survived, Ok(deaths));
    }
    let at = Marker::new();
    match within("a call", clerk.survive(at.clone(), 3)).await {
        Err(CallError::Died {
            reason, begun: true, ..
        }) => assert!(Fault::Abort.is_reason(&reason)),
        other => panic!("{other:?}"),
    }
    assert_eq!(at.count(), 3);
}

#[procession::test]
async fn an_idempotent_call_that_names_no_retries_runs_again_once() {
    let clerk = clerk(&Journal::new()).await;
    for deaths in [0, 1] {
        let at = Marker::new();
        let survived = within("a call", clerk.survive_once(at.clone(), deaths)).await;
        assert_eq!(survived, Ok(deaths));
    }
    let at = Marker::new();
    match within("a call", clerk.survive_once(at.clone(), 2)).await {
        Err(CallError::Died {
            reason, begun: true, ..
        }) => assert!(Fault::Abort.is_reason(&reason)),
        other => panic!("{other:?}"),
    }
    all_handled(&clerk).await;
    assert_eq!(at.count(), 2);
}

#[procession::test]
async fn an_idempotent_message_is_run_again_before_those_behind_it() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let again = Marker::new();
    within("a tell", clerk.survive(again.clone(), 2).tell())
        .await
        .expect("accepted");
    within("a tell", clerk.write(1).tell()).await.expect("accepted");
    let mut lingers = pin!(clerk.linger_once(at.clone()).into_future());
    assert!(poll_immediate(&mut lingers).await.is_none());
    at.reached(1).await;
    assert_eq!((again.count(), journal.read()), (3, vec![1]));
    within("kill", clerk.kill()).await.expect("a death");
    assert_eq!(within("what ran again", lingers).await, Ok(()));
    assert_eq!(at.count(), 2);
}

#[procession::test]
async fn a_message_that_three_processes_died_of_is_set_aside_and_those_behind_it_go_on() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let mut poison = pin!(clerk.poison(at.clone()).into_future());
    assert!(poll_immediate(&mut poison).await.is_none());
    within("a tell", clerk.write(1).tell()).await.expect("accepted");
    match within("the poison", poison).await {
        Err(CallError::Died {
            reason, begun: true, ..
        }) => assert!(Fault::Abort.is_reason(&reason)),
        other => panic!("{other:?}"),
    }
    all_handled(&clerk).await;
    assert_eq!((at.count(), journal.read()), (3, vec![1]));
    within("a tell", clerk.poison(at.clone()).tell())
        .await
        .expect("accepted");
    all_handled(&clerk).await;
    assert_eq!(at.count(), 6);
    let dead = within("dead letters", clerk.dead_letters())
        .await
        .expect("a list");
    assert_eq!(dead.len(), 2);
    for letter in dead {
        assert_eq!(letter.method, "poison");
        match letter.cause {
            DeadCause::Poisonous {
                deaths: 3, reason, ..
            } => assert!(Fault::Abort.is_reason(&reason)),
            other => panic!("{other:?}"),
        }
    }
}

#[procession::test]
async fn a_full_mailbox_makes_tells_wait_and_try_tell_say_so() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let pid = pid(&clerk).await;
    within("a tell", clerk.block_once(at.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let mut sent = 0;
    let refused = loop {
        match clerk.write(sent).try_tell() {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 100_000, "a mailbox without a limit");
    };
    assert_eq!(refused, CallError::Full);
    let waits = clerk.write(sent).tell();
    let waited = tokio::time::timeout(Duration::from_millis(50), waits).await;
    assert!(waited.is_err(), "it was accepted");
    kill_9(pid);
    all_handled(&clerk).await;
    assert_eq!(journal.read(), (0..sent).collect::<Vec<_>>());
}

#[procession::test]
async fn a_call_whose_deadline_passes_before_it_begins_is_never_run() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let pid = pid(&clerk).await;
    within("a tell", clerk.block_once(at.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let late = clerk.write(1).timeout(Duration::from_millis(20));
    assert_eq!(within("a late call", late).await, Err(CallError::Timeout));
    kill_9(pid);
    all_handled(&clerk).await;
    assert_eq!(journal.read(), [0; 0]);
}

#[procession::test]
async fn what_is_in_flight_is_counted_in_the_order_of_messages() {
    let (journal, at) = (Journal::new(), Marker::new());
    let clerk = clerk(&journal).await;
    let mut lingers: Vec<_> = (0..3)
        .map(|_| Box::pin(clerk.linger(at.clone()).into_future()))
        .collect();
    for linger in &mut lingers {
        assert!(poll_immediate(linger).await.is_none());
    }
    at.reached(3).await;
    assert_eq!(within("a count", clerk.in_flight()).await.expect("it"), 3);
    lingers.truncate(1);
    assert_eq!(within("a count", clerk.in_flight()).await.expect("it"), 1);
    lingers.clear();
    assert_eq!(within("a count", clerk.in_flight()).await.expect("it"), 0);
}

#[procession::test]
async fn a_mailbox_that_rejects_says_so_to_calls_and_tells_alike() {
    let (journal, at) = (Journal::new(), Marker::new());
    let spec = Clerk::spec(journal.clone()).mailbox(4, Overflow::Reject);
    let clerk = within("spawn", spec.spawn()).await.expect("an actor");
    let pid = pid(&clerk).await;
    within("a tell", clerk.block_once(at.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let mut sent = 0;
    while within("a tell", clerk.write(sent).tell()).await.is_ok() {
        sent += 1;
        assert!(sent <= 4, "more than the mailbox holds");
    }
    assert_eq!(
        within("a tell", clerk.write(99).tell()).await,
        Err(CallError::Full)
    );
    assert_eq!(within("a call", clerk.ready()).await, Err(CallError::Full));
    kill_9(pid);
    within("what was accepted", journal.reached(sent)).await;
    assert_eq!(journal.read(), (0..sent).collect::<Vec<_>>());
}

#[procession::test]
async fn an_answer_does_not_wait_for_the_work_behind_it() {
    let clerk = clerk(&Journal::new()).await;
    for _ in 0..5 {
        let answered = Marker::new();
        let first = async {
            clerk.ready().await.expect("an answer");
            answered.reach();
        };
        let behind = clerk.wait_for(answered.clone()).into_future();
        let ((), waited) = futures::join!(first, behind);
        assert!(
            waited.expect("an answer"),
            "the first answer came after the second"
        );
    }
}

#[derive(Default)]
struct Latest(Vec<u64>);

#[actor(mailbox = 4, overflow = "drop_oldest")]
impl Latest {
    fn hold(&mut self, at: Marker, until: Marker) {
        at.reach();
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || until.count() > 0);
    }
    fn push(&mut self, n: u64) {
        self.0.push(n);
    }
    fn seen(&self) -> Vec<u64> {
        self.0.clone()
    }
}

/// One that is held up until the marker is reached.
async fn held() -> (LatestRef, Marker) {
    let (at, go) = (Marker::new(), Marker::new());
    let latest = within("spawn", Latest::spawn()).await.expect("an actor");
    within("a tell", latest.hold(at.clone(), go.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    (latest, go)
}

#[procession::test]
async fn a_mailbox_that_drops_the_oldest_keeps_the_newest_and_names_what_it_dropped() {
    let (latest, go) = held().await;
    for n in 0..100 {
        within("a tell", latest.push(n).tell())
            .await
            .expect("always accepted");
    }
    go.reach();
    let seen = within("what was seen", latest.seen()).await.expect("an answer");
    assert!(
        seen.len() <= 4 && seen.ends_with(&[99]) && seen.is_sorted(),
        "{seen:?}"
    );
    let dead = within("dead letters", latest.dead_letters())
        .await
        .expect("a list");
    assert_eq!(dead.len() + seen.len(), 100, "{seen:?}");
    assert!(dead.iter().all(|letter| letter.cause == DeadCause::Overflow));
}

/// A waker of the user's own, which sends whenever it is woken or dropped.
struct Sends<F: Fn()> {
    send: F,
    n_woken: Arc<AtomicU64>,
    n_dropped: Arc<AtomicU64>,
}

impl<F: Fn() + Send + Sync> Wake for Sends<F> {
    fn wake(self: Arc<Self>) {
        self.n_woken.fetch_add(1, Relaxed);
        (self.send)();
    }
}

impl<F: Fn()> Drop for Sends<F> {
    fn drop(&mut self) {
        self.n_dropped.fetch_add(1, Relaxed);
        (self.send)();
    }
}

/// Sends calls, which cannot be answered yet, with wakers that send in their turn, and drops them. How often these were
/// woken.
async fn drop_unanswered<T: 'static>(
    calls: Vec<Call<T>>,
    sends: impl Fn() + Clone + Send + Sync + 'static,
) -> u64 {
    let (n_woken, n_dropped) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let calls: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let waker = Arc::new(Sends {
                send: sends.clone(),
                n_woken: n_woken.clone(),
                n_dropped: n_dropped.clone(),
            });
            let mut call = Box::pin(call.into_future());
            let polled = call.as_mut().poll(&mut Context::from_waker(&waker.into()));
            assert!(polled.is_pending());
            call
        })
        .collect();
    let n_calls = calls.len() as u64;
    assert_eq!((n_woken.load(Relaxed), n_dropped.load(Relaxed)), (0, 0));
    // Elsewhere, as it would not come back if it waited for itself.
    let dropped = tokio::task::spawn_blocking(|| drop(calls));
    within("the drop", dropped).await.expect("no panic");
    assert_eq!(n_dropped.load(Relaxed), n_calls, "no waker is kept");
    n_woken.load(Relaxed)
}

#[procession::test]
async fn a_call_that_is_dropped_wakes_nobody_and_keeps_no_waker() {
    let (at, go) = (Marker::new(), Marker::new());
    let latest = within("spawn", Latest::spawn()).await.expect("an actor");
    within("seen", latest.seen()).await.expect("it is up");
    let (call, sender) = (latest.hold(at.clone(), go.clone()), latest.clone());
    let n_woken = drop_unanswered(vec![call], move || drop(sender.push(1).try_tell())).await;
    assert_eq!(n_woken, 0);
    go.reach();
    within("what was seen", latest.seen()).await.expect("an answer");
}

#[procession::test]
async fn calls_that_are_dropped_while_they_wait_at_their_sender_keep_no_waker() {
    let (latest, go) = held().await;
    let (calls, sender) = ((0..3).map(|_| latest.push(0)).collect(), latest.clone());
    // One or two wait. What is sent meanwhile takes the places of others, which are woken for that.
    drop_unanswered(calls, move || drop(sender.push(1).try_tell())).await;
    go.reach();
    within("what was seen", latest.seen()).await.expect("an answer");
}

#[procession::test]
async fn dead_letters_are_counted_beyond_those_that_are_listed() {
    let (latest, go) = held().await;
    for n in 0..250 {
        within("a tell", latest.push(n).tell())
            .await
            .expect("always accepted");
    }
    go.reach();
    let seen = within("what was seen", latest.seen()).await.expect("an answer");
    let listed = within("dead letters", latest.dead_letters())
        .await
        .expect("a list");
    let counted = within("their number", latest.dead_letter_count()).await;
    assert_eq!((listed.len(), counted), (100, Ok(250 - seen.len() as u64)));
}

#[procession::test]
async fn a_call_that_gives_way_to_newer_ones_ends_as_full() {
    let (latest, go) = held().await;
    let mut pushes = pin!(join_all((0..20).map(|n| latest.push(n).into_future())));
    assert!(poll_immediate(&mut pushes).await.is_none());
    go.reach();
    let ends = within("the calls", pushes).await;
    assert_eq!(ends.last(), Some(&Ok(())), "{ends:?}");
    let handled = (0..20).filter(|n| ends[*n as usize].is_ok()).collect::<Vec<_>>();
    assert!(handled.len() <= 4, "{ends:?}");
    for end in ends.iter().filter(|end| end.is_err()) {
        assert_eq!(*end, Err(CallError::Full));
    }
    assert_eq!(within("what was seen", latest.seen()).await, Ok(handled));
    let dead = within("dead letters", latest.dead_letters()).await;
    assert_eq!(dead.expect("a list"), [], "their callers have heard");
}

#[derive(Default)]
struct Patient(Vec<u64>);

#[actor(mailbox = 4, overflow = "wait")]
impl Patient {
    fn hold(&mut self, at: Marker, until: Marker) {
        at.reach();
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || until.count() > 0);
    }
    fn push(&mut self, n: u64) {
        self.0.push(n);
    }
    fn seen(&self) -> Vec<u64> {
        self.0.clone()
    }
}

#[procession::test]
async fn a_call_to_a_mailbox_that_waits_waits_for_room_within_its_deadline() {
    let (at, go) = (Marker::new(), Marker::new());
    let patient = within("spawn", Patient::spawn()).await.expect("an actor");
    within("a tell", patient.hold(at.clone(), go.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let mut sent = 0;
    while patient.push(sent).try_tell().is_ok() {
        sent += 1;
        assert!(sent <= 4, "more than the mailbox holds");
    }
    let late = patient.push(98).timeout(Duration::from_millis(50));
    assert_eq!(within("a late call", late).await, Err(CallError::Timeout));
    let late = patient.push(99).timeout(Duration::from_millis(50)).tell();
    assert_eq!(within("a late tell", late).await, Err(CallError::Timeout));
    let mut waits = pin!(join_all((sent..20).map(|n| patient.push(n).into_future())));
    assert!(poll_immediate(&mut waits).await.is_none());
    go.reach();
    let ends = within("the calls", waits).await;
    assert!(ends.iter().all(Result::is_ok), "{ends:?}");
    let seen = within("what was seen", patient.seen()).await;
    assert_eq!(seen, Ok((0..20).collect()));
}

#[derive(Default)]
struct Strict(Vec<u64>);

#[actor(mailbox = 4, overflow = "reject")]
impl Strict {
    fn hold(&mut self, at: Marker, until: Marker) {
        at.reach();
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || until.count() > 0);
    }
    fn push(&mut self, n: u64) {
        self.0.push(n);
    }
    fn seen(&self) -> Vec<u64> {
        self.0.clone()
    }
}

#[procession::test]
async fn a_mailbox_whose_attribute_says_so_rejects_calls_and_tells() {
    let (at, go) = (Marker::new(), Marker::new());
    let strict = within("spawn", Strict::spawn()).await.expect("an actor");
    let hold = strict.hold(at.clone(), go.clone());
    let hold = tokio::spawn(hold.into_future());
    at.reached(1).await;
    let mut sent = 0;
    while within("a tell", strict.push(sent).tell()).await.is_ok() {
        sent += 1;
        assert!(sent <= 4, "more than the mailbox holds");
    }
    let refused = within("a tell", strict.push(98).tell()).await;
    assert_eq!(refused, Err(CallError::Full));
    let refused = within("a call", strict.push(99)).await;
    assert_eq!(refused, Err(CallError::Full));
    go.reach();
    within("what held it", hold)
        .await
        .expect("a task")
        .expect("an answer");
    // What was accepted goes before this, once there is room for it.
    let seen = loop {
        match within("what was seen", strict.seen()).await {
            Err(CallError::Full) => tokio::task::yield_now().await,
            seen => break seen,
        }
    };
    assert_eq!(seen, Ok((0..sent).collect()));
}
