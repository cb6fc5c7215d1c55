//! A short conversation, in which everything happens that can happen to a message, while `PROCESSION_CRASH` has one of
//! its processes die somewhere. `tests/tests/kill_points.rs` plays it. Its argument says what is sent. Exits with 1, and
//! says why, where the oracle finds a promise broken, where something hangs, or where something is left.

use futures::StreamExt as _;
use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{Backoff, DeadCause, Error, Result, Spec};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tests::deadline::holds_within;
use tests::oracle::{Flow, Heard, Mode, Oracle, Sending, Sum};
use tests::{Counts, Marker, proc, until};

/// The words of the oracle: how many lives the sender had, and behind it the pid of each.
const LIVES: usize = 0;

/// So many go out together, and so many rounds of them. Half a mailbox: none of them waits for another's credit.
const TOGETHER: u64 = 4;
const ROUNDS: u64 = 8;

/// How long anything may take here.
const SOON: Duration = Duration::from_secs(15);

const HOST: u64 = 0;
const SENDER: u64 = 1;

fn kind(name: &str) -> (Mode, Mode) {
    match name {
        "call" => (Mode::Call, Mode::Call),
        "tell" => (Mode::Tell, Mode::Tell),
        "idempotent" => (Mode::IdempotentTell, Mode::IdempotentCall),
        other => panic!("{other}: it is call, tell or idempotent"),
    }
}

/// Handles what it gets, not too fast, so that more is on its way.
struct Receiver {
    oracle: Oracle,
}

#[actor(mailbox = 8)]
impl Receiver {
    #[init]
    fn new(path: PathBuf) -> Self {
        Receiver {
            oracle: Oracle::open(&path).expect("the oracle"),
        }
    }
    fn take(&mut self, flow: u64, seq: u64) {
        self.handle(flow, seq);
    }
    #[idempotent(retries = 3)]
    fn again(&mut self, flow: u64, seq: u64) {
        self.handle(flow, seq);
    }
    async fn linger(&self, at: Marker) {
        at.reach();
        std::future::pending::<()>().await;
    }
    fn ready(&self) {}
}

impl Receiver {
    fn handle(&self, flow: u64, seq: u64) {
        let flow = self.oracle.get(flow);
        flow.begin(seq);
        std::thread::sleep(Duration::from_micros(300));
        flow.end(seq);
    }
}

/// Sends, in whichever process it is.
struct Sender {
    /// For what goes out one after another, and for what goes out together: of that none is before the other.
    flow: Flow,
    together: Vec<Flow>,
    receiver: ReceiverRef,
}

#[actor]
impl Sender {
    #[init]
    fn new(path: PathBuf, receiver: ReceiverRef) -> Self {
        let oracle = Oracle::open(&path).expect("the oracle");
        let life = oracle.word(LIVES).fetch_add(1, SeqCst) + 1;
        oracle
            .word(LIVES + life as usize)
            .store(std::process::id().into(), SeqCst);
        Sender::of(oracle, SENDER, life, receiver)
    }
    async fn talk(&mut self, kind: String) {
        self.say_all(&kind).await;
    }
    async fn take_one_back(&mut self, at: Marker) {
        self.take_back(at).await;
    }
    async fn tell_some(&mut self) {
        for _ in 0..TOGETHER {
            self.tell(Mode::Tell).await;
        }
    }
}

impl Sender {
    fn of(oracle: Oracle, who: u64, life: u64, receiver: ReceiverRef) -> Self {
        let flow = || oracle.flow(who, life, 0).expect("a flow");
        Sender {
            flow: flow(),
            together: (0..TOGETHER).map(|_| flow()).collect(),
            receiver,
        }
    }

