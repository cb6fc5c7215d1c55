//! What callers hear when an actor dies, is stopped in its tracks or takes too long, and what is cleaned up after them.

use futures::future::{join_all, poll_immediate};
use futures::{FutureExt, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tests::deadline::{PATIENCE, blocks_until};
use tests::{Fault, Marker, proc, until, within};

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).expect("a signal to a process that lives");
}

#[derive(Default)]
struct Busy {
    handled: u64,
    running: Rc<Cell<u32>>,
    ended: Rc<Cell<u32>>,
    order: RefCell<Vec<u32>>,
    inside: Cell<bool>,
    meeting: Option<tokio::sync::Barrier>,
}

/// Counts what runs, and that its destructor did.
struct Running(Rc<Cell<u32>>, Rc<Cell<u32>>);

impl Running {
    fn of(busy: &Busy) -> Self {
        busy.running.set(busy.running.get() + 1);
        Running(busy.running.clone(), busy.ended.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
        self.1.set(self.1.get() + 1);
    }
}

#[actor]
impl Busy {
    #[init]
    fn new(meeting: usize) -> Self {
        Busy {
            meeting: Some(tokio::sync::Barrier::new(meeting.max(1))),
            ..Busy::default()
        }
    }
    fn block(&mut self, at: Marker) {
        at.reach();
        loop {
            std::thread::park();
        }
    }
    async fn wait_alone(&mut self, at: Marker) {
        at.reach();
        std::future::pending::<()>().await;
    }
    async fn wait(&self, at: Marker) {
        let _running = Running::of(self);
        at.reach();
        std::future::pending::<()>().await;
    }
    fn count(&mut self) -> u64 {
        self.handled += 1;
        self.handled
    }
    fn process(&self) -> u32 {
        std::process::id()
    }
    fn strike(&mut self, fault: Fault) {
        fault.strike();
    }
    async fn strike_in_a_moment(&mut self, fault: Fault, at: Marker) {
        // While it waits, what was answered before is handed to the kernel.
        tokio::task::yield_now().await;
        at.reached(1).await;
        fault.strike();
    }
    fn counts(&self) -> (u32, u32) {
        (self.running.get(), self.ended.get())
    }
    async fn meet(&self) {
        if let Some(meeting) = &self.meeting {
            meeting.wait().await;
        }
    }
    /// `n`, once nobody else is inside; where two were, a panic.
    async fn enter(&mut self, n: u32) -> u32 {
        assert!(!self.inside.replace(true), "two `&mut self` methods at once");
        for _ in 0..n % 3 {
            tokio::task::yield_now().await;
        }
        self.order.borrow_mut().push(n);
        self.inside.set(false);
        n
    }
    async fn look(&self, n: u32) -> bool {
        let found = self.inside.get();
        tokio::task::yield_now().await;
        self.order.borrow_mut().push(n);
        found
    }
    fn order(&self) -> Vec<u32> {
        self.order.borrow().clone()
    }
    fn swallow(&self, _bytes: Vec<u8>) {}
}

/// Calls another actor from a process of its own.
struct Between(BusyRef);

#[actor]
impl Between {
    #[init]
    fn new(busy: BusyRef) -> Self {
        Between(busy)
    }
    async fn strike(&self, fault: Fault) -> Result<(), CallError> {
        self.0.strike(fault).await
    }
    async fn block(&self, at: Marker) -> Result<(), CallError> {
        self.0.block(at).await
    }
    async fn count(&self) -> Result<u64, CallError> {
        self.0.count().await
    }
    /// Uses a ref that came with the message, and drops it.
    async fn ask(&self, other: BusyRef) -> Result<u32, CallError> {
        other.process().await
    }
    async fn hear_of(&self, other: BusyRef, listening: Marker) -> procession::Result<ExitReason> {
        let mut exits = other.monitor().await?;
        listening.reach();
        let exit = exits
            .next()
            .await
            .ok_or_else(|| procession::Error::msg("no exit"))?;
        Ok(exit.reason)
    }
}

fn died<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) -> (ExitReason, bool) {
    match outcome {
        Err(CallError::Died { reason, begun, .. }) => (reason, begun),
        other => panic!("no death but {other:?}"),
    }
}

#[procession::test]
async fn of_the_messages_that_were_sent_before_a_death_those_that_ran_had_begun_and_the_others_are_answered()
{
    for blocks in [true, false] {
        let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
        let (pid, at) = (busy.pid().await.expect("it").expect("a pid"), Marker::new());
        let first = match blocks {
            true => busy.block(at.clone()).into_future(),
            false => busy.wait_alone(at.clone()).into_future(),
        };
        let mut first = pin!(first);
        assert!(poll_immediate(&mut first).await.is_none());
        let mut rest = pin!(join_all((0..5).map(|_| busy.count().into_future())));
        assert!(poll_immediate(&mut rest).await.is_none());
        at.reached(1).await;
        signal(pid, Signal::SIGKILL);
        let (reason, begun) = died(within("the first call", first).await);
        assert!(Fault::Kill.is_reason(&reason), "{reason:?}");
        assert!(begun, "it blocks: {blocks}");
        let counts = within("the calls behind it", rest).await;
        assert_eq!(counts, [1, 2, 3, 4, 5].map(Ok), "the next incarnation has them");
        assert_eq!(within("the next call", busy.count()).await, Ok(6));
    }
}

