//! Every call ends: by its deadline, through every hop; when it is dropped; when it would wait for itself; when it holds up
//! its process.

use futures::future::{join, join_all, maybe_done, poll_immediate};
use procession::KillCause;
use procession::prelude::*;
use std::pin::pin;
use std::time::{Duration, Instant};
use tests::{Journal, Marker, until, within};

/// Calls others, and is called by them.
struct Caller {
    journal: Journal,
    peer: Option<CallerRef>,
}

#[actor]
impl Caller {
    #[init]
    fn new(journal: Journal) -> Self {
        Caller { journal, peer: None }
    }
    fn meet(&mut self, peer: CallerRef) {
        self.peer = Some(peer);
    }
    fn get(&self) -> u64 {
        7
    }
    fn set(&mut self) -> u64 {
        8
    }
    fn write(&mut self, n: u64) {
        self.journal.write(n);
    }
    /// Holds the process up for a while, then has its peer write, as a call and as a message that nobody waits for.
    async fn write_late(&self, at: Marker, go_on: Marker) {
        let peer = self.peer.as_ref().expect("a peer");
        at.reach();
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || go_on.count() > 0);
        // In one go: at the next await this is cancelled.
        let mut call = pin!(peer.write(1).into_future());
        let called = poll_immediate(&mut call).await;
        assert!(
            matches!(called, None | Some(Err(CallError::Timeout))),
            "{called:?}"
        );
        let told = poll_immediate(peer.write(2).tell()).await;
        assert_eq!(told, Some(Ok(())));
    }
    /// Lets others come, then holds the process up.
    async fn hold_up(&mut self, queued: Marker, at: Marker, go_on: Marker) {
        queued.reached(1).await;
        at.reach();
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || go_on.count() > 0);
    }
    async fn linger(&self, at: Marker) {
        let _gone = Gone(self.journal.clone());
        at.reach();
        std::future::pending::<()>().await;
    }
    /// Passes a call on to the next one, and that to the one behind it.
    async fn linger_beyond(&self, hops: u64, at: Marker) -> Result<(), CallError> {
        let _gone = Gone(self.journal.clone());
        let peer = self.peer.as_ref().expect("a peer");
        match hops {
            0 => peer.linger(at).await,
            _ => match peer.linger_beyond(hops - 1, at).await {
                Err(CallError::Failed(error)) => Err(error),
                Err(_) => Err(CallError::Timeout),
                Ok(()) => Ok(()),
            },
        }
    }
    fn spin(&self, at: Marker) {
        at.reach();
        loop {
            std::hint::spin_loop();
        }
    }
    /// Has its peer call back what does not run beside this.
    async fn call_round(&mut self) -> Result<u64, CallError> {
        self.peer
            .as_ref()
            .expect("a peer")
            .call_back()
            .await
            .map_err(flat)
    }
    async fn call_back(&self) -> Result<u64, CallError> {
        self.peer.as_ref().expect("a peer").set().await
    }
    /// Has its peer call back what may run beside this.
    async fn look_round(&self) -> Result<u64, CallError> {
        self.peer
            .as_ref()
            .expect("a peer")
            .look_back()
            .await
            .map_err(flat)
    }
    async fn look_back(&self) -> Result<u64, CallError> {
        self.peer.as_ref().expect("a peer").get().await
    }
    /// Holds the actor up until it dies; in its next life calls that one.
    #[idempotent]
    async fn hold_then_call(&mut self, peer: CallerRef, held: Marker) -> Result<u64, CallError> {
        if held.reach() == 0 {
            std::future::pending::<()>().await;
        }
        peer.set().await
    }
    /// Dies once whoever called it has waited for a while; in its next life calls that one.
    #[idempotent]
    async fn die_then_call(&self, peer: CallerRef, at: Marker) -> Result<u64, CallError> {
        if at.reach() < 2 {
            let late = peer.linger(at).timeout(Duration::from_millis(500)).await;
            std::process::exit(i32::from(late == Err(CallError::Timeout)));
        }
        peer.set().await
    }
    /// Has its peer do that.
    async fn pass_on_twice(&mut self, peer: CallerRef, at: Marker) -> Result<u64, CallError> {
        let next = self.peer.as_ref().expect("a peer");
        next.die_then_call(peer, at).await.map_err(flat_or_cycle)
    }
    /// Has its peer cross others.
    async fn pass_on(&mut self, at: Marker, everybody: u64) -> Result<u64, CallError> {
        let peer = self.peer.as_ref().expect("a peer");
        peer.cross(at, everybody).await.map_err(flat_or_cycle)
    }
    /// Waits until everybody is there, then calls its peer, which does the same.
    async fn cross(&mut self, at: Marker, everybody: u64) -> Result<u64, CallError> {
        at.reach();
        at.reached(everybody).await;
        self.peer.as_ref().expect("a peer").set().await
    }
}

