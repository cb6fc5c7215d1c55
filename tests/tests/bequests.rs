//! What is left where one side ends: messages of a sender that is no more, and those that a receiver had begun.

use futures::future::poll_immediate;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{Backoff, DeadCause, DeadLetter, KillCause};
use std::pin::pin;
use std::time::Duration;
use tests::{Fault, Journal, Marker, within};

/// Writes down what it handles, when it is let.
struct Scribe {
    journal: Journal,
    peer: Option<ScribeRef>,
}

#[actor]
impl Scribe {
    #[init]
    fn new(journal: Journal) -> Self {
        Scribe { journal, peer: None }
    }
    fn meet(&mut self, peer: ScribeRef) {
        self.peer = Some(peer);
    }
    fn ready(&self) {}
    fn write(&mut self, n: u64) {
        self.journal.write(n);
    }
    #[idempotent]
    fn note(&mut self, n: u64) {
        self.journal.write(n);
    }
    /// Keeps others from beginning, and the process from nothing else.
    async fn hold(&mut self, at: Marker, until: Marker) {
        if at.reach() == 0 {
            until.reached(1).await;
        }
    }
    async fn linger(&self, at: Marker) {
        at.reach();
        std::future::pending::<()>().await;
    }
    #[idempotent]
    async fn linger_once(&self, at: Marker) {
        if at.reach() == 0 {
            std::future::pending::<()>().await;
        }
    }
    /// Kills two processes, and waits in the third.
    #[idempotent(retries = 5)]
    async fn kill_two(&self, at: Marker) {
        if at.reach() < 2 {
            std::process::abort();
        }
        std::future::pending::<()>().await;
    }
    fn spin(&self, at: Marker) {
        at.reach();
        loop {
            std::hint::spin_loop();
        }
    }
    /// Has its peer write to it, and call what cannot run beside this.
    async fn call_round(&mut self, at: Marker) {
        if at.count() == 0 {
            let peer = self.peer.clone().expect("a peer");
            peer.come_round(at).await.expect("an answer");
        }
    }
    async fn come_round(&self, at: Marker) {
        let peer = self.peer.as_ref().expect("a peer");
        peer.write(7).tell().await.expect("accepted");
        let refused = peer.ready().await;
        assert!(matches!(refused, Err(CallError::Cycle { .. })), "{refused:?}");
        at.reach();
        std::future::pending::<()>().await;
    }
}

async fn scribe(journal: &Journal) -> ScribeRef {
    let spec = Scribe::spec(journal.clone())
        .intensity(10_000, Duration::from_secs(1))
        .backoff(Backoff::none());
    within("spawn", spec.spawn()).await.expect("an actor")
}

async fn kill_9(scribe: &ScribeRef) {
    let pid = within("pid", scribe.pid()).await.expect("it").expect("a pid");
    kill(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("a signal to a process that lives");
}

async fn dead(scribe: &ScribeRef) -> Vec<DeadLetter> {
    within("dead letters", scribe.dead_letters())
        .await
        .expect("a list")
}

async fn in_flight(scribe: &ScribeRef) -> u64 {
    within("a count", scribe.in_flight()).await.expect("it")
}

/// What a task says before it ends.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Say {
    Writes(u64),
    Notes(u64),
    Linger,
    LingerOnce,
    KillTwo,
}

#[task]
async fn say(scribe: ScribeRef, what: Say, at: Marker) -> procession::Result<()> {
    match what {
        Say::Writes(n) => {
            for n in 0..n {
                scribe.write(n).tell().await?;
            }
        }
        Say::Notes(n) => {
            for n in 0..n {
                scribe.note(n).tell().await?;
            }
        }
        Say::Linger => scribe.linger(at).tell().await?,
        Say::LingerOnce => scribe.linger_once(at).tell().await?,
        Say::KillTwo => {
            scribe.kill_two(at.clone()).tell().await?;
            at.reached(3).await;
        }
    }
    Ok(())
}

/// The same from a process that is gone when this returns.
async fn said(scribe: &ScribeRef, what: Say, at: &Marker) {
    let sender = Process::spawn(say, (scribe.clone(), what, at.clone()));
    let sender = within("spawn", sender).await.expect("a task");
    within("its end", sender.join()).await.expect("all was accepted");
}

