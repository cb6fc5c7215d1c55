//! What tests of other floors do to their own process, and may not write themselves.

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Reads where nothing is.
pub(crate) fn fault() {
    let nowhere = std::hint::black_box(16 as *const u64);
    // SAFETY: none; the test wants the fault.
    unsafe { nowhere.read_volatile() };
}

/// Sends a signal that may have no name.
pub(crate) fn kill_own_thread(signal: i32) {
    // SAFETY: no memory is passed.
    unsafe { libc::raise(signal) };
}

/// Has the kernel reap all children of this process.
pub(crate) fn ignore_child_signal() {
    // SAFETY: no handler of ours runs.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Sets or removes a variable.
pub(crate) fn set_var(name: &str, value: Option<&str>) {
    // SAFETY: in a host of its own, in which nothing else reads the environment meanwhile.
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}

/// Makes the stdout of this process a pipe that nobody reads.
pub(crate) fn close_stdout() {
    let (read, write) = std::io::pipe().unwrap();
    drop(read);
    nix::unistd::dup2_stdout(write).unwrap();
}

/// Limits how many processes the user of this command may have.
pub(crate) fn limit_processes(command: &mut Command, most: u64) {
    use nix::sys::resource::{Resource, setrlimit};
    // SAFETY: between fork and exec there is one system call.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_NPROC, most, most)?)) };
}

/// Gives back to the system what the allocator keeps and nobody uses.
pub(crate) fn trim() {
    // SAFETY: it may be called at any time, and moves nothing that is in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
