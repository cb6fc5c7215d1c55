//! Every fault in every place: everybody who hears of it hears the exact reason, nothing hangs, what comes next works,
//! and nothing is left behind.

use futures::StreamExt;
use procession::prelude::*;
use procession::{ErrorKind, KillCause};
use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;
use tests::{Counts, Fault, Marker, until, within};

const SHORT: Duration = Duration::from_millis(200);

#[task]
fn struck(fault: Option<Fault>) {
    if let Some(fault) = fault {
        fault.strike();
    }
}

#[task]
async fn struck_between_awaits(fault: Fault) {
    tokio::task::yield_now().await;
    fault.strike();
    tokio::task::yield_now().await;
}

/// A value that is fine until it is written down.
#[derive(Debug, Deserialize)]
struct Cursed(Fault);

impl Serialize for Cursed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.strike();
        self.0.serialize(serializer)
    }
}

#[task]
fn struck_in_its_output(fault: Fault) -> Cursed {
    Cursed(fault)
}

#[derive(Default)]
struct Victim {
    _held: u8,
}

#[actor]
impl Victim {
    fn alone(&mut self, fault: Fault) {
        fault.strike();
    }
    async fn alone_between_awaits(&mut self, fault: Fault) {
        tokio::task::yield_now().await;
        fault.strike();
    }
    fn beside_others(&self, fault: Fault) {
        fault.strike();
    }
    async fn beside_others_between_awaits(&self, fault: Fault) {
        tokio::task::yield_now().await;
        fault.strike();
    }
    fn reply(&mut self, fault: Fault) -> Cursed {
        Cursed(fault)
    }
    async fn reply_later(&self, fault: Fault) -> Cursed {
        tokio::task::yield_now().await;
        Cursed(fault)
    }
    /// The fault comes when nothing is being handled: from a thread, once that is told to.
    fn be_struck_while_idle(&self, fault: Fault, at: Marker) {
        std::thread::spawn(move || {
            while at.count() == 0 {
                std::thread::yield_now();
            }
            fault.strike();
        });
    }
    /// The same on the process's own thread.
    fn be_struck_by_a_task_while_idle(&self, fault: Fault, at: Marker) {
        tokio::task::spawn_local(async move {
            at.reached(1).await;
            fault.strike();
        });
    }
}

/// An actor whose `init` is struck in one incarnation.
struct Unborn;

#[actor]
impl Unborn {
    #[init]
    fn new(fault: Fault, births: Marker, at: u64) -> Self {
        if births.reach() == at {
            fault.strike();
        }
        Unborn
    }
    fn hello(&self) -> u32 {
        std::process::id()
    }
}

#[derive(Default)]
struct Gate {
    is_open: tokio::sync::watch::Sender<bool>,
}

#[actor]
impl Gate {
    async fn pass(&self) {
        let _ = self.is_open.subscribe().wait_for(|is_open| *is_open).await;
    }
    fn open(&self) {
        self.is_open.send_replace(true);
    }
}

#[service]
async fn haunted(fault: Fault, births: Marker, gate: GateRef) -> procession::Result<()> {
    if births.reach() == 0 {
        gate.pass().await?;
        fault.strike();
    }
    std::future::pending::<()>().await;
    Ok(())
}

#[procession::test]
async fn every_fault_in_every_place_has_its_exact_reason_and_leaves_nothing() {
    round([Fault::Kill].into_iter()).await; // what is started once for the program is there now
    let before = Counts::now();
    round(Fault::ALL.into_iter()).await;
    before.return_to().await;
}

async fn round(faults: impl Iterator<Item = Fault>) {
    for fault in faults {
        in_a_task(fault).await;
        in_the_output_of_a_task(fault).await;
        in_an_item_of_a_pool(fault).await;
        in_a_method(fault).await;
        in_a_reply(fault).await;
        while_idle(fault).await;
        in_init(fault).await;
        in_init_after_a_restart(fault).await;
        in_a_service(fault).await;
    }
}

/// The reason, where this library has to end what would not end.
fn is_reason(fault: Fault, cause: KillCause, reason: &ExitReason) -> bool {
    match fault.ends() {
        true => fault.is_reason(reason),
        false => *reason == ExitReason::Killed(cause),
    }
}

