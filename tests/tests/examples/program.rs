//! The programs of the folder `examples`, run from outside, as a user does.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The longest that a run may take: it hangs if it takes longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// Each start, with how it was done, is logged at this level; all else as by default.
const LOG: &str = "info,procession::supervise=debug";

/// One way of running a program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) start: &'static str,
    pub(crate) link: &'static str,
    /// On one core.
    pub(crate) pinned: bool,
}

/// Every start mode with every kind of link, on all cores.
const WAYS: [Way; 6] = [
    Way::new("fork-server", "ring"),
    Way::new("fork-server", "socket"),
    Way::new("fork-server", "pipe"),
    Way::new("exec", "ring"),
    Way::new("exec", "socket"),
    Way::new("exec", "pipe"),
];

impl Way {
    const fn new(start: &'static str, link: &'static str) -> Self {
        Way {
            start,
            link,
            pinned: false,
        }
    }
}

/// What a program wrote until it ended well.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) stdout: String,
    /// Its stderr, without the lines that say how processes were started and that they ended as they were to.
    pub(crate) stderr: Vec<String>,
}

/// A program that runs.
pub(crate) struct Running {
    name: String,
    way: Way,
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
    since: Instant,
    log: Vec<String>,
}

/// What was seen while looking at a program.
pub(crate) enum Seen {
    /// A process of this pid was started.
    Started(i32),
    /// It warned of something.
    Warning,
    Other,
    /// Nothing, for the time that was waited.
    Nothing,
    /// Its stderr is at its end.
    End,
}

impl Way {
    fn command(self, program: &Path) -> Command {
        if !self.pinned {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(program);
        command
    }
}

/// Runs a program to its end, which must be a good one.
pub(crate) fn run(name: &str, way: Way, args: &[&Path]) -> Written {
    let mut running = Running::start(name, way, args);
    while !matches!(running.see(DEADLINE), Seen::End) {}
    running.finish()
}

/// The ways in which to run each.
pub(crate) fn ways() -> &'static [Way] {
    match n_runs() {
        0 => &[],
        _ => &WAYS,
    }
}

/// How often to run each: `PROCESSION_EXAMPLE_RUNS`, or once.
pub(crate) fn n_runs() -> usize {
    let asked = std::env::var("PROCESSION_EXAMPLE_RUNS").ok();
    asked.map_or(1, |n| n.parse().expect("PROCESSION_EXAMPLE_RUNS is a number"))
}

impl Running {
    pub(crate) fn start(name: &str, way: Way, args: &[&Path]) -> Running {
        let mut command = way.command(&examples().join(name));
        command
            .args(args)
            .env("PROCESSION_START", way.start)
            .env("PROCESSION_LINK", way.link)
            .env("RUST_LOG", LOG)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = read_whole(child.stdout.take().unwrap());
        let stderr = read_lines(child.stderr.take().unwrap());
        Running {
            name: name.to_owned(),
            way,
            child,
            stdout,
            stderr,
            since: Instant::now(),
            log: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next thing that it logs, waited for no longer than this.
    pub(crate) fn see(&mut self, within: Duration) -> Seen {
        let left = DEADLINE.saturating_sub(self.since.elapsed());
        match self.stderr.recv_timeout(within.min(left)) {
            Ok(line) => {
                let seen = match started(&line) {
                    Some(_) => Seen::Started(pid(&line)),
                    None if line.contains(" WARN ") => Seen::Warning,
                    None => Seen::Other,
                };
                self.log.push(line);
                seen
            }
            Err(RecvTimeoutError::Disconnected) => Seen::End,
            Err(RecvTimeoutError::Timeout) if left > within => Seen::Nothing,
            Err(RecvTimeoutError::Timeout) => self.hangs(),
        }
    }

    /// What it wrote. It has ended, or is about to.
    pub(crate) fn finish(mut self) -> Written {
        let left = DEADLINE.saturating_sub(self.since.elapsed());
        let Ok(stdout) = self.stdout.recv_timeout(left) else {
            self.hangs()
        };
        let status = self.child.wait().unwrap();
        let (name, way, log) = (&self.name, self.way, self.log.join("\n"));
        assert!(status.success(), "{name}, {way:?}: {status}\n{stdout}\n{log}");
        let used = format!("start={} link={}", way.start, way.link);
        let starts: Vec<_> = self.log.iter().filter_map(|line| started(line)).collect();
        assert!(
            !starts.is_empty(),
            "{name}, {way:?}: no process was started\n{log}"
        );
        assert!(
            starts.iter().all(|start| start.ends_with(&used)),
            "{name}, {way:?}: not as asked\n{log}"
        );
        self.log
            .retain(|line| !line.contains(" DEBUG procession::supervise"));
        Written {
            stdout,
            stderr: self.log,
        }
    }

    fn hangs(&mut self) -> ! {
        let stopped = self.child.kill().and_then(|()| self.child.wait());
        panic!(
            "{}, {:?}: no end within {DEADLINE:?} ({stopped:?})\n{}",
            self.name,
            self.way,
            self.log.join("\n")
        );
    }
}

/// How a process was started, if the line says that one was.
fn started(line: &str) -> Option<&str> {
    line.split_once(" DEBUG procession::supervise::start: started ")
        .map(|(_, how)| how)
}

fn pid(line: &str) -> i32 {
    let (_, rest) = line.split_once(" pid=").unwrap();
    rest.split(' ').next().and_then(|pid| pid.parse().ok()).unwrap()
}

fn read_whole(mut from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, receiver) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).unwrap();
        to.send(text)
    });
    receiver
}

fn read_lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (to, receiver) = channel();
    std::thread::spawn(move || {
        BufReader::new(from)
            .lines()
            .try_for_each(|line| to.send(line.unwrap()))
    });
    receiver
}

/// Where the examples are, built as this test is.
fn examples() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    static BUILD: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILD.lock().unwrap();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let mut command = Command::new(env!("CARGO"));
        command.args([
            "build",
            "--quiet",
            "--examples",
            "--message-format=json",
            "--profile",
            profile,
        ]);
        let output = command
            .current_dir(root)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the examples do not compile");
        let messages = String::from_utf8(output.stdout).unwrap();
        let built = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let program = built
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next();
        program.unwrap().parent().unwrap().to_owned()
    })
}