/// Says that it is dropped.
struct Gone(Journal);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.write(0);
    }
}

fn flat(error: CallError<CallError>) -> CallError {
    match error {
        CallError::Failed(error) => error,
        CallError::Timeout => CallError::Timeout,
        CallError::Cycle { path, .. } => panic!("a cycle that was found one call too late: {path:?}"),
        other => panic!("{other}"),
    }
}

fn flat_or_cycle(error: CallError<CallError>) -> CallError {
    match error {
        CallError::Failed(error) => error,
        CallError::Cycle { path, .. } => panic!("the call that runs was ended: {path:?}"),
        other => flat(other),
    }
}

/// So many, each the peer of the one before it, and the first that of the last.
async fn circle(journal: &Journal, n: usize) -> Vec<CallerRef> {
    let spawns = (0..n).map(|i| {
        Caller::spec(journal.clone())
            .name(format!("c{i}"))
            .spawn()
            .into_future()
    });
    let all: Vec<_> = within("spawns", join_all(spawns))
        .await
        .into_iter()
        .map(|spawned| spawned.expect("an actor"))
        .collect();
    for (i, caller) in all.iter().enumerate() {
        let next = all[(i + 1) % n].clone();
        within("meet", caller.meet(next)).await.expect("an answer");
    }
    all
}

#[procession::test]
async fn a_deadline_ends_the_work_in_every_process_that_it_came_to() {
    let (journal, at) = (Journal::new(), Marker::new());
    let circle = circle(&journal, 4).await;
    let call = circle[0]
        .linger_beyond(2, at.clone())
        .timeout(Duration::from_secs(3));
    assert_eq!(within("a call", call).await, Err(CallError::Timeout));
    assert_eq!(at.count(), 1);
    within("every one of them", journal.reached(4)).await;
    for caller in &circle {
        assert_eq!(within("a count", caller.in_flight()).await.expect("it"), 0);
    }
}

#[procession::test]
async fn a_call_without_any_time_ends_as_a_timeout_and_its_method_is_never_run() {
    let journal = Journal::new();
    let circle = circle(&journal, 1).await;
    let pid = within("pid", circle[0].pid()).await.expect("it").expect("a pid");
    for n in 0..100 {
        // Over a connection that is to be made, and over one that is there.
        for caller in [&CallerRef::named("c0"), &circle[0]] {
            let call = caller.write(n).timeout(Duration::ZERO);
            assert_eq!(within("a call", call).await, Err(CallError::Timeout));
            let call = caller.write(n).timeout(Duration::ZERO);
            let call = call.kill_after(Duration::ZERO);
            assert_eq!(within("a call", call).await, Err(CallError::Timeout));
        }
    }
    assert_eq!(within("a later call", circle[0].get()).await, Ok(7));
    assert_eq!(journal.read(), [0; 0]);
    let now = within("pid", circle[0].pid()).await.expect("it");
    assert_eq!(now, Some(pid), "it was killed for what it did not run");
}

#[procession::test]
async fn a_call_with_all_the_time_in_the_world_works() {
    let (journal, at) = (Journal::new(), Marker::new());
    let circle = circle(&journal, 2).await;
    let set = circle[0].set().timeout(Duration::MAX);
    assert_eq!(within("a call", set).await, Ok(8));
    let set = circle[0].set().timeout(Duration::MAX).kill_after(Duration::MAX);
    assert_eq!(within("a call", set).await, Ok(8));
    let round = circle[0].look_round().timeout(Duration::MAX);
    assert_eq!(within("a round", round).await, Ok(7));
    let tell = circle[0].write(0).timeout(Duration::MAX).tell();
    assert_eq!(within("a tell", tell).await, Ok(()));
    // The grace alone is endless: the deadline is not.
    let linger = circle[0].linger(at.clone()).timeout(Duration::from_millis(20));
    let linger = linger.kill_after(Duration::MAX);
    assert_eq!(within("a call", linger).await, Err(CallError::Timeout));
    assert_eq!(within("a later call", circle[0].get()).await, Ok(7));
}