async fn in_a_task(fault: Fault) {
    let cell = format!("{fault:?} in a task");
    let process = within(&cell, Process::spawn(struck, Some(fault)))
        .await
        .expect(&cell);
    joined(&cell, fault, process).await;
    let cell = format!("{fault:?} in an async task");
    let process = within(&cell, Process::spawn(struck_between_awaits, fault))
        .await
        .expect(&cell);
    joined(&cell, fault, process).await;

    let cell = format!("{fault:?} in a task that is told to stop");
    if !fault.ends() {
        let process = Process::builder(struck, Some(fault))
            .shutdown(SHORT)
            .spawn()
            .await
            .expect(&cell);
        within(&cell, process.terminate()).await.expect(&cell);
        let reason = within(&cell, process.wait()).await;
        assert_eq!(reason, ExitReason::Killed(KillCause::ShutdownTime), "{cell}");
    }
}

async fn in_the_output_of_a_task(fault: Fault) {
    let cell = format!("{fault:?} in the output of a task");
    let process = within(&cell, Process::spawn(struck_in_its_output, fault))
        .await
        .expect(&cell);
    joined(&cell, fault, process).await;
}

async fn joined<T: Task>(cell: &str, fault: Fault, process: Process<T>)
where
    T::Output: std::fmt::Debug,
    T::Error: std::fmt::Debug,
{
    if !fault.ends() {
        begun(cell, process.pid()).await;
        within(cell, process.kill()).await.expect(cell);
    }
    let reason = within(cell, process.wait()).await;
    assert!(is_reason(fault, KillCause::Asked, &reason), "{cell}: {reason:?}");
    assert!(!process.is_alive(), "{cell}");
    match within(cell, process.join()).await {
        Err(TaskError::Died {
            reason: joined,
            begun,
            ..
        }) => {
            assert_eq!(joined, reason, "{cell}");
            assert!(begun, "{cell}");
        }
        other => panic!("{cell}: {other:?}"),
    }
}

/// Waits until a process uses the processor: it spins.
async fn begun(cell: &str, pid: u32) {
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let user = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split_whitespace().nth(11)?.parse::<u64>().ok());
        user.unwrap_or(0)
    };
    until(format!("{cell}: it spins"), || ticks() >= 3).await;
}

async fn in_an_item_of_a_pool(fault: Fault) {
    let cell = format!("{fault:?} in an item of a pool");
    let mut builder = Pool::builder().workers(1);
    if !fault.ends() {
        builder = builder.task_timeout(SHORT);
    }
    let pool = within(&cell, builder.build()).await.expect(&cell);

    let alone = within(&cell, pool.run(struck, Some(fault))).await;
    is_blamed(&cell, fault, &alone);
    assert!(
        within(&cell, pool.run(struck, None)).await.is_ok(),
        "{cell}: the next"
    );

    // Those before it and behind it in the same chunk are untouched.
    let inputs = [None, None, Some(fault), None, Some(fault), None];
    let outcomes: Vec<_> = {
        let mapped = pool
            .map(struck, inputs)
            .chunk_size(inputs.len())
            .with_input()
            .unordered();
        within(&cell, mapped.collect()).await
    };
    assert_eq!(outcomes.len(), inputs.len(), "{cell}");
    for (input, outcome) in outcomes {
        match input {
            Some(_) => is_blamed(&cell, fault, &outcome),
            None => assert!(outcome.is_ok(), "{cell}: a neighbour came to {outcome:?}"),
        }
    }

    let cell = format!("{fault:?} in the output of an item of a pool");
    let written = within(&cell, pool.run(struck_in_its_output, fault)).await;
    is_blamed(&cell, fault, &written);
    assert!(
        within(&cell, pool.run(struck, None)).await.is_ok(),
        "{cell}: the next"
    );
}

fn is_blamed<T: std::fmt::Debug>(cell: &str, fault: Fault, outcome: &Result<T, TaskError>) {
    match outcome {
        Err(TaskError::Timeout(after)) => assert!(!fault.ends() && *after == SHORT, "{cell}: {after:?}"),
        Err(TaskError::Died { reason, begun, .. }) => {
            assert!(fault.is_reason(reason), "{cell}: {reason:?}");
            assert!(begun, "{cell}");
        }
        other => panic!("{cell}: {other:?}"),
    }
}

