//! Supervision: who is started and stopped when, what is restarted, and what refs and names mean meanwhile.

use futures::future::poll_immediate;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::prelude::*;
use procession::{CallError, ErrorKind, KillCause, Result, State, Tree};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};
use tests::within;

const NEVER: Duration = Duration::from_secs(3600);

/// Writes down when it begins and ends, and knows another of its kind.
struct Player {
    score: PathBuf,
    name: String,
    partner: Option<PlayerRef>,
}

#[actor]
impl Player {
    #[init]
    fn enter(score: PathBuf, name: String) -> Self {
        note(&score, &format!("+{name}"));
        Player {
            score,
            name,
            partner: None,
        }
    }
    fn number(&self) -> u32 {
        std::process::id()
    }
    fn join(&mut self, partner: PlayerRef) -> PlayerRef {
        self.partner = Some(partner.clone());
        partner
    }
    async fn partners_number(&self) -> Result<u32, CallError> {
        match &self.partner {
            Some(partner) => partner.number().await,
            None => Err(CallError::Stopped),
        }
    }
    fn has_partner(&self) -> Result<(), CallError> {
        self.partner.as_ref().map(drop).ok_or(CallError::Stopped)
    }
    fn crash(&self) {
        panic!("{} crashed", self.name);
    }
    #[terminate]
    async fn leave(&mut self) {
        note(&self.score, &format!("-{}", self.name));
        if self.name.starts_with("slow") {
            std::future::pending::<()>().await;
        }
    }
}

fn note(score: &Path, text: &str) {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(score)
        .unwrap();
    file.write_all(format!("{text} ").as_bytes()).unwrap();
}

/// Where players write, for one test.
struct Score(tempfile::TempDir);

impl Score {
    fn new() -> Self {
        Score(tempfile::tempdir().unwrap())
    }
    fn path(&self) -> PathBuf {
        self.0.path().join("score")
    }
    fn player(&self, name: &str) -> Spec<PlayerRef> {
        Player::spec(self.path(), name.to_owned()).name(name)
    }
    /// What was written since the last time.
    fn take(&self) -> String {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        std::fs::write(self.path(), "").unwrap();
        text.trim().to_owned()
    }
}

async fn trio(score: &Score, strategy: Strategy) -> Tree {
    let tree = Supervisor::new("trio").strategy(strategy);
    let tree = tree
        .child(score.player("a"))
        .child(score.player("b"))
        .child(score.player("c"));
    let tree = within("the start of a tree", tree.start()).await.unwrap();
    assert_eq!(score.take(), "+a +b +c");
    tree
}

/// The process of each.
async fn numbers<const N: usize>(names: [&str; N]) -> [u32; N] {
    let mut numbers = [0; N];
    for (number, name) in numbers.iter_mut().zip(names) {
        let player = PlayerRef::lookup(name).await.unwrap();
        *number = within("a call", player.number()).await.unwrap();
    }
    numbers
}

/// Kills one, and waits until its tree is up again.
async fn strike(tree: &Tree, name: &str) {
    let player = PlayerRef::lookup(name).await.unwrap();
    let mut exits = player.monitor().await.unwrap();
    let number = within("a call", player.number()).await.unwrap();
    kill(Pid::from_raw(number as i32), Signal::SIGKILL).unwrap();
    let exit = within("an exit", exits.next()).await.unwrap();
    assert_eq!(
        (exit.to_string().as_str(), exit.pid, exit.last),
        ("killed by SIGKILL", number, false)
    );
    within("a restart", tree.ready()).await.unwrap();
}

// ---- strategies

#[procession::test]
async fn one_for_one_restarts_the_one_that_failed() {
    let score = Score::new();
    let tree = trio(&score, Strategy::OneForOne).await;
    let before = numbers(["a", "b", "c"]).await;
    strike(&tree, "b").await;
    let after = numbers(["a", "b", "c"]).await;
    assert_eq!((before[0], before[2]), (after[0], after[2]));
    assert_ne!(before[1], after[1]);
    assert_eq!(score.take(), "+b");
}

#[procession::test]
async fn one_for_all_restarts_all_stopped_in_reverse_and_started_in_order() {
    let score = Score::new();
    let tree = trio(&score, Strategy::OneForAll).await;
    let before = numbers(["a", "b", "c"]).await;
    strike(&tree, "b").await;
    let after = numbers(["a", "b", "c"]).await;
    assert!(before.iter().zip(after).all(|(before, after)| *before != after));
    assert_eq!(score.take(), "-c -a +a +b +c");
}