#[procession::test]
async fn every_shared_call_that_runs_had_begun_and_an_exclusive_one_behind_them_goes_on() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let (pid, at) = (busy.pid().await.expect("it").expect("a pid"), Marker::new());
    let mut shared = pin!(join_all((0..3).map(|_| busy.wait(at.clone()).into_future())));
    assert!(poll_immediate(&mut shared).await.is_none());
    let mut alone = pin!(busy.count().into_future());
    assert!(poll_immediate(&mut alone).await.is_none());
    at.reached(3).await;
    signal(pid, Signal::SIGKILL);
    for outcome in within("the shared calls", shared).await {
        assert!(died(outcome).1);
    }
    assert_eq!(within("the exclusive call", alone).await, Ok(1));
}

#[procession::test]
async fn a_caller_in_another_process_hears_the_same() {
    for fault in Fault::ALL.into_iter().filter(|fault| fault.ends()) {
        let busy = within("spawn", Busy::spec(0).spawn()).await.expect("an actor");
        let between = within("spawn", Between::spawn(busy.clone()))
            .await
            .expect("an actor");
        let listening = Marker::new();
        let heard = between.hear_of(busy.clone(), listening.clone()).into_future();
        let heard = tokio::spawn(heard);
        listening.reached(1).await;
        match within(format!("{fault:?}"), between.strike(fault)).await {
            Err(CallError::Failed(error)) => {
                let (reason, begun) = died::<(), _>(Err(error));
                assert!(fault.is_reason(&reason), "{fault:?}: {reason:?}");
                assert!(begun, "{fault:?}");
            }
            other => panic!("{fault:?}: {other:?}"),
        }
        let reason = within("the monitor", heard)
            .await
            .expect("a task")
            .expect("a reason");
        assert!(
            fault.is_reason(&reason),
            "{fault:?}: the monitor heard {reason:?}"
        );
        assert_eq!(within("the next call", between.count()).await, Ok(1), "{fault:?}");
        within("stop", busy.stop()).await.expect("an end");
        within("stop", between.stop()).await.expect("an end");
    }
}

#[procession::test]
async fn a_caller_in_another_process_hears_what_had_begun_and_gets_the_rest_answered() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let between = within("spawn", Between::spawn(busy.clone()))
        .await
        .expect("an actor");
    let (pid, at) = (busy.pid().await.expect("it").expect("a pid"), Marker::new());
    let mut first = pin!(between.block(at.clone()).into_future());
    assert!(poll_immediate(&mut first).await.is_none());
    at.reached(1).await;
    let mut behind = pin!(between.count().into_future());
    assert!(poll_immediate(&mut behind).await.is_none());
    // It was answered by the one between only after the message above it was sent on.
    let count = tokio::spawn(
        between
            .ask(within("spawn", Busy::spawn(0)).await.expect("another"))
            .into_future(),
    );
    within("the one between", count)
        .await
        .expect("a task")
        .expect("a number");
    signal(pid, Signal::SIGKILL);
    let heard = |outcome| match outcome {
        Err(CallError::Failed(error)) => died::<u64, _>(Err(error)),
        other => panic!("{other:?}"),
    };
    let (reason, begun) = heard(within("the first call", first).await.map(|()| 0));
    assert!(Fault::Kill.is_reason(&reason) && begun, "{reason:?} {begun}");
    assert_eq!(within("the call behind it", behind).await, Ok(1));
}

#[procession::test]
async fn an_answer_that_was_sent_before_the_death_arrives() {
    for fault in Fault::ALL.into_iter().filter(|fault| fault.ends()) {
        let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
        let (pid, at) = (pid_of(&busy).await, Marker::new());
        signal(pid, Signal::SIGSTOP);
        until("it is stopped", || proc::state(pid) == Some('T')).await;
        let mut answered = pin!(busy.count().into_future());
        assert!(poll_immediate(&mut answered).await.is_none());
        let mut struck = pin!(busy.strike_in_a_moment(fault, at.clone()).into_future());
        assert!(poll_immediate(&mut struck).await.is_none());
        // The runtime of this test has one thread: its other tasks write the messages now.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        at.reach();
        signal(pid, Signal::SIGCONT);
        // Nothing on this side is read until it is dead.
        assert!(blocks_until(PATIENCE, || !proc::is_alive(pid)), "{fault:?}");
        assert_eq!(within("the answer", answered).await, Ok(1), "{fault:?}");
        let (reason, begun) = died(within("the other call", struck).await);
        assert!(fault.is_reason(&reason) && begun, "{fault:?}: {reason:?} {begun}");
    }
}

