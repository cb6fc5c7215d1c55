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

/// Runs it to its end, which must be a good one, with a terminal for its stderr; gives what it wrote there.
pub fn on_terminal(command: &mut Command) -> String {
    let size = nix::pty::Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = nix::pty::openpty(&size, None).unwrap();
    let mut process = command.stderr(terminal.slave).spawn().unwrap();
    // The command holds our copy of its end.
    command.stderr(Stdio::null());
    let mut shown = Vec::new();
    // That all have closed it is an error for the reader of a terminal.
    let _ = std::fs::File::from(terminal.master).read_to_end(&mut shown);
    let (status, shown) = (
        process.wait().unwrap(),
        String::from_utf8_lossy(&shown).into_owned(),
    );
    assert!(status.success(), "{status}: {shown}");
    shown
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
    descriptors(from, |target| {
        target.starts_with("socket:") || target.starts_with("pipe:") || target.ends_with("(deleted)")
    })
}

/// The descriptors from this number on that are what is asked for.
fn descriptors(from: i32, is_asked_for: impl Fn(&str) -> bool) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_asked_for = |fd: &i32| {
        let target = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
        is_asked_for(&target.to_string_lossy())
    };
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|fd| *fd >= from).filter(is_asked_for).collect()
}

/// Where the rings of this process's links are mapped.
pub fn rings() -> Vec<std::ops::Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(number(from)?..number(to)?)
    };
    maps.lines()
        .filter(|line| line.contains("memfd:procession-ring"))
        .filter_map(range)
        .collect()
}

/// Writes what no ring can be in all of each of these, and wakes whoever waits for one.
pub fn scribble(rings: &[std::ops::Range<usize>]) {
    for ring in rings {
        // SAFETY: it is mapped, and whoever else uses it gets garbage: that is what is asked for.
        unsafe { std::ptr::write_bytes(ring.start as *mut u8, 0xff, ring.len()) };
    }
    for bell in descriptors(5, |target| target.contains("[eventfd]")) {
        // SAFETY: the bytes outlive the call.
        unsafe { libc::write(bell, (&raw const ONE).cast(), 8) };
    }
}

static ONE: u64 = 1;

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

/// Has this process take longer to exit than one may that has closed its control socket and said nothing.
pub fn exit_slowly() {
    extern "C" fn slowly() {
        std::thread::sleep(std::time::Duration::from_millis(1500));
    }
    // SAFETY: the function does what any may at an exit.
    unsafe { libc::atexit(slowly) };
}

/// Has the kernel reap all children of this process.
pub fn ignore_child_signal() {
    // SAFETY: no handler runs.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Has the kernel refuse every mapping of this many bytes to a command and all that it starts.
pub fn refuse_mappings(command: &mut Command, size: u32) -> &mut Command {
    refuse(
        command,
        libc::EPERM,
        &[(CALL, libc::SYS_mmap as u32), (SECOND_ARGUMENT, size)],
    )
}

/// Has the kernel refuse all memory behind a descriptor.
pub fn refuse_memory_files(command: &mut Command) -> &mut Command {
    refuse(command, libc::EPERM, &[(CALL, libc::SYS_memfd_create as u32)])
}

/// Has the kernel refuse to seal what is behind a descriptor.
pub fn refuse_seals(command: &mut Command) -> &mut Command {
    let call = (CALL, libc::SYS_fcntl as u32);
    refuse(
        command,
        libc::EPERM,
        &[call, (SECOND_ARGUMENT, libc::F_ADD_SEALS as u32)],
    )
}

/// Has the kernel keep no status with the descriptor of a process, as before Linux 6.15.
pub fn refuse_kept_statuses(command: &mut Command) -> &mut Command {
    const PIDFD_GET_INFO: u32 = 0xc040_ff0b;
    refuse(
        command,
        libc::ENOTTY,
        &[(CALL, libc::SYS_ioctl as u32), (SECOND_ARGUMENT, PIDFD_GET_INFO)],
    )
}

/// Has the kernel know no `clone3`, as many a sandbox does.
pub fn refuse_clone3(command: &mut Command) -> &mut Command {
    // The C library, too, goes on to `clone` after this error, and after no other.
    refuse(command, libc::ENOSYS, &[(CALL, libc::SYS_clone3 as u32)])
}

/// Has the kernel refuse every `clone` that makes a sister of its caller.
pub fn refuse_sisters(command: &mut Command) -> &mut Command {
    let flags =
        libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    refuse(
        command,
        libc::EPERM,
        &[(CALL, libc::SYS_clone as u32), (FIRST_ARGUMENT, flags as u32)],
    )
}

/// Where a filter sees the number of the system call, and its first two arguments.
const CALL: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;
const SECOND_ARGUMENT: u32 = 24;

/// Has the kernel refuse a command, and all that it starts, with this error what has all of these values at their places.
fn refuse<'a>(command: &'a mut Command, error: i32, all: &[(u32, u32)]) -> &'a mut Command {
    use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
    use std::os::unix::process::CommandExt;
    let step = |code: u32, jf, k| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf,
        k,
    };
    let mut filter = Vec::new();
    for (idx, (at, value)) in all.iter().enumerate() {
        // Past the other comparisons and the refusal.
        let beyond = 2 * (all.len() - idx - 1) + 1;
        filter.push(step(BPF_LD | BPF_W | BPF_ABS, 0, *at));
        filter.push(step(BPF_JMP | BPF_JEQ | BPF_K, beyond as u8, *value));
    }
    let refused = libc::SECCOMP_RET_ERRNO | error as u32;
    filter.push(step(BPF_RET | BPF_K, 0, refused));
    filter.push(step(BPF_RET | BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the program outlives the calls, which copy it and do not change it.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) == 0
        };
        match done {
            true => Ok(()),
            false => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec there are two system calls.
    unsafe { command.pre_exec(install) }
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
