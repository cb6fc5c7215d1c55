//! Hosts that change what all threads of a process share. The first argument names what to play; `tests/programs.rs`
//! plays them. Each ends well only if all that it expects has come true.

use futures::StreamExt as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{Config, ErrorKind, LinkKind, Result, StartMode};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tests::oracle::Oracle;
use tests::{Marker, misuse, proc, until, within};

#[task]
fn double(x: u64) -> u64 {
    2 * x
}

#[task]
fn where_am_i() -> String {
    std::env::current_dir().unwrap().display().to_string()
}

#[task]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

static SET_IN_MAIN: AtomicU32 = AtomicU32::new(0);

#[task]
fn seen() -> u32 {
    SET_IN_MAIN.load(Ordering::Relaxed)
}

#[task]
fn leaves_with(code: i32) {
    std::process::exit(code);
}

/// Leaves a process behind that ends after its parent.
#[task]
fn leaves_an_orphan() -> u32 {
    let script = "sleep 0.05 & echo $!";
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

#[derive(Default)]
struct Idler;

#[actor]
impl Idler {
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// Can be held up, and dies of what may run again.
#[derive(Default)]
struct Mortal;

#[actor]
impl Mortal {
    fn hold(&mut self, at: Marker, go_on: Marker) {
        at.reach();
        tests::deadline::blocks_until(tests::deadline::PATIENCE, || go_on.count() > 0);
    }
    fn wait(&mut self) {}
    #[idempotent(retries = 9)]
    fn die(&mut self, at: Marker) {
        at.reach();
        std::process::abort();
    }
}

async fn no_rings() -> Result<()> {
    for _ in 0..3 {
        assert_ne!(Idler::spawn().await?.pid().await?, std::process::id());
        assert_eq!(procession::in_use().await?.link, LinkKind::Socket);
    }
    Ok(())
}

#[procession::main]
async fn main() -> Result<()> {
    let scenario = std::env::args().nth(1).unwrap_or_default();
    match scenario.as_str() {
        "descriptors" => descriptors().await,
        "processes" => processes().await,
        "moves" => moves().await,
        "statics" => statics().await,
        "ignores-children" => ignores_children().await,
        "foreign-wait" => foreign_wait().await,
        "rebuilt" => rebuilt().await,
        "stopped-server" => stopped_server().await,
        "process-1" => process_1().await,
        "default-deadline" => default_deadline().await,
        "flat-memory" => flat_memory().await,
        "quick" => quick().await,
        "no-rings" => no_rings().await,
        "settings" => settings().await,
        "complaints" => complaints().await,
        "progress" => progress().await,
        "init-fails" => init_fails().await,
        "never-learns" => never_learns().await,
        "may-not-learn" => may_not_learn().await,
        "start-mode" => start_mode().await,
        other => panic!("no scenario `{other}`"),
    }?;
    println!("played {scenario}");
    Ok(())
}

/// Works as any program does.
async fn quick() -> Result<()> {
    assert_eq!(Process::spawn(double, 21).await?.join().await?, 42);
    assert_eq!(Pool::new(2).await?.map(double, 0..5).await?, [0, 2, 4, 6, 8]);
    let idler = Idler::spawn().await?;
    assert_ne!(idler.pid().await?, std::process::id());
    Ok(())
}

/// Spawns until one fails, gives back `some`, and goes on.
async fn until_it_fails() -> (Vec<IdlerRef>, procession::Error) {
    let mut idlers = Vec::new();
    loop {
        match Idler::spec().restart(Restart::Temporary).spawn().await {
            Ok(idler) => idlers.push(idler),
            Err(error) => return (idlers, error),
        }
    }
}

async fn descriptors() -> Result<()> {
    quick().await?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let open = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    setrlimit(Resource::RLIMIT_NOFILE, open + 30, hard)?;
    let (idlers, error) = until_it_fails().await;
    assert_eq!(error.kind(), ErrorKind::Spawn, "{error:#}");
    assert!(error.to_string().contains("RLIMIT_NOFILE is "), "{error}");
    assert!(idlers.len() >= 3, "{}", idlers.len());
    // Those that live are none the worse.
    for idler in &idlers {
        assert_ne!(idler.pid().await?, std::process::id());
    }
    let error = Pool::new(8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Spawn, "{error:#}");
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    for idler in idlers {
        idler.stop().await?;
    }
    quick().await
}

async fn processes() -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC)?;
    let (idlers, error) = until_it_fails().await;
    assert_eq!(error.kind(), ErrorKind::Spawn, "{error:#}");
    assert!(
        error.to_string().contains(&format!("RLIMIT_NPROC is {soft}")),
        "{error}"
    );
    for idler in &idlers {
        assert_ne!(idler.pid().await?, std::process::id());
    }
    let error = Process::spawn(double, 1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Spawn, "{error:#}");
    setrlimit(Resource::RLIMIT_NPROC, hard, hard)?;
    quick().await?;
    for idler in idlers {
        idler.stop().await?;
    }
    quick().await
}