#[procession::test]
async fn an_answer_that_was_given_before_a_panic_arrives() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let answered = busy.count().into_future();
    let struck = busy.strike(Fault::Panic).into_future();
    let (answered, struck) = within("both", futures::future::join(answered, struck)).await;
    assert_eq!(answered, Ok(1));
    assert!(died(struck).1);
}

#[procession::test]
async fn shared_methods_run_beside_each_other_and_exclusive_ones_alone_and_in_order() {
    let busy = within("spawn", Busy::spawn(8)).await.expect("an actor");
    // None of them returns before the last has begun.
    within("the meeting", join_all((0..8).map(|_| busy.meet().into_future())))
        .await
        .into_iter()
        .for_each(|met| {
            met.expect("a meeting");
        });

    let mixed = (0..60).map(|n| match n % 4 {
        3 => busy
            .look(n)
            .into_future()
            .map(|found| assert_eq!(found, Ok(false)))
            .boxed(),
        _ => busy
            .enter(n)
            .into_future()
            .map(move |entered| assert_eq!(entered, Ok(n)))
            .boxed(),
    });
    within("all", join_all(mixed)).await;
    let order = within("the order", busy.order()).await.expect("the order");
    assert_eq!(order, (0..60).collect::<Vec<_>>());
}

#[procession::test]
async fn a_call_that_is_late_or_dropped_is_cancelled_and_its_destructors_run() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let at = Marker::new();
    let late = within(
        "a late call",
        busy.wait(at.clone()).timeout(Duration::from_millis(30)),
    )
    .await;
    assert_eq!(late, Err(CallError::Timeout));
    assert_eq!(within("counts", busy.counts()).await, Ok((0, at.count() as u32)));

    let before = at.count();
    let dropped = {
        let mut call = pin!(busy.wait(at.clone()).into_future());
        assert!(poll_immediate(&mut call).await.is_none());
        at.reached(before + 1).await;
        assert_eq!(within("counts", busy.counts()).await, Ok((1, before as u32)));
        before + 1
    };
    assert_eq!(within("counts", busy.counts()).await, Ok((0, dropped as u32)));

    // One that has not begun never does.
    let blocked = Marker::new();
    let mut exclusive = Box::pin(busy.wait_alone(blocked.clone()).into_future());
    assert!(poll_immediate(&mut exclusive).await.is_none());
    blocked.reached(1).await;
    let late = within(
        "a call behind it",
        busy.count().timeout(Duration::from_millis(30)),
    )
    .await;
    assert_eq!(late, Err(CallError::Timeout));
    drop(exclusive);
    assert_eq!(within("the first that counts", busy.count()).await, Ok(1));
}

#[procession::test]
async fn one_way_messages_wait_for_a_mailbox_that_is_full() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let pid = busy.pid().await.expect("it").expect("a pid");
    signal(pid, Signal::SIGSTOP);
    until("it is stopped", || proc::state(pid) == Some('T')).await;

    let body = vec![7_u8; 64 << 10];
    let resident = proc::resident_kib(std::process::id());
    let mut accepted = 0_u64;
    let mut waiting = loop {
        let mut tell = Box::pin(busy.swallow(body.clone()).tell());
        match poll_immediate(&mut tell).await {
            Some(told) => told.expect("a message that is accepted"),
            None => break tell,
        }
        accepted += 1;
        assert!(accepted < 4096, "a mailbox without bounds");
    };
    let kib = proc::resident_kib(std::process::id()).saturating_sub(resident);
    assert!(kib < 64 << 10, "{accepted} messages and {kib} KiB wait");
    assert!(poll_immediate(&mut waiting).await.is_none());

    // Small ones are counted, not weighed.
    let other = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let pid_of_other = other.pid().await.expect("it").expect("a pid");
    signal(pid_of_other, Signal::SIGSTOP);
    let mut counted = 0_u64;
    let next = loop {
        let mut tell = Box::pin(other.count().tell());
        if poll_immediate(&mut tell).await.is_none() {
            break tell;
        }
        counted += 1;
    };
    assert_eq!(counted, 1024);

    signal(pid, Signal::SIGCONT);
    signal(pid_of_other, Signal::SIGCONT);
    within("the one that waited", waiting).await.expect("room");
    within("the one that waited", next).await.expect("room");
    assert_eq!(within("a call behind all", other.count()).await, Ok(counted + 2));
}

