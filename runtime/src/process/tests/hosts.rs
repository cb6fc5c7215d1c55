//! Hosts that are processes of their own, so that a test may kill them, or change what all threads of a process share.

use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Names the scenario that the test `a_host_of_its_own` plays.
const SCENARIO: &str = "PROCESSION_TEST_HOST";

/// A host in a process of its own.
pub(super) struct Other {
    pub(super) process: std::process::Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Other {
    pub(super) fn play(scenario: &str, mode: StartMode) -> Self {
        Self::play_in(scenario, mode, |_| {})
    }

    pub(super) fn play_in(scenario: &str, mode: StartMode, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new("/proc/self/exe");
        command
            .args([
                "--exact",
                "process::tests::hosts::a_host_of_its_own",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(SCENARIO, format!("{mode} {scenario}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        change(&mut command);
        let mut process = command.spawn().unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Other { process, said }
    }

    /// The rest of a line that begins with `word`, among what it prints.
    pub(super) fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(
                self.said.read_line(&mut line).unwrap(),
                0,
                "it ended before it said `{word}`"
            );
            // The test harness writes before the first of ours, on the same line.
            if let Some((_, rest)) = line.split_once(&format!("<{word}>")) {
                return rest.trim_end().to_owned();
            }
        }
    }

    /// All that it prints from now on, once it has ended well.
    pub(super) fn rest(mut self) -> String {
        let mut text = String::new();
        self.said.read_to_string(&mut text).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {text}");
        text
    }

    /// Kills it and reaps it.
    pub(super) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

pub(super) fn say(word: &str, text: impl std::fmt::Display) {
    println!("<{word}>{text}");
}

/// Waits for whoever plays this host to close its stdin.
pub(super) async fn dismissed() {
    let read = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(read).await.unwrap().unwrap();
}

#[test]
fn a_host_of_its_own() {
    let Ok(play) = std::env::var(SCENARIO) else { return };
    let (mode, scenario) = play.split_once(' ').unwrap();
    let mode = mode.parse().unwrap();
    // The test harness has begun a line.
    println!();
    match scenario {
        "family" => Host::run(mode, family),
        "ignores-children" => Host::run(mode, ignores_children),
        "moves" => Host::run(mode, moves),
        "moves-with-spare" => Host::run_with_spare(moves),
        "spare" => Host::run_with_spare(super::spare::alone),
        "leaks" => Host::run(mode, super::limits::leaks),
        "few-descriptors" => Host::run(mode, super::limits::few_descriptors),
        "few-processes" => Host::run(mode, super::limits::few_processes),
        "prints" => Host::run(mode, super::output::prints),
        "closed-stdout" => Host::run_with(mode, super::output::count_record, super::output::closed_stdout),
        "adopts" => Host::run(mode, adopts),
        other => panic!("no scenario `{other}`"),
    }
}

/// Children with children of their own, until it is killed.
async fn family(host: &Host) {
    let mut all = Vec::new();
    for _ in 0..5 {
        let (grandchild, child) = heard(host.start("grandchild").await).await;
        say("member", child.pid);
        say("member", grandchild);
        all.push(child);
    }
    say("member", host.launcher.server_pid().unwrap());
    say("complete", "");
    dismissed().await;
}

#[test]
fn a_host_that_is_killed_leaves_nothing_within_a_second() {
    for mode in MODES {
        let mut host = Other::play("family", mode);
        let members: Vec<PidFd> = (0..11)
            .map(|_| PidFd::open(host.says("member").parse().unwrap()).unwrap())
            .collect();
        host.says("complete");
        let deadline = std::time::Instant::now() + Duration::from_secs(1);
        host.kill();
        for member in members {
            assert!(ends_within(
                &member,
                deadline.saturating_duration_since(std::time::Instant::now())
            ));
        }
    }
}

#[test]
fn a_host_that_ends_well_leaves_nothing_either() {
    for mode in MODES {
        let mut host = Other::play("family", mode);
        let members: Vec<PidFd> = (0..11)
            .map(|_| PidFd::open(host.says("member").parse().unwrap()).unwrap())
            .collect();
        host.says("complete");
        drop(host.process.stdin.take());
        host.rest();
        for member in members {
            assert!(ends_within(&member, Duration::from_secs(1)));
        }
    }
}

/// With SIGCHLD ignored the kernel reaps, and what it keeps with the pidfd is all there is.
async fn ignores_children(host: &Host) {
    crate::os::testing::ignore_child_signal();
    match host.status_of("exit 3").await {
        Status::Exited(3) => {}
        Status::Unknown { why } => assert!(why.contains("SIGCHLD is ignored"), "{why}"),
        other => panic!("expected code 3, or unknown, got {other:?}"),
    }
    let (grandchild, child) = heard(host.start("grandchild").await).await;
    let grandchild = PidFd::open(grandchild.parse().unwrap()).unwrap();
    child.watch.signal(libc::SIGKILL).unwrap();
    child.watch.ended().await;
    child.watch.reap();
    ended(grandchild).await;
}

#[test]
fn a_host_that_ignores_the_end_of_children_still_sees_it() {
    for mode in MODES {
        Other::play("ignores-children", mode).rest();
    }
}

/// Its directory, environment and mask change between starts.
async fn moves(host: &Host) {
    let asks = async |what: &str| heard(host.start(&format!("ask {what}")).await).await.0;
    assert_eq!(
        asks("cwd").await,
        std::env::current_dir().unwrap().display().to_string()
    );
    assert_eq!(asks("PROCESSION_TEST_A").await, "none");
    let folder = std::env::temp_dir().join(format!("procession-moves-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    std::env::set_current_dir(&folder).unwrap();
    crate::os::testing::set_var("PROCESSION_TEST_A", Some("one"));
    crate::os::testing::set_var("PROCESSION_TEST_B", Some("= \u{e9}"));
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o27));
    assert_eq!(asks("cwd").await, folder.display().to_string());
    assert_eq!(asks("PROCESSION_TEST_A").await, "one");
    assert_eq!(asks("PROCESSION_TEST_B").await, "= \u{e9}");
    assert_eq!(asks("umask").await, "27");
    crate::os::testing::set_var("PROCESSION_TEST_A", None);
    crate::os::testing::set_var("PROCESSION_TEST_B", Some("two"));
    assert_eq!(asks("PROCESSION_TEST_A").await, "none");
    // A server that is replaced begins with what is current.
    let server = PidFd::open(host.launcher.server_pid().unwrap()).unwrap();
    server.signal(libc::SIGKILL).unwrap();
    ended(server).await;
    assert_eq!(asks("PROCESSION_TEST_B").await, "two");
    assert_eq!(asks("cwd").await, folder.display().to_string());
    // A directory that is gone is no obstacle.
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(asks("umask").await, "27");
    std::env::set_current_dir("/").unwrap();
    assert_eq!(asks("cwd").await, "/");
}

#[test]
fn a_child_has_the_hosts_current_directory_environment_and_mask() {
    for mode in MODES {
        Other::play("moves", mode).rest();
    }
}

/// A child leaves an orphan behind, which this host adopts if it is process 1.
async fn adopts(host: &Host) {
    assert_eq!(std::process::id(), 1);
    let mut own = Command::new("true").spawn().unwrap();
    // The shell between ends at once; its own child ends next, as a child of this host.
    let (_, _living) = heard(host.start("hello").await).await;
    let child = host.start("by-shell (sleep 0.01 &) ; sleep 0.2").await;
    child.watch.ended().await;
    assert_eq!(child.watch.reap(), Status::Exited(0));
    let zombies = || {
        let mine = crate::os::procfs::children_of(1).unwrap();
        mine.into_iter().filter(|pid| *pid != own.id() as i32).count()
    };
    while zombies() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        own.wait().unwrap().success(),
        "a child of the user's own is not reaped by the library"
    );
}

#[test]
fn a_host_that_is_process_1_reaps_orphans_and_leaves_the_users_children_alone() {
    let may_unshare = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .status();
    if !may_unshare.is_ok_and(|status| status.success()) {
        return;
    }
    for mode in MODES {
        let exe = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(exe).args([
            "--exact",
            "process::tests::hosts::a_host_of_its_own",
            "--nocapture",
            "--test-threads=1",
        ]);
        let status = command
            .env(SCENARIO, format!("{mode} adopts"))
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{mode}: {status}");
    }
}

#[test]
fn a_trigger_set_by_hand_is_an_error_and_not_a_wait() {
    let by_hand = |place: &str, stdin: Stdio| {
        let mut command = Command::new("/proc/self/exe");
        let output = command
            .env(super::super::entry::TRIGGER, place)
            .stdin(stdin)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("PROCESSION_ENTER is set"), "{text}");
        assert_eq!(output.status.code(), Some(super::super::entry::NOT_ENTERED));
    };
    for place in ["init", "main", "elsewhere"] {
        let (kept, given) = UnixStream::pair().unwrap();
        by_hand(place, Stdio::null());
        by_hand(place, Stdio::piped());
        by_hand(place, Stdio::from(OwnedFd::from(given)));
        drop(kept);
    }
}