#[procession::test]
async fn rest_for_one_restarts_those_after_the_one_that_failed() {
    let score = Score::new();
    let tree = trio(&score, Strategy::RestForOne).await;
    let before = numbers(["a", "b", "c"]).await;
    strike(&tree, "b").await;
    let after = numbers(["a", "b", "c"]).await;
    assert_eq!(before[0], after[0]);
    assert!(before[1] != after[1] && before[2] != after[2]);
    assert_eq!(score.take(), "-c +b +c");
}

// ---- restart policies

#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Way {
    Returns,
    Fails,
    Exits,
    Crashes,
}

/// Ends in its way once it is told to, by a file.
#[service]
async fn comes_to_an_end(way: Way, go: PathBuf) -> Result<(), String> {
    while !go.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    std::fs::remove_file(go).unwrap();
    match way {
        Way::Returns => Ok(()),
        Way::Fails => Err("as asked".to_owned()),
        Way::Exits => std::process::exit(0),
        Way::Crashes => panic!("as asked"),
    }
}

#[procession::test]
async fn a_restart_policy_says_after_which_end_a_child_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    for (restart, way, again) in [
        (Restart::Permanent, Way::Returns, true),
        (Restart::Permanent, Way::Fails, true),
        (Restart::Transient, Way::Returns, false),
        (Restart::Transient, Way::Fails, true),
        (Restart::Transient, Way::Exits, true),
        (Restart::Transient, Way::Crashes, true),
        (Restart::Temporary, Way::Returns, false),
        (Restart::Temporary, Way::Crashes, false),
    ] {
        let service = comes_to_an_end
            .spec(way, go.clone())
            .name("service")
            .restart(restart)
            .spawn()
            .await
            .unwrap();
        let mut exits = service.monitor().await.unwrap();
        std::fs::write(&go, "").unwrap();
        let exit = within("an exit", exits.next()).await.unwrap();
        assert_eq!(exit.last, !again, "{restart:?} {way:?}: {exit}");
        match again {
            true => {
                within("a restart", service.ready()).await.unwrap();
                within("a stop", service.stop()).await.unwrap();
                let exit = within("an exit", exits.next()).await.unwrap();
                assert!(exit.last && exit.reason == ExitReason::Shutdown, "{exit}");
            }
            false => {
                let gone = service.info().await.unwrap_err();
                assert_eq!(gone.kind(), ErrorKind::Stopped, "{gone}");
            }
        }
        assert!(within("the end of the exits", exits.next()).await.is_none());
    }
}