/// A child sees the host's current directory and environment, not those of its start.
async fn moves() -> Result<()> {
    quick().await?;
    let folder = std::env::args().nth(2).unwrap();
    std::env::set_current_dir(&folder)?;
    misuse::set_variable("MISUSE_SAYS", "hello");
    assert_eq!(Process::spawn(where_am_i, ()).await?.join().await?, folder);
    assert_eq!(
        Process::spawn(variable, "MISUSE_SAYS".into())
            .await?
            .join()
            .await?
            .as_deref(),
        Some("hello")
    );
    let pool = Pool::new(1).await?;
    assert_eq!(pool.run(where_am_i, ()).await?, folder);
    std::env::set_current_dir("/")?;
    misuse::set_variable("MISUSE_SAYS", "bye");
    assert_eq!(Process::spawn(where_am_i, ()).await?.join().await?, "/");
    assert_eq!(
        Process::spawn(variable, "MISUSE_SAYS".into())
            .await?
            .join()
            .await?
            .as_deref(),
        Some("bye")
    );
    // What triggers an entry is nowhere to be seen, or whatever a child starts would enter too.
    assert_eq!(
        Process::spawn(variable, "PROCESSION_ENTER".into())
            .await?
            .join()
            .await?,
        None
    );
    Ok(())
}

async fn statics() -> Result<()> {
    SET_IN_MAIN.store(7, Ordering::Relaxed);
    assert_eq!(Process::spawn(seen, ()).await?.join().await?, 0);
    assert_eq!(Pool::new(1).await?.run(seen, ()).await?, 0);
    Ok(())
}

/// The exact reason where the kernel keeps it, or that it is unknown and who could have taken it.
async fn exact_or_unknown(code: i32) -> Result<()> {
    let process = Process::spawn(leaves_with, code).await?;
    match process.wait().await {
        ExitReason::Exited(exited) => assert_eq!(exited, code),
        ExitReason::Unknown { why } => assert!(why.contains("took the status"), "{why}"),
        other => panic!("expected code {code}, got {other}"),
    }
    Ok(())
}

async fn ignores_children() -> Result<()> {
    misuse::ignore_child_signal();
    for code in 3..8 {
        exact_or_unknown(code).await?;
    }
    quick().await
}

/// Another thread takes every status that it can get.
fn take_statuses() {
    std::thread::spawn(|| {
        loop {
            // Without children it fails at once, and there is nothing else to wait for.
            if nix::sys::wait::waitpid(None, None).is_err() {
                std::thread::yield_now();
            }
        }
    });
}

async fn foreign_wait() -> Result<()> {
    take_statuses();
    for code in 3..23 {
        exact_or_unknown(code).await?;
    }
    let idler = Idler::spawn().await?;
    let was = idler.pid().await?;
    let mut exits = idler.monitor().await?;
    idler.kill().await?;
    assert_eq!(exits.next().await.expect("an exit").pid, was);
    assert_ne!(idler.pid().await?, was);
    quick().await
}

/// Whether a reason is that nobody knows, which says who could have taken the status.
async fn is_unknown(code: i32) -> Result<bool> {
    match Process::spawn(leaves_with, code).await?.wait().await {
        ExitReason::Unknown { why } => {
            let suspects = ["took the status", "SIGCHLD", "waitpid(-1)"];
            assert!(suspects.into_iter().all(|suspect| why.contains(suspect)), "{why}");
            Ok(true)
        }
        reason => {
            assert_eq!(reason, ExitReason::Exited(code));
            Ok(false)
        }
    }
}

/// The kernel keeps no status for a host that ignores the end of its children.
async fn never_learns() -> Result<()> {
    misuse::ignore_child_signal();
    for code in 3..8 {
        assert!(is_unknown(code).await?);
    }
    quick().await
}

/// The kernel keeps no status that another thread has taken.
async fn may_not_learn() -> Result<()> {
    take_statuses();
    within("a status that the other was first to take", async {
        while !is_unknown(3).await? {}
        Ok::<_, procession::Error>(())
    })
    .await?;
    quick().await
}