#[procession::test]
async fn a_count_of_what_is_in_flight_does_not_make_what_waits_before_it_begun() {
    let (journal, at, go) = (Journal::new(), Marker::new(), Marker::new());
    let scribe = scribe(&journal).await;
    within("a tell", scribe.hold(at.clone(), go.clone()).tell())
        .await
        .expect("accepted");
    for n in 0..3 {
        within("a tell", scribe.write(n).tell()).await.expect("accepted");
    }
    let mut call = pin!(scribe.ready().into_future());
    assert!(poll_immediate(&mut call).await.is_none());
    assert_eq!(in_flight(&scribe).await, 5);
    at.reached(1).await;
    kill_9(&scribe).await;
    assert_eq!(within("the call", call).await, Ok(()));
    assert_eq!(journal.read(), [0, 1, 2]);
}

#[procession::test]
async fn a_call_that_is_refused_as_a_cycle_does_not_make_what_waits_before_it_begun() {
    let (journal, at) = (Journal::new(), Marker::new());
    let (first, second) = (scribe(&journal).await, scribe(&journal).await);
    within("meet", first.meet(second.clone()))
        .await
        .expect("an answer");
    within("meet", second.meet(first.clone()))
        .await
        .expect("an answer");
    within("a tell", first.call_round(at.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    kill_9(&first).await;
    within("the message", journal.reached(1)).await;
    assert_eq!(journal.read(), [7]);
}

#[procession::test]
async fn a_one_way_message_that_dies_long_after_it_began_is_a_dead_letter() {
    let (journal, at) = (Journal::new(), Marker::new());
    let scribe = scribe(&journal).await;
    within("a tell", scribe.linger(at.clone()).tell())
        .await
        .expect("accepted");
    // Its answer tells the sender that all before it had begun.
    within("a call", scribe.ready()).await.expect("an answer");
    kill_9(&scribe).await;
    within("a later call", scribe.ready()).await.expect("an answer");
    let dead = dead(&scribe).await;
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!(letter.method, "linger");
    assert!(matches!(&letter.cause, DeadCause::Died(reason) if Fault::Kill.is_reason(reason)));
}

#[procession::test]
async fn a_message_that_dies_after_its_sender_has_ended_is_a_dead_letter() {
    let (journal, at) = (Journal::new(), Marker::new());
    let scribe = scribe(&journal).await;
    said(&scribe, Say::Linger, &at).await;
    at.reached(1).await;
    kill_9(&scribe).await;
    within("a later call", scribe.ready()).await.expect("an answer");
    let dead = dead(&scribe).await;
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!(letter.method, "linger");
    assert_eq!(at.count(), 1);
}

#[procession::test]
async fn an_idempotent_message_runs_again_though_its_sender_has_ended() {
    let (journal, at) = (Journal::new(), Marker::new());
    let scribe = scribe(&journal).await;
    said(&scribe, Say::LingerOnce, &at).await;
    at.reached(1).await;
    kill_9(&scribe).await;
    at.reached(2).await;
    within("a later call", scribe.ready()).await.expect("an answer");
    assert_eq!((at.count(), dead(&scribe).await), (2, vec![]));
}

#[procession::test]
async fn idempotent_messages_are_handled_after_their_sender_has_ended() {
    let (journal, at, go) = (Journal::new(), Marker::new(), Marker::new());
    let scribe = scribe(&journal).await;
    within("a tell", scribe.hold(at.clone(), go.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    said(&scribe, Say::Notes(20), &at).await;
    // What was sent over another link is read in its own time.
    let all_read = async { while in_flight(&scribe).await != 21 {} };
    within("all that was sent is read", all_read).await;
    // By now the receiver sees that the link is closed.
    assert_eq!(in_flight(&scribe).await, 21);
    go.reach();
    within("all of them", journal.reached(20)).await;
    assert_eq!(journal.read(), (0..20).collect::<Vec<_>>());
}

#[procession::test]
async fn the_deaths_of_a_message_are_counted_beyond_the_end_of_its_sender() {
    let at = Marker::new();
    let scribe = scribe(&Journal::new()).await;
    said(&scribe, Say::KillTwo, &at).await;
    kill_9(&scribe).await;
    let aside = async {
        loop {
            let dead = dead(&scribe).await;
            if !dead.is_empty() {
                break dead;
            }
        }
    };
    let aside = within("a dead letter", aside).await;
    assert_eq!((aside.len(), aside[0].method.as_str()), (1, "kill_two"));
    let cause = &aside[0].cause;
    assert!(
        matches!(cause, DeadCause::Poisonous { deaths: 3, .. }),
        "{cause:?}"
    );
    within("a call", scribe.ready()).await.expect("an answer");
    assert_eq!(at.count(), 3);
}

/// Knows the actor before it is told to stop.
#[task]
async fn say_late(scribe: ScribeRef, n: u64, at: Marker, go: Marker) -> procession::Result<()> {
    scribe.in_flight().await?;
    at.reach();
    go.reached(1).await;
    for n in 0..n {
        scribe.write(n).tell().await?;
    }
    Ok(())
}

#[procession::test]
async fn what_comes_too_late_for_a_receiver_that_stops_outlives_its_sender() {
    let (journal, at, stopped) = (Journal::new(), Marker::new(), Marker::new());
    let (knows, go) = (Marker::new(), Marker::new());
    let scribe = scribe(&journal).await;
    within("a tell", scribe.hold(at.clone(), stopped.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let sender = Process::spawn(say_late, (scribe.clone(), 20, knows.clone(), go.clone()));
    let sender = within("spawn", sender).await.expect("a task");
    knows.reached(1).await;
    let restart = tokio::spawn({
        let scribe = scribe.clone();
        async move { scribe.restart().await }
    });
    // Once it stops it answers no more.
    let probe = || tokio::time::timeout(Duration::from_millis(200), scribe.in_flight());
    while probe().await.is_ok() {}
    go.reach();
    within("the sender's end", sender.join())
        .await
        .expect("all was accepted");
    stopped.reach();
    within("the restart", restart)
        .await
        .expect("its end")
        .expect("a restart");
    within("all of it", journal.reached(20)).await;
    assert_eq!(journal.read(), (0..20).collect::<Vec<_>>());
}

#[derive(Default)]
struct Latest(Vec<u64>);

#[actor(mailbox = 8, overflow = "drop_oldest")]
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

#[task]
async fn push(latest: LatestRef, n: u64) -> procession::Result<()> {
    for n in 0..n {
        latest.push(n).tell().await?;
    }
    Ok(())
}

#[procession::test]
async fn what_waits_at_a_sender_for_room_outlives_its_end() {
    let (at, go) = (Marker::new(), Marker::new());
    let latest = within("spawn", Latest::spawn()).await.expect("an actor");
    within("a tell", latest.hold(at.clone(), go.clone()).tell())
        .await
        .expect("accepted");
    at.reached(1).await;
    let sender = Process::spawn(push, (latest.clone(), 8));
    let sender = within("spawn", sender).await.expect("a task");
    within("its end", sender.join()).await.expect("all was accepted");
    go.reach();
    let mut seen = Vec::new();
    while seen.len() < 8 {
        seen = within("what was seen", latest.seen()).await.expect("an answer");
    }
    assert_eq!(seen, (0..8).collect::<Vec<_>>());
}

#[procession::test]
async fn a_deadline_kills_whatever_else_runs_there() {
    let (journal, at, spins) = (Journal::new(), Marker::new(), Marker::new());
    let scribe = scribe(&journal).await;
    let mut exits = scribe.monitor().await.expect("a monitor");
    for _ in 0..100 {
        within("a tell", scribe.linger(at.clone()).tell())
            .await
            .expect("accepted");
    }
    at.reached(100).await;
    let spin = scribe.spin(spins.clone()).timeout(Duration::from_secs(1));
    let spin = spin.kill_after(Duration::from_millis(10));
    assert_eq!(within("the call", spin).await, Err(CallError::Timeout));
    let exit = within("its end", futures::StreamExt::next(&mut exits))
        .await
        .expect("an end");
    assert_eq!(exit.reason, ExitReason::Killed(KillCause::Deadline));
    assert_eq!(dead(&scribe).await.len(), 100);
}