#[procession::test]
async fn a_temporary_child_is_not_restarted_with_its_siblings() {
    let score = Score::new();
    let tree = Supervisor::new("duo").strategy(Strategy::OneForAll);
    let tree = tree
        .child(score.player("a").restart(Restart::Temporary))
        .child(score.player("b"));
    let tree = tree.start().await.unwrap();
    strike(&tree, "b").await;
    assert_eq!(score.take(), "+a +b -a +b");
    assert_eq!(
        PlayerRef::lookup("a").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[procession::test]
async fn a_child_that_was_stopped_by_hand_is_not_started_again() {
    let score = Score::new();
    let tree = trio(&score, Strategy::OneForOne).await;
    let player = PlayerRef::lookup("b").await.unwrap();
    within("a stop", player.stop()).await.unwrap();
    within("a tree", tree.ready()).await.unwrap();
    assert_eq!(score.take(), "-b");
    assert!(matches!(player.number().await, Err(CallError::Stopped)));
    within("a stop", player.stop()).await.unwrap();
}

// ---- intensity

#[procession::test]
async fn a_child_that_fails_too_often_is_given_up() {
    let score = Score::new();
    let spec = score.player("frail").backoff(Backoff::none()).intensity(2, NEVER);
    let player = spec.spawn().await.unwrap();
    let mut exits = player.monitor().await.unwrap();
    for n in 0..3 {
        let died = within("a call", player.crash()).await.unwrap_err();
        assert!(died.to_string().contains("frail crashed"), "{died}");
        let exit = within("an exit", exits.next()).await.unwrap();
        assert_eq!(exit.last, n == 2);
    }
    assert!(matches!(
        within("a call", player.number()).await,
        Err(CallError::Stopped)
    ));
    assert_eq!(score.take(), "+frail +frail +frail");
}

#[procession::test]
async fn too_many_failures_below_end_a_supervisor_and_then_the_one_above() {
    let score = Score::new();
    let frail = |name: &str| score.player(name).backoff(Backoff::none());
    let inner = Supervisor::new("inner")
        .intensity(1, NEVER)
        .child(frail("x"))
        .child(frail("y"));
    let outer = Supervisor::new("outer")
        .intensity(1, NEVER)
        .child(score.player("z"))
        .child(inner);
    let tree = outer.start().await.unwrap();
    let mut ends = tree.monitor().await.unwrap();
    assert_eq!(score.take(), "+z +x +y");
    strike(&tree, "x").await;
    assert_eq!(score.take(), "+x");
    // The second is too many for the inner one, which is restarted whole.
    strike(&tree, "x").await;
    assert_eq!(score.take(), "-y +x +y");
    strike(&tree, "y").await;
    assert_eq!(score.take(), "+y");
    // And the second restart of the inner one is too many for the outer.
    let y = PlayerRef::lookup("y").await.unwrap();
    assert!(within("a call", y.crash()).await.is_err());
    let end = within("the end of the tree", ends.next()).await.unwrap();
    assert!(end.last);
    assert!(end.to_string().contains("`inner` failed too often"), "{end}");
    assert_eq!(score.take(), "-x -z");
    assert_eq!(tree.tree().await.unwrap_err().kind(), ErrorKind::Stopped);
    assert!(Process::active().await.unwrap().is_empty());
}

// ---- starts and stops

#[procession::test]
async fn a_tree_starts_in_order_and_stops_in_reverse() {
    let score = Score::new();
    let inner = Supervisor::new("inner")
        .child(score.player("b"))
        .child(score.player("c"));
    let outer = Supervisor::new("outer")
        .child(score.player("a"))
        .child(inner)
        .child(score.player("d"));
    let tree = outer.start().await.unwrap();
    assert_eq!(score.take(), "+a +b +c +d");
    let mut ends = tree.monitor().await.unwrap();
    within("a stop", tree.stop()).await.unwrap();
    let end = within("the end of the tree", ends.next()).await.unwrap();
    assert_eq!(
        (end.name.as_str(), end.reason, end.last),
        ("outer", ExitReason::Shutdown, true)
    );
    assert!(ends.next().await.is_none());
    assert_eq!(score.take(), "-d -c -b -a");
    within("a second stop", tree.stop()).await.unwrap();
    assert!(Process::active().await.unwrap().is_empty());
}

#[procession::test]
async fn a_child_that_does_not_stop_within_its_shutdown_time_is_killed_and_the_next_goes_on() {
    let score = Score::new();
    let slow = score.player("slow").shutdown(Duration::from_millis(100));
    let at_once = score.player("at-once").shutdown(Duration::ZERO);
    let tree = Supervisor::new("s")
        .child(score.player("a"))
        .child(slow)
        .child(at_once)
        .start()
        .await
        .unwrap();
    let (slow, at_once) = (
        PlayerRef::lookup("slow").await.unwrap(),
        PlayerRef::lookup("at-once").await.unwrap(),
    );
    let mut ends = [slow.monitor().await.unwrap(), at_once.monitor().await.unwrap()];
    score.take();
    let begin = Instant::now();
    within("a stop", tree.stop()).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(100));
    assert_eq!(score.take(), "-slow -a");
    let reason = ends[0].next().await.unwrap().reason;
    assert_eq!(reason, ExitReason::Killed(KillCause::ShutdownTime));
    assert_eq!(
        ends[1].next().await.unwrap().reason.signal(),
        Some(Signal::SIGKILL as i32)
    );
}

#[procession::test]
async fn after_the_first_the_restarts_of_a_child_wait_longer_and_longer() {
    let score = Score::new();
    let backoff = Backoff::exponential().initial(NEVER).max(NEVER).jitter(0.0);
    let player = score.player("patient").backoff(backoff);
    let tree = Supervisor::new("s")
        .intensity(10, NEVER)
        .child(player)
        .start()
        .await
        .unwrap();
    // The first restart comes at once.
    strike(&tree, "patient").await;
    let player = PlayerRef::lookup("patient").await.unwrap();
    player.kill().await.unwrap();
    let info = player.info().await.unwrap();
    assert_eq!((info.state, info.pid, info.restarts), (State::Waiting, None, 1));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), tree.ready())
            .await
            .is_err()
    );
    let late = player.number().timeout(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(CallError::Timeout)), "{late:?}");
    // A stop does not wait for it.
    within("a stop", tree.stop()).await.unwrap();
}