async fn start_mode() -> Result<()> {
    quick().await?;
    println!("started by {}", procession::in_use().await?.start);
    Ok(())
}

/// Ends in the middle of a line.
#[task]
fn complains() {
    let pid = std::process::id();
    for n in 0..200 {
        eprint!("{pid} ");
        eprintln!("says {n}");
    }
    eprint!("{pid} says the last");
    std::process::abort();
}

async fn complaints() -> Result<()> {
    let all =
        (0..8).map(async |_| Ok::<_, procession::Error>(Process::spawn(complains, ()).await?.wait().await));
    for reason in futures::future::join_all(all).await {
        assert_eq!(reason?.signal(), Some(Signal::SIGABRT as i32));
    }
    Ok(())
}

async fn progress() -> Result<()> {
    let pool = Pool::new(2).await?;
    let doubled = pool.map(double, 0..100).progress("doubling away").await?;
    assert_eq!(doubled.len(), 100);
    Ok(())
}

/// An `init` that succeeds once.
struct Tenant;

#[actor]
impl Tenant {
    #[init]
    fn new(lives: Marker) -> std::result::Result<Self, String> {
        match lives.reach() {
            0 => Ok(Tenant),
            _ => Err("the lease is up".to_owned()),
        }
    }
    fn crash(&self) {
        std::process::exit(3);
    }
    fn pid(&self) -> u32 {
        std::process::id()
    }
}

/// Who watches hears why it did not come back, and who calls that it will not.
async fn init_fails() -> Result<()> {
    let failed = ExitReason::InitFailed("the lease is up".to_owned());
    let lives = Marker::new();
    let tenant = Tenant::spec(lives.clone())
        .name("tenant")
        .intensity(1, Duration::from_secs(60))
        .spawn()
        .await?;
    let mut exits = tenant.monitor().await?;
    let crashed = tenant.crash().await;
    assert!(
        matches!(
            &crashed,
            Err(CallError::Died {
                reason: ExitReason::Exited(3),
                ..
            })
        ),
        "{crashed:?}"
    );
    let waited = tenant.pid().await;
    assert!(
        matches!(&waited, Err(CallError::Died { reason, begun: false, .. }) if *reason == failed)
            || matches!(waited, Err(CallError::Stopped)),
        "{waited:?}"
    );
    let reasons: Vec<_> = exits.by_ref().map(|exit| exit.reason).collect().await;
    assert_eq!(reasons, [ExitReason::Exited(3), failed]);
    Ok(())
}

/// The executable is replaced or deleted while this waits.
async fn rebuilt() -> Result<()> {
    quick().await?;
    println!("started");
    tokio::task::spawn_blocking(misuse::wait_for_dismissal)
        .await
        .map_err(procession::Error::new)?;
    quick().await?;
    // A fork server that is started anew comes from the same image.
    let server = procession::in_use().await?.fork_server;
    if let Some(server) = server {
        let pid = nix::unistd::Pid::from_raw(server as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
    }
    quick().await
}

/// Says that it has begun, and waits until it may end.
#[task]
async fn begins(memory: std::path::PathBuf) -> u32 {
    let memory = Oracle::open(&memory).expect("the memory");
    memory.word(0).fetch_add(1, Ordering::SeqCst);
    until("it may end", || memory.word(1).load(Ordering::SeqCst) > 0).await;
    std::process::id()
}

/// The fork server stops when it has cloned a process and not said so, and is killed when that has begun.
async fn stopped_server() -> Result<()> {
    let (memory, path) = Oracle::create()?;
    let run = tokio::spawn(async move {
        Process::spawn(begins, path)
            .await?
            .join()
            .await
            .map_err(procession::Error::from)
    });
    let has_begun = || memory.word(0).load(Ordering::SeqCst) > 0;
    until("a process has begun", has_begun).await;
    let used = procession::in_use().await?;
    let server = used.fork_server.expect("a fork server");
    // What it cloned may have begun before it came so far: the next one would stop there instead.
    if used.start == StartMode::ForkServer {
        until("the fork server has stopped", || proc::state(server) == Some('T')).await;
    }
    kill(Pid::from_raw(server as i32), Signal::SIGKILL)?;
    quick().await?;
    memory.word(1).store(1, Ordering::SeqCst);
    let pid = run.await.map_err(procession::Error::new)??;
    assert_ne!(pid, std::process::id());
    assert_eq!(memory.word(0).load(Ordering::SeqCst), 1, "it began once");
    Ok(())
}

/// As process 1 it is given the orphans of its children, and reaps them.
async fn process_1() -> Result<()> {
    assert_eq!(std::process::id(), 1);
    let orphan = Process::spawn(leaves_an_orphan, ()).await?.join().await?;
    let gone = async {
        while std::path::Path::new(&format!("/proc/{orphan}")).exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), gone)
        .await
        .expect("the orphan was not reaped");
    quick().await
}