#[procession::test]
async fn a_full_mailbox_gives_way_when_its_actor_dies() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let pid = busy.pid().await.expect("it").expect("a pid");
    signal(pid, Signal::SIGSTOP);
    until("it is stopped", || proc::state(pid) == Some('T')).await;
    let waiting = loop {
        let mut tell = Box::pin(busy.count().tell());
        if poll_immediate(&mut tell).await.is_none() {
            break tell;
        }
    };
    signal(pid, Signal::SIGKILL);
    within("the one that waited", waiting)
        .await
        .expect("a place at the next incarnation");
    within("a call", busy.process())
        .await
        .expect("the next incarnation");
}

#[procession::test]
async fn links_are_closed_with_the_last_ref_of_either_side() {
    let busy = within("spawn", Busy::spawn(0)).await.expect("an actor");
    let between = within("spawn", Between::spawn(busy.clone()))
        .await
        .expect("an actor");
    within("a first call", between.count()).await.expect("a number");
    let (server, client) = (
        pid_of(&busy).await,
        between.pid().await.expect("it").expect("a pid"),
    );
    let (of_server, of_client) = (proc::descriptors(server), proc::descriptors(client));

    for n in 0..20 {
        let other = within("spawn", Busy::spec(0).name("other").spawn())
            .await
            .expect("an actor");
        let found = within("look-up", BusyRef::lookup("other"))
            .await
            .expect("an actor");
        let answered = within("a call between children", between.ask(found))
            .await
            .expect("a pid");
        assert_eq!(answered, pid_of(&other).await, "round {n}");
        let pid = answered;
        let with_links = proc::descriptors(pid);
        // The one between dropped its ref: its link goes, ours stays.
        until("the link of the other client is gone", || {
            proc::descriptors(pid) <= with_links
        })
        .await;
        within("a call", other.process()).await.expect("a pid");
        within("stop", other.stop()).await.expect("an end");
    }
    until("the client's descriptors return", || {
        proc::descriptors(client) <= of_client
    })
    .await;
    until("the server's descriptors return", || {
        proc::descriptors(server) <= of_server
    })
    .await;
}

#[procession::test]
async fn an_actor_outlives_its_refs_and_its_idle_links_do_not() {
    let kept = within("spawn", Busy::spec(0).name("kept").spawn())
        .await
        .expect("an actor");
    let pid = pid_of(&kept).await;
    let linked = proc::descriptors(pid);
    drop(kept);
    until("the link is gone", || proc::descriptors(pid) < linked).await;
    assert!(proc::is_alive(pid));
    for _ in 0..50 {
        let again = within("look-up", BusyRef::lookup("kept"))
            .await
            .expect("an actor");
        assert_eq!(within("a call", again.process()).await, Ok(pid));
    }
    until("the links are gone", || proc::descriptors(pid) < linked).await;
    let again = BusyRef::lookup("kept").await.expect("an actor");
    within("stop", again.stop()).await.expect("an end");
}

async fn pid_of(busy: &BusyRef) -> u32 {
    within("its pid", busy.process()).await.expect("a pid")
}

#[procession::test]
async fn a_start_that_is_given_up_leaves_no_process() {
    let births = Marker::new();
    for _ in 0..5 {
        let mut spawn = pin!(Slow::spawn(births.clone()));
        assert!(poll_immediate(&mut spawn).await.is_none());
    }
    {
        let mut spawn = pin!(Slow::spawn(births.clone()));
        assert!(poll_immediate(&mut spawn).await.is_none());
        births.reached(1).await;
    }
    {
        let mut tree = pin!(
            Supervisor::new("half")
                .child(Busy::spec(0).name("first"))
                .child(Slow::spec(births.clone()).name("second"))
                .start()
        );
        assert!(poll_immediate(&mut tree).await.is_none());
        within("the first", Busy::lookup_when_up("first")).await;
    }
    {
        let mut pool = pin!(Pool::new(3));
        assert!(poll_immediate(&mut pool).await.is_none());
        while active().await == 0 {
            tokio::task::yield_now().await;
        }
    }
    {
        let mut process = pin!(Process::spawn(forever, ()));
        assert!(poll_immediate(&mut process).await.is_none());
    }
    within("their ends", async {
        while active().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn active() -> usize {
    Process::active().await.expect("a list").len()
}

impl Busy {
    async fn lookup_when_up(name: &str) {
        let found = loop {
            match BusyRef::lookup(name).await {
                Ok(found) => break found,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        found.ready().await.expect("an actor that comes up");
    }
}

#[task]
fn forever() {
    loop {
        std::thread::park();
    }
}

/// Its `init` never ends.
struct Slow;

#[actor]
impl Slow {
    #[init]
    async fn new(births: Marker) -> Self {
        births.reach();
        std::future::pending::<()>().await;
        Slow
    }
    fn hello(&self) {}
}