#[procession::test]
async fn while_an_actor_restarts_calls_and_tells_wait_within_their_deadlines() {
    let score = Score::new();
    let backoff = Backoff::exponential().initial(NEVER).max(NEVER).jitter(0.0);
    let spec = score.player("patient").backoff(backoff).intensity(10, NEVER);
    let player = within("a spawn", spec.spawn()).await.unwrap();
    // The first restart comes at once, the second is hours away.
    let mut was = within("a call", player.number()).await.unwrap();
    for _ in 0..2 {
        was = within("a call", player.number()).await.unwrap();
        within("a death", player.kill()).await.unwrap();
    }
    let moment = Duration::from_millis(50);
    let late = within("a call", player.number().timeout(moment)).await;
    assert_eq!(late, Err(CallError::Timeout));
    let late = within("a tell", player.join(player.clone()).timeout(moment).tell()).await;
    assert_eq!(late, Err(CallError::Timeout));
    let mut tell = pin!(player.join(player.clone()).tell());
    assert!(poll_immediate(&mut tell).await.is_none(), "it has not come up");
    let mut call = pin!(player.number().into_future());
    assert!(poll_immediate(&mut call).await.is_none(), "it has not come up");
    within("a restart", player.restart()).await.unwrap();
    assert_eq!(within("the tell", tell).await, Ok(()));
    assert_ne!(within("the call", call).await.unwrap(), was);
    assert_eq!(within("a later call", player.has_partner()).await, Ok(()));
}

#[procession::test]
async fn a_restart_by_hand_comes_back_with_a_new_process() {
    let score = Score::new();
    let tree = trio(&score, Strategy::OneForOne).await;
    let player = PlayerRef::lookup("b").await.unwrap();
    for _ in 0..5 {
        let before = player.info().await.unwrap().pid;
        within("a restart", player.restart()).await.unwrap();
        let after = player.info().await.unwrap();
        assert!(after.pid.is_some() && after.pid != before, "{after}");
        assert_eq!(score.take(), "-b +b");
    }
    tree.stop().await.unwrap();
}

#[procession::test]
async fn a_restart_of_a_supervisor_is_counted_for_its_children() {
    let score = Score::new();
    let frail = |name: &str| score.player(name).backoff(Backoff::none());
    let inner = Supervisor::new("inner")
        .intensity(1, NEVER)
        .child(frail("x"))
        .child(frail("y"));
    let tree = Supervisor::new("outer").child(inner).start().await.unwrap();
    strike(&tree, "x").await;
    strike(&tree, "x").await;
    let restarts: Vec<_> = tree
        .tree()
        .await
        .unwrap()
        .iter()
        .map(|info| info.restarts)
        .collect();
    assert_eq!(restarts, [0, 1, 2, 1]);
    tree.stop().await.unwrap();
}

/// Calls another as it stops, and writes down what came of it.
struct Follower(PathBuf);

#[actor]
impl Follower {
    #[init]
    fn new(score: PathBuf) -> Self {
        Follower(score)
    }
    fn number(&self) -> u32 {
        std::process::id()
    }
    #[terminate]
    async fn leave(&mut self) {
        let leader = PlayerRef::named("leader");
        let called = leader.number().await;
        let stopped = leader.stop().await;
        note(
            &self.0,
            &format!(
                "{} {}",
                matches!(called, Err(CallError::Stopped)),
                stopped.is_ok()
            ),
        );
    }
}

#[procession::test]
async fn an_actor_that_stops_finds_its_siblings_after_it_stopped() {
    let score = Score::new();
    let follower = Follower::spec(score.path()).shutdown(NEVER);
    let tree = Supervisor::new("duo")
        .child(follower)
        .child(score.player("leader"))
        .start()
        .await
        .unwrap();
    within("a stop", tree.stop()).await.unwrap();
    assert_eq!(score.take(), "+leader -leader true true");
}