    async fn say_all(&mut self, name: &str) {
        let (tell, call) = kind(name);
        for round in 0..ROUNDS {
            let all = match (tell, round % 2) {
                (Mode::Call, _) | (Mode::IdempotentTell, 0) => true,
                (Mode::IdempotentTell, _) | (_, _) => false,
            };
            match all {
                true => self.call(call).await,
                false => {
                    for _ in 0..TOGETHER {
                        self.tell(tell).await;
                    }
                }
            }
        }
    }

    async fn call(&mut self, mode: Mode) {
        let calls = self.together.iter().map(|flow| {
            let (sending, number) = (flow.send(mode), flow.number);
            let call = match mode {
                Mode::IdempotentCall => self.receiver.again(number, sending.seq),
                _ => self.receiver.take(number, sending.seq),
            };
            async move { hear(sending, call.timeout(SOON).await) }
        });
        join_all(calls).await;
    }

    async fn tell(&mut self, mode: Mode) {
        let (sending, number) = (self.flow.send(mode), self.flow.number);
        let call = match mode {
            Mode::IdempotentTell => self.receiver.again(number, sending.seq),
            _ => self.receiver.take(number, sending.seq),
        };
        let told = call.timeout(SOON).tell().await;
        sending.told(match told {
            Ok(()) => Heard::Accepted,
            Err(CallError::Timeout) => Heard::Late,
            Err(_) => Heard::Refused,
        });
    }

    /// Makes a call and drops it, once it runs.
    async fn take_back(&mut self, at: Marker) {
        let before = at.count();
        let linger = self.receiver.linger(at.clone()).timeout(SOON).into_future();
        futures::future::select(linger, Box::pin(at.reached(before + 1))).await;
    }
}

fn hear(sending: Sending, answer: std::result::Result<(), CallError>) {
    sending.told(match answer {
        Ok(()) => Heard::Answered,
        Err(CallError::Died { begun, .. }) => Heard::Died { begun },
        Err(CallError::Timeout) => Heard::Late,
        Err(_) => Heard::Refused,
    });
}

/// Starts it: again where it died before it was up.
async fn spawned<S, F, T>(spec: impl Fn() -> S) -> Result<T>
where
    S: std::future::IntoFuture<Output = Result<T>, IntoFuture = F>,
    F: Future<Output = Result<T>>,
{
    for _ in 0..2 {
        match spec().await {
            Ok(started) => return Ok(started),
            Err(error) => println!("not started: {error:#}"),
        }
    }
    spec().await
}

fn lasting<R>(spec: Spec<R>) -> Spec<R> {
    spec.backoff(Backoff::none())
        .intensity(10_000, Duration::from_secs(1))
}

async fn kill_9(pid: Result<Option<u32>>) {
    let ours = |pid: &u32| proc::entry(*pid).is_some_and(|entry| entry.parent == std::process::id());
    if let Some(pid) = pid.ok().flatten().filter(ours) {
        let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
    }
}

/// The same until it was not interrupted by a death.
async fn insist<T, F: Future<Output = std::result::Result<T, CallError>>>(call: impl Fn() -> F) -> Result<T> {
    for _ in 0..5 {
        match call().await {
            Ok(done) => return Ok(done),
            Err(CallError::Died { .. }) => {}
            Err(error) => return Err(Error::msg(format!("{error}"))),
        }
    }
    Err(Error::msg("it died again and again"))
}

/// How each process ended, by its pid.
type Ends = Arc<Mutex<HashMap<u32, ExitReason>>>;