async fn in_a_method(fault: Fault) {
    struck_by(&format!("{fault:?} in a `&mut` method"), fault, |victim| {
        victim.alone(fault)
    })
    .await;
    struck_by(&format!("{fault:?} in an async `&mut` method"), fault, |v| {
        v.alone_between_awaits(fault)
    })
    .await;
    struck_by(&format!("{fault:?} in a `&self` method"), fault, |v| {
        v.beside_others(fault)
    })
    .await;
    struck_by(&format!("{fault:?} in an async `&self` method"), fault, |v| {
        v.beside_others_between_awaits(fault)
    })
    .await;
}

async fn in_a_reply(fault: Fault) {
    struck_by(&format!("{fault:?} in a reply"), fault, |victim| {
        victim.reply(fault)
    })
    .await;
    struck_by(&format!("{fault:?} in a later reply"), fault, |victim| {
        victim.reply_later(fault)
    })
    .await;
}

async fn struck_by<T: std::fmt::Debug + 'static>(
    cell: &str,
    fault: Fault,
    strike: impl FnOnce(&VictimRef) -> procession::Call<T>,
) {
    let victim = within(cell, Victim::spawn()).await.expect(cell);
    let pid = within(cell, victim.pid()).await.expect(cell);
    let mut exits = within(cell, victim.monitor()).await.expect(cell);
    let call = strike(&victim);

    let called = match fault.ends() {
        true => within(cell, call).await,
        false => within(cell, call.timeout(SHORT)).await,
    };
    match called {
        Err(CallError::Died { reason, begun, .. }) => {
            assert!(fault.is_reason(&reason), "{cell}: the caller heard {reason:?}");
            assert!(begun, "{cell}");
        }
        Err(CallError::Timeout) if !fault.ends() => within(cell, victim.kill()).await.expect(cell),
        other => panic!("{cell}: {other:?}"),
    }
    let exit = within(cell, exits.next()).await.expect(cell);
    assert!(
        is_reason(fault, KillCause::Asked, &exit.reason),
        "{cell}: the monitor heard {:?}",
        exit.reason
    );
    assert_eq!((Some(exit.pid), exit.last), (pid, false), "{cell}");

    // The same ref reaches the next incarnation, also before it is up.
    within(cell, victim.be_struck_while_idle(Fault::Spin, Marker::new()))
        .await
        .expect(cell);
    assert_ne!(within(cell, victim.pid()).await.expect(cell), pid, "{cell}");
    within(cell, victim.stop()).await.expect(cell);
    let exit = within(cell, exits.next()).await.expect(cell);
    assert_eq!((exit.reason, exit.last), (ExitReason::Shutdown, true), "{cell}");
    assert!(
        within(cell, exits.next()).await.is_none(),
        "{cell}: an exit after the last"
    );
}

async fn while_idle(fault: Fault) {
    let cell = format!("{fault:?} while idle");
    let victim = within(&cell, Victim::spawn()).await.expect(&cell);
    let mut exits = within(&cell, victim.monitor()).await.expect(&cell);
    let at = Marker::new();
    // Where a process is entered before `main`, only its own thread can tell that its stack ran out.
    if fault == Fault::StackOverflow {
        within(&cell, victim.be_struck_by_a_task_while_idle(fault, at.clone()))
            .await
            .expect(&cell);
    } else {
        within(&cell, victim.be_struck_while_idle(fault, at.clone()))
            .await
            .expect(&cell);
    }
    at.reach();
    // A panic ends the thread that it is on, and one that spins leaves the others free.
    if fault == Fault::Panic || !fault.ends() {
        within(&cell, victim.be_struck_while_idle(Fault::Panic, at.clone()))
            .await
            .expect(&cell);
        within(&cell, victim.kill()).await.expect(&cell);
        let exit = within(&cell, exits.next()).await.expect(&cell);
        assert_eq!(exit.reason, ExitReason::Killed(KillCause::Asked), "{cell}");
    } else {
        let exit = within(&cell, exits.next()).await.expect(&cell);
        assert!(fault.is_reason(&exit.reason), "{cell}: {:?}", exit.reason);
    }
    within(&cell, victim.be_struck_while_idle(Fault::Panic, at))
        .await
        .expect(&cell);
    within(&cell, victim.stop()).await.expect(&cell);
}