/// A call that names no deadline ends at the one that was set for all.
async fn default_deadline() -> Result<()> {
    let deadline = Duration::from_millis(300);
    Config::new().call_timeout(deadline).init()?;
    let idler = Idler::spawn().await?;
    let pid = Pid::from_raw(idler.pid().timeout(Duration::from_secs(60)).await? as i32);
    kill(pid, Signal::SIGSTOP)?;
    let begin = std::time::Instant::now();
    let late = idler.pid().await.unwrap_err();
    assert!(matches!(late, procession::CallError::Timeout), "{late}");
    assert!(begin.elapsed() >= deadline);
    kill(pid, Signal::SIGCONT)?;
    idler.pid().timeout(Duration::from_secs(60)).await?;
    let late = Config::new().init().unwrap_err();
    assert_eq!(
        late.kind(),
        ErrorKind::Invalid,
        "settings that come too late: {late}"
    );
    Ok(())
}

/// The argument at that place.
fn argument<T: std::str::FromStr<Err = procession::Error>>(at: usize) -> Result<T> {
    std::env::args().nth(at).unwrap_or_default().parse()
}

/// Sets what the first two arguments say; what is used is what the next two say.
async fn settings() -> Result<()> {
    Config::new()
        .start_mode(argument(2)?)
        .link(argument(3)?)
        .mailbox(2)
        .poisonous(2)
        .init()?;
    let (start, link): (StartMode, LinkKind) = (argument(4)?, argument(5)?);
    let idler = Idler::spawn().await?;
    let pid = idler.pid().await?;
    let used = procession::in_use().await?;
    assert_eq!((used.start, used.link), (start, link));
    for pid in [pid, std::process::id()] {
        assert_eq!(proc::has_ring(pid), link == LinkKind::Ring, "{pid}");
    }
    assert_eq!(n_that_wait_at_most().await?, 2);
    let mortal = Mortal::spec().intensity(100, Duration::from_secs(1));
    let mortal = mortal.backoff(procession::Backoff::none()).spawn().await?;
    let at = Marker::new();
    let died = within("a call", mortal.die(at.clone())).await.unwrap_err();
    assert!(matches!(died, CallError::Died { begun: true, .. }), "{died}");
    assert_eq!(at.count(), 2, "the deaths of one message");
    Ok(())
}

#[task]
async fn holds_up(mortal: MortalRef, at: Marker, go_on: Marker) -> Result<()> {
    Ok(mortal.hold(at, go_on).await?)
}

/// How many messages find room in the mailbox of one that is held up.
async fn n_that_wait_at_most() -> Result<u32> {
    let mortal = Mortal::spawn().await?;
    let (at, go_on) = (Marker::new(), Marker::new());
    mortal.wait().await?;
    // By another: what holds it up takes none of the room that this process has.
    let holder = Process::spawn(holds_up, (mortal.clone(), at.clone(), go_on.clone())).await?;
    at.reached(1).await;
    let mut n = 0;
    while mortal.wait().try_tell().is_ok() {
        n += 1;
        assert!(n < 1000, "a mailbox without a limit");
    }
    go_on.reach();
    within("the end of it", holder.join()).await?;
    Ok(n)
}

/// KiB of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A map holds what is under way, and not what it has done or is to do.
async fn flat_memory() -> Result<()> {
    let pool = Pool::new(2).await?;
    for ordered in [false, true] {
        let inputs = 0..2_000_000_u64;
        let map = pool.map(double, inputs);
        let mut outcomes = if ordered {
            map.stream().left_stream()
        } else {
            map.unordered().right_stream()
        };
        let (mut n_items, mut warm) = (0_u64, 0);
        while let Some(outcome) = outcomes.next().await {
            outcome?;
            n_items += 1;
            if n_items == 500_000 {
                warm = resident();
            }
        }
        assert_eq!(n_items, 2_000_000);
        let grown = resident().saturating_sub(warm);
        assert!(
            grown < 16 << 10,
            "ordered {ordered}: {grown} KiB more than after a quarter, which had {warm}"
        );
    }
    Ok(())
}