#[procession::test]
async fn a_call_that_is_made_after_the_deadline_of_its_caller_is_never_run() {
    let journal = Journal::new();
    let circle = circle(&journal, 2).await;
    for round in 1..=2 {
        // Their connection is there.
        assert_eq!(within("a round", circle[0].look_round()).await, Ok(7));
        let (at, go_on) = (Marker::new(), Marker::new());
        let late = circle[0].write_late(at.clone(), go_on.clone());
        let late = late.timeout(Duration::from_secs(1));
        assert_eq!(within("a late call", late).await, Err(CallError::Timeout));
        at.reached(1).await;
        go_on.reach();
        within("what it told", journal.reached(round)).await;
    }
    assert_eq!(journal.read(), [2, 2]);
}

#[procession::test]
async fn a_call_that_is_dropped_ends_the_work_in_every_process_that_it_came_to() {
    let (journal, at) = (Journal::new(), Marker::new());
    let circle = circle(&journal, 4).await;
    {
        let mut call = pin!(circle[0].linger_beyond(2, at.clone()).into_future());
        assert!(poll_immediate(&mut call).await.is_none());
        let mut reached = pin!(at.reached(1));
        futures::future::select(&mut call, &mut reached).await;
        assert_eq!(journal.read().len(), 0);
    }
    within("every one of them", journal.reached(4)).await;
}

#[procession::test]
async fn ten_thousand_calls_that_are_dropped_at_once_leave_nothing_behind() {
    let (journal, at) = (Journal::new(), Marker::new());
    let circle = circle(&journal, 1).await;
    let n = 10_000;
    let mut calls: Vec<_> = (0..n)
        .map(|_| Box::pin(circle[0].linger(at.clone()).into_future()))
        .collect();
    for call in &mut calls {
        assert!(poll_immediate(call).await.is_none());
    }
    // As many as the mailbox and the actor take have begun.
    at.reached(1000).await;
    drop(calls);
    let mut count = 1;
    while count > 0 {
        count = within("a count", circle[0].in_flight()).await.expect("it");
    }
    assert_eq!(within("a later call", circle[0].get()).await, Ok(7));
    until("all that began has gone", || {
        journal.read().len() as u64 == at.count()
    })
    .await;
}

#[procession::test]
async fn a_call_whose_deadline_passes_as_it_waits_for_its_turn_is_never_run() {
    let (journal, queued, at, go_on) = (Journal::new(), Marker::new(), Marker::new(), Marker::new());
    let circle = circle(&journal, 1).await;
    let mut first = pin!(
        circle[0]
            .hold_up(queued.clone(), at.clone(), go_on.clone())
            .into_future()
    );
    assert!(poll_immediate(&mut first).await.is_none());
    let late = circle[0].write(1).timeout(Duration::from_millis(500));
    let mut late = pin!(late.into_future());
    assert!(poll_immediate(&mut late).await.is_none());
    let all_read = async { while circle[0].in_flight().await != Ok(2) {} };
    within("both are read", all_read).await;
    queued.reach();
    at.reached(1).await;
    assert_eq!(within("the late one", late).await, Err(CallError::Timeout));
    go_on.reach();
    within("the first", first).await.expect("an answer");
    assert_eq!(within("a later call", circle[0].get()).await, Ok(7));
    assert_eq!(journal.read(), []);
}

/// Is waited for by what it calls, and by nobody else.
#[task]
async fn lingers(caller: CallerRef, told: Marker, called: Marker) -> procession::Result<()> {
    caller.linger(told).tell().await?;
    caller.linger(called).await?;
    Ok(())
}

#[procession::test]
async fn the_calls_of_a_sender_that_was_killed_end_and_its_messages_go_on() {
    let (journal, told, called) = (Journal::new(), Marker::new(), Marker::new());
    let circle = circle(&journal, 1).await;
    let sender = Process::spawn(lingers, (circle[0].clone(), told.clone(), called.clone()));
    let sender = within("spawn", sender).await.expect("a task");
    told.reached(1).await;
    called.reached(1).await;
    assert_eq!(within("a count", circle[0].in_flight()).await, Ok(2));
    within("its end", sender.kill()).await.expect("it");
    until("the call has gone", || journal.read().len() == 1).await;
    assert_eq!(within("a count", circle[0].in_flight()).await, Ok(1));
    within("a death", circle[0].kill()).await.expect("it");
}