#[procession::test]
async fn a_monitor_ends_with_a_child_that_is_stopped_between_two_lives() {
    let score = Score::new();
    let backoff = Backoff::exponential().initial(NEVER).max(NEVER).jitter(0.0);
    let player = score.player("patient").backoff(backoff);
    let tree = Supervisor::new("s")
        .intensity(10, NEVER)
        .child(player)
        .start()
        .await
        .unwrap();
    strike(&tree, "patient").await;
    let player = PlayerRef::lookup("patient").await.unwrap();
    let watching = Process::spawn(watches, PlayerRef::named("patient"))
        .await
        .unwrap();
    let mut exits = player.monitor().await.unwrap();
    until_watched(&player).await;
    player.kill().await.unwrap();
    assert!(!within("an exit", exits.next()).await.unwrap().last);
    within("a stop", tree.stop()).await.unwrap();
    assert!(within("the end of the exits", exits.next()).await.is_none());
    assert_eq!(within("a task", watching.join()).await.unwrap(), 1);
}

/// Counts the ends of another, after it has said to it that it does.
#[task]
async fn watches(player: PlayerRef) -> Result<u32> {
    let mut exits = player.monitor().await?;
    player.join(player.clone()).await?;
    let mut n = 0;
    while exits.next().await.is_some() {
        n += 1;
    }
    Ok(n)
}

/// Waits until `watches` watches.
async fn until_watched(player: &PlayerRef) {
    let joined =
        async { while let Err(CallError::Failed(CallError::Stopped)) = player.has_partner().await {} };
    within("a watcher", joined).await;
}

#[procession::test]
async fn a_child_that_may_come_back_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (score, go) = (Score::new(), folder.path().join("go"));
    let service = comes_to_an_end
        .spec(Way::Returns, go.clone())
        .name("service")
        .restart(Restart::Transient);
    let tree = Supervisor::new("duo")
        .strategy(Strategy::OneForAll)
        .child(service)
        .child(score.player("b"));
    let tree = tree.start().await.unwrap();
    std::fs::write(&go, "").unwrap();
    let ended = async {
        while tree.tree().await.unwrap()[1].state != State::Ended {
            tokio::task::yield_now().await;
        }
    };
    within("an end", ended).await;
    let newcomer = score.player("service").spawn().await.unwrap_err();
    assert_eq!(newcomer.kind(), ErrorKind::Invalid, "{newcomer}");
    strike(&tree, "b").await;
    assert_eq!(tree.tree().await.unwrap()[1].state, State::Running);
    tree.stop().await.unwrap();
    score.player("service").spawn().await.unwrap();
}

#[task]
fn prints() {
    println!("a line");
    print!("and a piece of one");
}

#[procession::test]
async fn a_host_that_holds_its_stdout_can_wait_for_a_process_that_prints() {
    let _out = std::io::stdout().lock();
    let process = Process::spawn(prints, ()).await.unwrap();
    within("a task", process.join()).await.unwrap();
}

// ---- looking

#[procession::test]
async fn a_tree_shows_what_it_is_made_of() {
    let score = Score::new();
    let inner = Supervisor::new("inner").child(score.player("b"));
    let tree = Supervisor::new("outer")
        .child(score.player("a"))
        .child(inner)
        .start()
        .await
        .unwrap();
    strike(&tree, "b").await;
    let list = tree.tree().await.unwrap();
    let rows: Vec<_> = list
        .iter()
        .map(|i| (i.depth, i.name.as_str(), i.kind.as_str(), i.restarts))
        .collect();
    let expected = [
        (0, "outer", "supervisor", 0),
        (1, "a", "actor", 0),
        (1, "inner", "supervisor", 0),
        (2, "b", "actor", 1),
    ];
    assert_eq!(rows, expected);
    assert!(list.iter().all(|info| info.state == State::Running));
    let pids: HashMap<_, _> = list.iter().map(|info| (info.name.as_str(), info.pid)).collect();
    let [a, b] = numbers(["a", "b"]).await;
    assert_eq!(
        (pids["a"], pids["b"], pids["outer"], pids["inner"]),
        (Some(a), Some(b), None, None)
    );
    let line = list[3].to_string();
    for part in ["    b ", "actor", &b.to_string(), "running", "1 restarts", "up"] {
        assert!(line.contains(part), "`{part}` is not in `{line}`");
    }
    let active = Process::active().await.unwrap();
    assert_eq!(
        active.iter().map(|info| info.pid).collect::<Vec<_>>(),
        [Some(a), Some(b)]
    );
}