async fn play(name: &str) -> Result<Vec<String>> {
    let (oracle, path) = Oracle::create()?;
    let receiver = spawned(|| lasting(Receiver::spec(path.clone())).name("receiver").spawn()).await?;
    let sender = spawned(|| {
        lasting(Sender::spec(path.clone(), receiver.clone()))
            .name("sender")
            .spawn()
    })
    .await?;
    let ends = Ends::default();
    let mut exits = sender.monitor().await?;
    let watch = tokio::spawn({
        let ends = ends.clone();
        async move {
            while let Some(exit) = exits.next().await {
                ends.lock().expect("a lock").insert(exit.pid, exit.reason);
            }
        }
    });
    let mut own = Sender::of(oracle, HOST, 0, receiver.clone());

    // Everybody talks, and in the middle of it the receiver dies.
    let both = async {
        let talk = insist(|| sender.talk(name.to_owned()).timeout(SOON).into_future());
        tokio::join!(talk, own.say_all(name)).0
    };
    let murder = async {
        let handled = || oracle.flows().map(|flow| flow.handled()).sum::<u64>();
        holds_within(SOON, || handled() >= 2 * TOGETHER).await;
        kill_9(receiver.pid().await).await;
    };
    tokio::join!(both, murder).0?;
    // Calls are taken back.
    let at = Marker::new();
    own.take_back(at.clone()).await;
    insist(|| sender.take_one_back(at.clone()).timeout(SOON).into_future()).await?;
    // The sender leaves in order, and the receiver dies with what it left.
    insist(|| sender.tell_some().timeout(SOON).into_future()).await?;
    sender.stop().await?;
    kill_9(receiver.pid().await).await;
    own.say_all(name).await;
    // The receiver starts again in order.
    receiver.restart().await?;
    own.say_all(name).await;
    insist(|| receiver.ready().timeout(SOON).into_future()).await?;

    let pending = |sums: &[(Flow, bool)]| sums.iter().any(|(flow, killed)| !killed && !flow.is_settled());
    let flows = || {
        let ends = ends.lock().expect("a lock");
        let killed = |flow: &Flow| {
            let life = flow.sum_of_sender().life as usize;
            let pid = oracle.word(LIVES + life).load(SeqCst) as u32;
            life > 0 && !matches!(ends.get(&pid), Some(ExitReason::Shutdown))
        };
        oracle
            .flows()
            .map(|flow| (flow, killed(&flow)))
            .collect::<Vec<_>>()
    };
    holds_within(Duration::from_secs(5), || !pending(&flows())).await;
    let letters = receiver.dead_letters().await?;
    let named = letters
        .iter()
        .filter(|letter| matches!(letter.cause, DeadCause::Died(_)) && letter.method == "take")
        .count() as u64;
    receiver.stop().await?;
    watch.abort();
    Ok(judge(&flows(), named))
}

/// What is not as `docs/delivery.md` says.
fn judge(flows: &[(Flow, bool)], named: u64) -> Vec<String> {
    let mut faults = Vec::new();
    let mut total = Sum::default();
    for (flow, killed) in flows {
        let sum = flow.sum(*killed);
        let broken = sum.n_broken() + sum.lost[1..].iter().sum::<u64>();
        if broken > 0 {
            faults.push(format!("a broken promise: {sum:?}, killed: {killed}"));
        }
        total += sum;
    }
    if total.lost[Mode::Tell as usize] > named {
        faults.push(format!("{named} dead letters for {total:?}"));
    }
    if total.handled < 3 * ROUNDS * TOGETHER {
        faults.push(format!("too little was handled: {total:?}"));
    }
    println!("{total:?}, dead letters: {named}");
    faults
}

#[procession::main]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let (oracle, path) = Oracle::create()?;
    let first = spawned(|| Receiver::spec(path.clone()).name("first").spawn()).await?;
    first.stop().await?;
    drop((first, oracle));
    // The fork server may have been killed in the middle of the spare.
    until("there is a fork server and nothing else", || {
        let now = Counts::now();
        now.children == 1 && now.zombies == 0
    })
    .await;
    let before = Counts::now();
    // The oracle's own descriptor.
    let before = Counts {
        descriptors: before.descriptors + 1,
        ..before
    };
    let played = tokio::time::timeout(4 * SOON, play(&name)).await;
    let faults = played.map_err(|_| Error::msg("it hangs"))??;
    before.return_to().await;
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::msg(faults.join("\n"))),
    }
}