#[procession::test]
async fn a_call_that_is_not_polled_keeps_no_other_from_its_actor() {
    let circle = circle(&Journal::new(), 1).await;
    let named = CallerRef::named("c0");
    // It begins to connect, and is left alone. On a slow machine it may come to its end at once.
    let mut first = pin!(maybe_done(named.set().into_future()));
    poll_immediate(&mut first).await;
    assert_eq!(within("a second call", named.get()).await, Ok(7));
    within("a death", circle[0].kill()).await.expect("it");
    let mut again = pin!(maybe_done(named.set().into_future()));
    poll_immediate(&mut again).await;
    assert_eq!(within("a third call", named.get()).await, Ok(7));
    within("the first call", first.as_mut()).await;
    assert!(first.take_output().is_some_and(|set| set.is_ok()));
    within("the one in between", again.as_mut()).await;
    assert_eq!(again.take_output(), Some(Ok(8)));
}

#[procession::test]
async fn work_that_does_not_yield_is_killed_after_its_grace_and_what_waited_behind_it_goes_on() {
    let (journal, at) = (Journal::new(), Marker::new());
    let circle = circle(&journal, 1).await;
    let mut exits = circle[0].monitor().await.expect("a monitor");
    let begin = Instant::now();
    let spin = circle[0].spin(at.clone());
    let spin = spin
        .timeout(Duration::from_secs(1))
        .kill_after(Duration::from_millis(100));
    assert_eq!(within("the call", spin).await, Err(CallError::Timeout));
    assert_eq!(within("a call behind it", circle[0].get()).await, Ok(7));
    assert!(begin.elapsed() >= Duration::from_millis(1100), "it had its grace");
    assert_eq!(at.count(), 1);
    let exit = within("its end", futures::StreamExt::next(&mut exits))
        .await
        .expect("an end");
    assert_eq!(exit.reason, ExitReason::Killed(KillCause::Deadline));
}

#[procession::test]
async fn work_that_does_not_yield_is_killed_at_its_deadline_where_it_has_no_grace() {
    let circle = circle(&Journal::new(), 1).await;
    let mut exits = circle[0].monitor().await.expect("a monitor");
    let at = Marker::new();
    let spin = circle[0].spin(at.clone()).timeout(Duration::from_secs(1));
    let spin = spin.kill_after(Duration::ZERO);
    assert_eq!(within("the call", spin).await, Err(CallError::Timeout));
    let exit = within("its end", futures::StreamExt::next(&mut exits)).await;
    let reason = exit.expect("an end").reason;
    assert_eq!(reason, ExitReason::Killed(KillCause::Deadline));
    assert_eq!(within("a later call", circle[0].get()).await, Ok(7));
    assert_eq!(at.count(), 1);
}

#[procession::test]
async fn work_that_yields_is_not_killed() {
    let (journal, at) = (Journal::new(), Marker::new());
    let circle = circle(&journal, 1).await;
    let pid = circle[0].pid().await.expect("it");
    let grace = Duration::from_millis(500);
    let linger = circle[0].linger(at.clone()).timeout(Duration::from_secs(2));
    assert_eq!(
        within("the call", linger.kill_after(grace)).await,
        Err(CallError::Timeout)
    );
    within("its end", journal.reached(1)).await;
    // The graces are counted by one clock: this one ends after the first.
    let other = within("spawn", Caller::spawn(Journal::new()))
        .await
        .expect("an actor");
    let mut exits = other.monitor().await.expect("a monitor");
    let spins = Marker::new();
    let spin = other.spin(spins.clone()).timeout(Duration::from_secs(2));
    assert_eq!(
        within("the other", spin.kill_after(grace)).await,
        Err(CallError::Timeout)
    );
    within("its end", futures::StreamExt::next(&mut exits))
        .await
        .expect("an end");
    assert_eq!(circle[0].pid().await.expect("it"), pid);
}

