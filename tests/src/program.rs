//! A program that is run to be killed: in a session of its own, with its output read line by line.

use crate::deadline::{PATIENCE, blocks_until};
use crate::proc::{self, Entry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How long what a program started may outlive it.
const SECOND: Duration = Duration::from_secs(1);

/// A program that runs. Dropped, it is killed.
///
/// `PROCESSION_START` and `PROCESSION_LINK` reach it from the environment of the tests.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: Receiver<(Stream, String)>,
    heard: Vec<String>,
    errors: Vec<String>,
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

/// What a program came to.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// The lines of its standard output, from the beginning.
    pub out: Vec<String>,
    /// The lines of its standard error.
    pub err: Vec<String>,
    /// What is left in the folder that was its `TMPDIR`.
    pub left: Vec<PathBuf>,
    /// What still ran of its session a second after it had ended itself.
    pub running: Vec<Entry>,
}

impl Program {
    /// Starts it with these arguments and without a terminal.
    pub fn start(executable: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new("setsid");
        command
            .arg(executable.as_ref())
            .args(arguments)
            .stdin(Stdio::null());
        Self::run(command)
    }

    /// Starts it with a terminal of its own, in whose foreground it is.
    pub fn start_on(terminal: OwnedFd, executable: impl AsRef<Path>, arguments: &[&str]) -> Self {
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(executable.as_ref())
            .args(arguments)
            .stdin(terminal);
        Self::run(command)
    }

    /// `setsid` becomes the program: the number is that of both.
    fn run(mut command: Command) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("procession-program-{}-{n}", std::process::id()));
        fs::create_dir(&folder).expect("a folder for a program");
        command
            .env("TMPDIR", &folder)
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("a program");
        let (sender, lines) = channel();
        let (out, err) = (
            child.stdout.take().expect("its output"),
            child.stderr.take().expect("its errors"),
        );
        let errs = sender.clone();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.for_each(|line| drop(sender.send((Stream::Out, line))));
        });
        std::thread::spawn(move || {
            let lines = BufReader::new(err).lines().map_while(Result::ok);
            lines.for_each(|line| drop(errs.send((Stream::Err, line))));
        });
        Program {
            child,
            lines,
            heard: Vec::new(),
            errors: Vec::new(),
            folder,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its output that begins so; gives what follows.
    ///
    /// # Panics
    ///
    /// If it does not come.
    #[track_caller]
    pub fn line(&mut self, start: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let found = line
                        .1
                        .strip_prefix(start)
                        .filter(|_| line.0 == Stream::Out)
                        .map(str::to_owned);
                    self.keep(line);
                    if let Some(rest) = found {
                        return rest;
                    }
                }
                Err(why) => panic!(
                    "no `{start}` ({why}) in {:#?}\nerrors: {:#?}",
                    self.heard, self.errors
                ),
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("a signal to a program that runs");
    }

    /// A signal to its whole process group, as a terminal sends it.
    pub fn signal_group(&self, signal: Signal) {
        kill(Pid::from_raw(-(self.pid() as i32)), signal).expect("a signal to a group that runs");
    }

    /// Everything that it started, and what that did.
    pub fn descendants(&self) -> Vec<Entry> {
        proc::descendants_of(self.pid())
    }

    /// Waits for its end, and for that of its output: nobody holds it open any more.
    ///
    /// # Panics
    ///
    /// If one of them does not come.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let mut status = None;
        let ended = blocks_until(PATIENCE, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        assert!(ended, "it runs on: {:#?}\nerrors: {:#?}", self.heard, self.errors);
        let mut running = Vec::new();
        blocks_until(SECOND, || {
            running = proc::of_session(self.pid());
            running.is_empty()
        });
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.keep(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("somebody holds its output open: {:#?}", self.heard),
            }
        }
        let left = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        Ended {
            status: status.expect("an end"),
            out: std::mem::take(&mut self.heard),
            err: std::mem::take(&mut self.errors),
            left,
            running,
        }
    }

    fn keep(&mut self, (stream, line): (Stream, String)) {
        match stream {
            Stream::Out => self.heard.push(line),
            Stream::Err => self.errors.push(line),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Ended {
    /// The code that a shell shows: 128 and the number of the signal, where one ended it.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .or_else(|| self.status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1)
    }
}