async fn in_init(fault: Fault) {
    let cell = format!("{fault:?} in `init`");
    let births = Marker::new();
    let spawned = Unborn::spec(fault, births.clone(), 0).name("unborn").spawn();
    if !fault.ends() {
        // Who no longer waits for it does not have it.
        let mut spawned = std::pin::pin!(spawned);
        let given_up = tokio::time::timeout(SHORT, &mut spawned).await;
        assert!(given_up.is_err(), "{cell}: {given_up:?}");
        return;
    }
    let error = within(&cell, spawned).await.expect_err(&cell);
    assert_eq!(error.kind(), ErrorKind::Init, "{cell}: {error}");
    assert!(error.to_string().contains(&words(fault)), "{cell}: {error}");
    // The first start decides, and the name is free again.
    let hale = within(
        &cell,
        Unborn::spec(fault, births.clone(), 0).name("unborn").spawn(),
    )
    .await
    .expect(&cell);
    assert_eq!(births.count(), 2, "{cell}");
    within(&cell, hale.stop()).await.expect(&cell);
}

/// What an error must say of a fault.
fn words(fault: Fault) -> String {
    match fault {
        Fault::Panic => "panicked at tests/src/fault.rs".to_owned(),
        Fault::Abort => "killed by SIGABRT".to_owned(),
        Fault::Exit(code) => format!("exited with code {code}"),
        Fault::Segfault => "killed by SIGSEGV".to_owned(),
        Fault::Kill => "killed by SIGKILL".to_owned(),
        Fault::Terminate => "killed by SIGTERM".to_owned(),
        Fault::StackOverflow => "overflowed its stack".to_owned(),
        Fault::Spin => "killed".to_owned(),
    }
}

async fn in_init_after_a_restart(fault: Fault) {
    let cell = format!("{fault:?} in `init` after a restart");
    let births = Marker::new();
    let spec = Unborn::spec(fault, births.clone(), 1).backoff(Backoff::none());
    let unborn = within(&cell, spec.spawn()).await.expect(&cell);
    let mut exits = within(&cell, unborn.monitor()).await.expect(&cell);
    within(&cell, unborn.kill()).await.expect(&cell);
    let exit = within(&cell, exits.next()).await.expect(&cell);
    assert_eq!(exit.reason, ExitReason::Killed(KillCause::Asked), "{cell}");
    births.reached(2).await;
    if !fault.ends() {
        within(&cell, unborn.kill()).await.expect(&cell);
    }
    let exit = within(&cell, exits.next()).await.expect(&cell);
    assert!(
        is_reason(fault, KillCause::Asked, &exit.reason),
        "{cell}: {:?}",
        exit.reason
    );
    within(&cell, unborn.hello()).await.expect(&cell);
    assert_eq!(births.count(), 3, "{cell}");
    within(&cell, unborn.stop()).await.expect(&cell);
}

async fn in_a_service(fault: Fault) {
    let cell = format!("{fault:?} in a service");
    let gate = within(&cell, Gate::spawn()).await.expect(&cell);
    let births = Marker::new();
    let spec = haunted.spec(fault, births.clone(), gate.clone()).shutdown(SHORT);
    let service = within(&cell, spec.spawn()).await.expect(&cell);
    let mut exits = within(&cell, service.monitor()).await.expect(&cell);
    let pid = within(&cell, service.pid()).await.expect(&cell);
    within(&cell, gate.open()).await.expect(&cell);
    if fault.ends() {
        let exit = within(&cell, exits.next()).await.expect(&cell);
        assert!(fault.is_reason(&exit.reason), "{cell}: {:?}", exit.reason);
        births.reached(2).await;
        within(&cell, service.ready()).await.expect(&cell);
        let info = within(&cell, service.info()).await.expect(&cell);
        assert_eq!(info.restarts, 1, "{cell}");
        assert_ne!(info.pid, pid, "{cell}");
    } else {
        begun(&cell, pid.expect(&cell)).await;
    }
    within(&cell, service.stop()).await.expect(&cell);
    let exit = within(&cell, exits.next()).await.expect(&cell);
    let expected = if fault.ends() {
        ExitReason::Shutdown
    } else {
        ExitReason::Killed(KillCause::ShutdownTime)
    };
    assert_eq!((exit.reason, exit.last), (expected, true), "{cell}");
    within(&cell, gate.stop()).await.expect(&cell);
}