#[procession::test]
async fn a_call_that_comes_back_to_an_actor_that_waits_for_it_names_the_path() {
    let circle = circle(&Journal::new(), 2).await;
    let begin = Instant::now();
    match within("a round", circle[0].call_round()).await {
        Err(CallError::Failed(CallError::Cycle { path, .. })) => {
            assert_eq!(path, ["c0.call_round", "c1.call_back", "c0.set"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(begin.elapsed() < Duration::from_secs(10));
    // What may run beside what waits does.
    assert_eq!(within("a round", circle[0].look_round()).await, Ok(7));
    assert_eq!(within("a later call", circle[0].set()).await, Ok(8));
}

#[procession::test]
async fn calls_that_cross_each_other_do_not_wait_for_ever() {
    for n in [2, 3, 5] {
        let circle = circle(&Journal::new(), n).await;
        let at = Marker::new();
        let calls = circle
            .iter()
            .map(|caller| caller.cross(at.clone(), n as u64).into_future());
        let ends = within("the calls", join_all(calls)).await;
        let cycles: Vec<_> = ends
            .iter()
            .filter_map(|end| match end {
                Err(CallError::Failed(CallError::Cycle { path, .. })) => Some(path),
                _ => None,
            })
            .collect();
        let [path] = cycles[..] else { panic!("{ends:?}") };
        assert_eq!(path.len(), n + 1, "{path:?}");
        assert_eq!(path.first(), path.last());
        assert_eq!(
            ends.iter().filter(|end| **end == Ok(8)).count(),
            n - 1,
            "{ends:?}"
        );
        for caller in &circle {
            within("stop", caller.stop()).await.expect("an end");
        }
    }
}

#[procession::test]
async fn calls_that_cross_behind_a_call_that_runs_do_not_wait_for_ever() {
    let circle = circle(&Journal::new(), 3).await;
    let at = Marker::new();
    let calls = [
        // This runs in the second, which calls the third, which calls the first.
        circle[0].pass_on(at.clone(), 2).into_future(),
        circle[2].cross(at.clone(), 2).into_future(),
    ];
    let begin = Instant::now();
    let ends = within("the calls", join_all(calls)).await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    let cycles = ends.iter().filter(
        |end| matches!(end, Err(CallError::Failed(CallError::Cycle { path, .. })) if path.len() == 4),
    );
    assert_eq!(cycles.count(), 1, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| **end == Ok(8)).count(), 1, "{ends:?}");
}

#[procession::test]
async fn calls_that_cross_after_a_restart_do_not_wait_for_ever() {
    // Which of the two calls the next incarnation takes first is its own affair: in most rounds they cross.
    for _ in 0..5 {
        let (journal, at, held) = (Journal::new(), Marker::new(), Marker::new());
        let circle = circle(&journal, 2).await;
        let holds = circle[1].hold_then_call(circle[0].clone(), held.clone());
        let holds = tokio::spawn(holds.into_future());
        held.reached(1).await;
        // It waits for the second, and goes on to do so for its next incarnation.
        let waits = tokio::spawn(circle[0].cross(at.clone(), 1).into_future());
        at.reached(1).await;
        // Its wait is known to the host by then, or becomes so afterwards: both have to do.
        within("a moment", circle[1].in_flight()).await.expect("a count");
        let begin = Instant::now();
        within("a death", circle[1].kill()).await.expect("it");
        let ends = within("the calls", join(holds, waits)).await;
        let ends = [ends.0.expect("an end"), ends.1.expect("an end")];
        assert!(begin.elapsed() < Duration::from_secs(10), "{ends:?}");
        assert!(ends.contains(&Ok(8)), "{ends:?}");
        for caller in &circle {
            within("stop", caller.stop()).await.expect("an end");
        }
    }
}

#[procession::test]
async fn calls_that_cross_behind_one_that_runs_again_do_not_wait_for_ever() {
    let circle = circle(&Journal::new(), 3).await;
    let at = Marker::new();
    // It holds the third, and calls the first when the second lives for the second time.
    let cross = tokio::spawn(circle[2].cross(at.clone(), 3).into_future());
    at.reached(1).await;
    // It is known to wait for the second, which dies; then it waits for its next incarnation, and that for the third.
    let passed = circle[0].pass_on_twice(circle[2].clone(), at.clone());
    let begin = Instant::now();
    let ends = within("the calls", join(passed.into_future(), cross)).await;
    assert!(begin.elapsed() < Duration::from_secs(10));
    let ends = [ends.0, ends.1.expect("an end")];
    let cycles = ends.iter().filter(
        |end| matches!(end, Err(CallError::Failed(CallError::Cycle { path, .. })) if path.len() == 4),
    );
    assert_eq!(cycles.count(), 1, "{ends:?}");
    assert_eq!(ends.iter().filter(|end| **end == Ok(8)).count(), 1, "{ends:?}");
}

#[procession::test]
async fn long_waits_that_are_no_round_end_as_usual() {
    let circle = circle(&Journal::new(), 3).await;
    let at = Marker::new();
    // The first waits for the second, which waits for nobody.
    let waits = circle[0].cross(at.clone(), 2).into_future();
    let holds = circle[1].cross(at.clone(), 2).into_future();
    let late = async {
        at.reached(2).await;
    };
    let ((first, second), ()) = join(join(waits, holds), late).await;
    assert_eq!((first, second), (Ok(8), Ok(8)));
}