#[procession::test]
async fn ready_comes_back_once_all_are_up() {
    let score = Score::new();
    let tree = trio(&score, Strategy::OneForAll).await;
    for _ in 0..2 {
        let before = numbers(["a", "b", "c"]).await;
        strike(&tree, "a").await;
        assert!(
            tree.tree()
                .await
                .unwrap()
                .iter()
                .all(|info| info.state == State::Running)
        );
        let after = numbers(["a", "b", "c"]).await;
        assert!(before.iter().zip(after).all(|(before, after)| *before != after));
    }
    tree.stop().await.unwrap();
    assert_eq!(tree.ready().await.unwrap_err().kind(), ErrorKind::Stopped);
}

#[procession::test]
async fn every_monitor_hears_every_end_from_then_on() {
    let score = Score::new();
    let player = score.player("a").backoff(Backoff::none()).spawn().await.unwrap();
    let (mut one, two) = (player.monitor().await.unwrap(), player.monitor().await.unwrap());
    drop(two);
    let first = player.number().await.unwrap();
    player.kill().await.unwrap();
    let mut three = player.monitor().await.unwrap();
    let exit = within("an exit", one.next()).await.unwrap();
    assert_eq!((exit.name.as_str(), exit.pid, exit.last), ("a", first, false));
    assert_eq!(exit.reason, ExitReason::Killed(KillCause::Asked));
    within("a call", player.number()).await.unwrap();
    player.stop().await.unwrap();
    for monitor in [&mut one, &mut three] {
        let exit = within("an exit", monitor.next()).await.unwrap();
        assert_eq!((exit.reason, exit.last), (ExitReason::Shutdown, true));
        assert!(monitor.next().await.is_none());
    }
    assert_eq!(player.monitor().await.unwrap_err().kind(), ErrorKind::Stopped);
}

// ---- names and refs

