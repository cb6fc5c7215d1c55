//! Programs of their own, for what all threads of a process share: its limits, its directory, its signals, its end.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

/// How long a program may run before it counts as hanging, in seconds.
const PATIENCE: &str = "120";

/// The command for a program that is killed when it hangs.
pub fn program(path: impl AsRef<Path>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", PATIENCE])
        .arg(path.as_ref())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command
}

/// Runs it to its end, which must be a good one, and gives what it printed.
pub fn succeed(command: &mut Command) -> Printed {
    let printed = finish(command);
    assert!(printed.success, "{command:?}: {printed}");
    printed
}

/// Runs it to its end.
pub fn finish(command: &mut Command) -> Printed {
    Printed::from(command.output().unwrap())
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Printed {
    pub success: bool,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        Printed {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl std::fmt::Display for Printed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "exit code {:?}", self.code)?;
        write!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// A program that runs, and that its test talks to.
#[derive(Debug)]
pub struct Talking {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Talking {
    pub fn with(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Talking { process, said }
    }

    /// The rest of the next line that begins with `word`.
    pub fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(
                self.said.read_line(&mut line).unwrap(),
                0,
                "it ended before it said `{word}`"
            );
            if let Some(rest) = line.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Closes its stdin, which it waits for, and gives the rest of what it prints once it has ended well.
    pub fn dismiss(mut self) -> String {
        drop(self.process.stdin.take());
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {rest}");
        rest
    }
}

/// Waits until whoever started this program closes its stdin.
pub fn wait_for_dismissal() {
    // Whatever comes, and however it ends, it is over then.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// The descriptors of this process that are sockets or pipes, from this number on.
pub fn talking_descriptors(from: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_talking = |fd: &i32| {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        let target = target.to_string_lossy().into_owned();
        target.starts_with("socket:") || target.starts_with("pipe:") || target.ends_with("(deleted)")
    };
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|fd| *fd >= from).filter(is_talking).collect()
}

/// Writes what is no frame on each of these.
pub fn write_garbage(fds: &[i32]) {
    for fd in fds {
        // SAFETY: the bytes outlive the call. Whoever owns the number gets garbage: that is what is asked for.
        unsafe { libc::write(*fd, [0xff_u8; 64].as_ptr().cast(), 64) };
    }
}

/// Closes what the library holds in this process, from this number to that.
pub fn close_descriptors(first: u32, last: u32) {
    // SAFETY: no memory is passed. Whoever owns the numbers loses them: that is what is asked for.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Changes the environment of a program in which nothing else reads it meanwhile.
pub fn set_variable(name: &str, value: &str) {
    // SAFETY: the caller vouches that no other thread reads or writes the environment now.
    unsafe { std::env::set_var(name, value) };
}

/// Has the kernel reap all children of this process.
pub fn ignore_child_signal() {
    // SAFETY: no handler runs.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Limits how many processes the user of a command may have, and makes it a user that nobody else is.
pub fn limit_processes(command: &mut Command, user: u32, most: u64) -> &mut Command {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use std::os::unix::process::CommandExt;
    let (_, hard) = getrlimit(Resource::RLIMIT_NPROC).unwrap();
    // The limit does not bind root.
    if nix::unistd::geteuid().is_root() {
        command.uid(user);
    }
    // SAFETY: between fork and exec there is one system call.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NPROC, most, hard)?)) }
}
