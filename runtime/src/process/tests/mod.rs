//! Real processes: this test binary is its own host, fork server and child, and, for what would disturb other tests,
//! a host of its own that a test starts and watches from outside.

mod child;
mod context;
mod death;
mod hosts;
mod limits;
mod output;
mod server;
mod spare;

use super::Newborn;

/// What a newborn of this binary is: a child with a script, unless the environment asks for real ones.
pub(crate) fn claim(newborn: Newborn) -> Newborn {
    match std::env::var_os("PROCESSION_REAL_CHILDREN") {
        Some(_) => newborn,
        None => child::child(newborn),
    }
}

use super::launch::{Child, Launcher};
use super::mode::StartMode;
use super::reason::{LastWords, Said, reason};
use super::relay::Relay;
use super::watch::Status;
use crate::exit::ExitReason;
use crate::os::pidfd::PidFd;
use crate::os::procfs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

pub(super) const MODES: [StartMode; 2] = [StartMode::ForkServer, StartMode::Exec];
/// Longer than anything here takes, unless it never ends.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// A control thread: a runtime, a relay and a launcher.
pub(super) struct Host {
    pub(super) relay: Relay,
    pub(super) launcher: Launcher,
}

impl Host {
    /// Runs a test on a host in one mode.
    pub(super) fn run(mode: StartMode, test: impl AsyncFnOnce(&Host)) {
        Self::run_with(mode, |_, _| {}, test);
    }

    pub(super) fn run_with(mode: StartMode, sink: super::relay::Sink, test: impl AsyncFnOnce(&Host)) {
        Self::run_as(mode, false, sink, test);
    }

    /// Runs a test on a host that keeps a child ready.
    pub(super) fn run_with_spare(test: impl AsyncFnOnce(&Host)) {
        Self::run_as(StartMode::ForkServer, true, |_, _| {}, test);
    }

    fn run_as(mode: StartMode, spares: bool, sink: super::relay::Sink, test: impl AsyncFnOnce(&Host)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let relay = Relay::new(sink).unwrap();
            let host = Host {
                launcher: Launcher::new(mode, spares, &relay).unwrap(),
                relay,
            };
            tokio::time::timeout(LONG, test(&host)).await.expect("in time");
            assert_eq!(
                host.launcher.mode(),
                mode,
                "the mode that was asked for is the one in use"
            );
            host.close().await;
        });
    }

    /// Runs a test in both modes.
    pub(super) fn run_both(test: impl AsyncFn(&Host)) {
        for mode in MODES {
            Self::run(mode, &test);
        }
    }

    /// Starts a child that does what `what` says; see [`child`].
    pub(super) async fn start(&self, what: &str) -> Child {
        self.launcher.start(what.as_bytes(), &[], 0).await.unwrap()
    }

    /// Starts a child, lets it end, and judges.
    pub(super) async fn reason_of(&self, what: &str) -> ExitReason {
        let child = self.start(what).await;
        child.watch.ended().await;
        reason(
            &child.watch.reap(),
            LastWords::read(&child.page),
            Said::Nothing,
            None,
        )
    }

    pub(super) async fn status_of(&self, what: &str) -> Status {
        let child = self.start(what).await;
        child.watch.ended().await;
        child.watch.reap()
    }

    /// The processes that this thread is the parent of, zombies included.
    pub(super) fn children(&self) -> usize {
        procfs::children_of(nix::unistd::gettid().as_raw()).unwrap().len()
    }

    /// Waits until there are no more than this many.
    pub(super) async fn is_left_with(&self, children: usize) {
        while self.children() > children {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Ends the server, which ends all children, and sees that none of them is left, not even as a zombie.
    async fn close(self) {
        drop(self.launcher);
        let left = async {
            while !procfs::children_of(nix::unistd::gettid().as_raw())
                .unwrap()
                .is_empty()
            {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LONG, left).await.expect("nothing is left");
    }
}

/// Waits until a process has ended, whoever reaps it.
pub(super) async fn ended(pidfd: PidFd) {
    let seen = move || assert!(ends_within(&pidfd, LONG), "a process never ended");
    tokio::task::spawn_blocking(seen).await.unwrap();
}

pub(super) fn ends_within(pidfd: &PidFd, time: Duration) -> bool {
    let millis = PollTimeout::try_from(time).unwrap();
    poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], millis).unwrap() == 1
}

/// The control socket of a child, for blocking use.
pub(super) struct Line(UnixStream);

impl Line {
    pub(super) fn new(control: OwnedFd) -> Self {
        let stream = UnixStream::from(control);
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Line(stream)
    }

    /// What the child says, up to a line's end, without it.
    pub(super) fn read(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while self.0.read(&mut byte).expect("the child says something in time") == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    pub(super) fn write(&mut self, line: &str) {
        self.0.write_all(line.as_bytes()).unwrap();
        self.0.write_all(b"\n").unwrap();
    }
}

/// Reads a line from a child that will say one.
pub(super) async fn heard(child: Child) -> (String, Child) {
    let copy = child.control.try_clone().unwrap();
    let line = tokio::task::spawn_blocking(move || Line::new(copy).read())
        .await
        .unwrap();
    (line, child)
}