#[procession::test]
async fn a_name_belongs_to_one_and_is_free_after_its_end() {
    let score = Score::new();
    let player = score.player("a").spawn().await.unwrap();
    let taken = [
        score.player("a").spawn().await.unwrap_err(),
        Supervisor::new("s")
            .child(score.player("b"))
            .child(score.player("b"))
            .start()
            .await
            .unwrap_err(),
        Supervisor::new("s")
            .child(score.player("c"))
            .child(score.player("a"))
            .start()
            .await
            .unwrap_err(),
        Supervisor::new("a")
            .child(score.player("d"))
            .start()
            .await
            .unwrap_err(),
    ];
    for (error, name) in taken.iter().zip(["`a`", "`b`", "`a`", "`a`"]) {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(score.take(), "+a", "nothing else was started");
    player.stop().await.unwrap();
    assert_eq!(
        PlayerRef::lookup("a").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    for _ in 0..10 {
        let player = score.player("a").spawn().await.unwrap();
        player.stop().await.unwrap();
    }
}

#[procession::test]
async fn refs_and_names_mean_the_same_actor_across_its_restarts() {
    let score = Score::new();
    let player = score.player("a").backoff(Backoff::none()).spawn().await.unwrap();
    let (found, named) = (PlayerRef::lookup("a").await.unwrap(), PlayerRef::named("a"));
    assert_eq!(player, found);
    for _ in 0..3 {
        let number = player.number().await.unwrap();
        assert_eq!(found.number().await.unwrap(), number);
        assert_eq!(named.number().await.unwrap(), number);
        assert!(within("a call", named.crash()).await.is_err());
        assert_ne!(within("a call", found.number()).await.unwrap(), number);
        assert_eq!(PlayerRef::lookup("a").await.unwrap(), player);
    }
    player.stop().await.unwrap();
    // A name means whoever has it, a ref the one that it was given for.
    let other = score.player("a").spawn().await.unwrap();
    assert_eq!(named.number().await.unwrap(), other.number().await.unwrap());
    assert!(matches!(player.number().await, Err(CallError::Stopped)));
    assert_ne!(player, other);
}

struct Conductor(PlayerRef);

#[actor]
impl Conductor {
    #[init]
    async fn new(player: PlayerRef) -> Result<Self> {
        player.number().await?;
        Ok(Conductor(player))
    }
    async fn asks(&self) -> Result<u32, CallError> {
        self.0.number().await
    }
    fn number(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn refs_travel_in_messages_and_arguments_of_init_and_outlive_restarts_at_both_ends() {
    let score = Score::new();
    let a = score.player("a").backoff(Backoff::none()).spawn().await.unwrap();
    let b = score.player("b").backoff(Backoff::none()).spawn().await.unwrap();
    let conductor = Conductor::spec(a.clone())
        .backoff(Backoff::none())
        .intensity(10, NEVER)
        .spawn()
        .await
        .unwrap();
    let back = b.join(a.clone()).await.unwrap();
    assert_eq!(back, a);
    for _ in 0..3 {
        let number = a.number().await.unwrap();
        assert_eq!(within("a call", b.partners_number()).await.unwrap(), number);
        assert_eq!(within("a call", conductor.asks()).await.unwrap(), number);
        a.kill().await.unwrap();
        let conducts = conductor.number().await.unwrap();
        conductor.kill().await.unwrap();
        assert_ne!(within("a call", conductor.number()).await.unwrap(), conducts);
        assert_ne!(within("a call", conductor.asks()).await.unwrap(), number);
    }
    a.stop().await.unwrap();
    assert!(matches!(
        b.partners_number().await,
        Err(CallError::Failed(CallError::Stopped))
    ));
}

#[procession::test]
async fn a_ref_may_be_written_down_by_hand_and_cannot_be_forged() {
    let score = Score::new();
    let player = score.player("a").spawn().await.unwrap();
    let text = serde_json::to_string(&player).unwrap();
    let read: PlayerRef = serde_json::from_str(&text).unwrap();
    assert_eq!(read, player);
    assert_eq!(read.number().await.unwrap(), player.number().await.unwrap());
    let named: PlayerRef =
        serde_json::from_str(&serde_json::to_string(&PlayerRef::named("a")).unwrap()).unwrap();
    assert_eq!(named.number().await.unwrap(), player.number().await.unwrap());
    // What is printed gives nobody the right to call.
    let cap = text
        .split(|c: char| !c.is_ascii_digit())
        .max_by_key(|digits| digits.len())
        .unwrap();
    assert!(cap.len() > 10 && !format!("{player:?} {read:?}").contains(cap));
    for forged in ["0", "1", "340282366920938463463374607431768211455"] {
        let forged: PlayerRef = serde_json::from_str(&text.replace(cap, forged)).unwrap();
        let refused = forged.number().await.unwrap_err();
        assert!(refused.to_string().contains("not genuine"), "{refused}");
        for refused in [forged.stop().await, forged.kill().await, forged.ready().await] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert!(forged.monitor().await.is_err());
    }
    assert!(serde_json::from_str::<PlayerRef>("17").is_err());
    player.number().await.unwrap();
}

#[procession::test]
async fn a_name_that_is_looked_up_as_another_type_is_refused() {
    let score = Score::new();
    let player = score.player("a").spawn().await.unwrap();
    let tree = Supervisor::new("s")
        .child(score.player("b"))
        .start()
        .await
        .unwrap();
    for name in ["a", "s"] {
        let error = ConductorRef::lookup(name).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains(&format!("`{name}` is a ")), "{error}");
    }
    let error = ConductorRef::named("a").number().await.unwrap_err();
    assert!(error.to_string().contains("`a` is a `Player`"), "{error}");
    assert_eq!(
        ConductorRef::lookup("nobody").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    // A ref that was written for one type and read as another is refused too.
    let misread: ConductorRef = serde_json::from_str(&serde_json::to_string(&player).unwrap()).unwrap();
    assert!(misread.number().await.is_err());
    player.number().await.unwrap();
    tree.stop().await.unwrap();
}

// ---- two tests at once

/// What both of the next two do: their names are the same, and each has its own.
async fn has_the_stage_alone() {
    for _ in 0..10 {
        let score = Score::new();
        assert_eq!(
            PlayerRef::lookup("soloist").await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
        let tree = Supervisor::new("stage")
            .child(score.player("soloist"))
            .start()
            .await
            .unwrap();
        let soloist = PlayerRef::lookup("soloist").await.unwrap();
        let number = soloist.number().await.unwrap();
        let partner = score.player("partner").spawn().await.unwrap();
        partner.join(PlayerRef::named("soloist")).await.unwrap();
        assert_eq!(within("a call", partner.partners_number()).await.unwrap(), number);
        let active = Process::active().await.unwrap();
        assert_eq!(active.len(), 2, "{active:?}");
        partner.stop().await.unwrap();
        tree.stop().await.unwrap();
        assert_eq!(score.take(), "+soloist +partner -partner -soloist");
    }
}

#[procession::test]
async fn a_test_does_not_disturb_another_with_the_same_names() {
    has_the_stage_alone().await;
}

#[procession::test]
async fn a_test_is_not_disturbed_by_another_with_the_same_names() {
    has_the_stage_alone().await;
}

#[procession::test]
async fn what_a_test_leaves_running_is_stopped_when_it_ends() {
    let score = Score::new();
    let path = score.path();
    // A test in a test: it has a context of its own, and its end.
    std::thread::spawn(move || leaves_a_player(&path)).join().unwrap();
    assert_eq!(score.take(), "+left -left");
}

fn leaves_a_player(path: &Path) {
    let config = procession::private::Main {
        name: "leaves",
        flavor: procession::private::Flavor::CurrentThread,
        worker_threads: None,
        signals: false,
    };
    let path = path.to_owned();
    procession::private::test(config, || async move {
        Player::spec(path, "left".to_owned()).spawn().await.unwrap();
    });
}

// ---- from a child

/// Starts a tree of its own, and does with it what a host can.
#[task]
async fn supervises(score: PathBuf) -> Result<String> {
    let player = |name: &str| {
        Player::spec(score.clone(), name.to_owned())
            .name(name)
            .backoff(Backoff::none())
    };
    let tree = Supervisor::new("below")
        .child(player("x"))
        .child(player("y"))
        .start()
        .await?;
    let single = player("single").spawn().await?;
    let found = PlayerRef::lookup("x").await?;
    let outside = PlayerRef::lookup("outside").await?;
    let mut exits = found.monitor().await?;
    let mut ends = outside.monitor().await?;
    let was = found.number().await?;
    found.kill().await?;
    let exit = exits.next().await.expect("an exit");
    assert_eq!((exit.pid, exit.last), (was, false));
    tree.ready().await?;
    assert_ne!(found.number().await?, was);
    outside.join(single.clone()).await?;
    assert_eq!(outside.partners_number().await?, single.number().await?);
    outside.kill().await?;
    assert_eq!(
        ends.next().await.expect("an exit").reason,
        ExitReason::Killed(KillCause::Asked)
    );
    outside.ready().await?;
    let names: Vec<_> = tree.tree().await?.into_iter().map(|info| info.name).collect();
    assert_eq!(
        PlayerRef::lookup("nobody").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(player("x").spawn().await.unwrap_err().kind(), ErrorKind::Invalid);
    single.stop().await?;
    Ok(names.join(" "))
}

#[procession::test]
async fn a_child_supervises_spawns_looks_up_and_monitors_as_a_host_does() {
    let score = Score::new();
    let outside = score
        .player("outside")
        .backoff(Backoff::none())
        .spawn()
        .await
        .unwrap();
    for _ in 0..3 {
        let child = Process::spawn(supervises, score.path()).await.unwrap();
        assert_eq!(within("a task", child.join()).await.unwrap(), "below x y");
        // What it started has ended with it, in order.
        let ended = async {
            while Process::active().await.unwrap().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        within("the end of what it started", ended).await;
        let played = score.take();
        assert!(played.contains("+x +y +single"), "{played}");
        assert!(played.ends_with("-single -y -x"), "{played}");
    }
    within("a call", outside.number()).await.unwrap();
}

#[procession::test]
async fn an_actor_that_was_spawned_runs_whatever_is_asked_next() {
    let score = Score::new();
    for n in 0..50 {
        let player = score.player(&format!("player-{n}")).spawn().await.unwrap();
        assert_eq!(player.info().await.unwrap().state, State::Running);
        assert!(player.pid().await.unwrap().is_some());
        player.kill().await.unwrap();
        // One that was up is started again, however soon it died.
        within("a call", player.number()).await.unwrap();
        player.stop().await.unwrap();
    }
}
