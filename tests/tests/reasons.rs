//! Ends that depend on the system or on the thread: whether a core was dumped, who ran out of stack, what is blocked.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use procession::prelude::*;
use std::path::{Path, PathBuf};
use tests::{Fault, within};

/// Aborts in that folder, where a core may have so many bytes.
#[task]
fn aborts(folder: PathBuf, most: u64) {
    std::env::set_current_dir(folder).expect("a folder");
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).expect("a limit");
    setrlimit(Resource::RLIMIT_CORE, most.min(hard), hard).expect("a lower limit");
    std::process::abort();
}

/// Whether it says that a core was dumped, and whether there is a file.
async fn dumps(folder: &Path, most: u64) -> (bool, bool) {
    let process = within("a start", Process::spawn(aborts, (folder.to_owned(), most))).await;
    let reason = within("an end", process.expect("a process").wait()).await;
    let ExitReason::Signaled { signal, core } = reason else {
        panic!("{reason}")
    };
    assert_eq!(signal, nix::libc::SIGABRT);
    let n_files = std::fs::read_dir(folder).expect("a folder").count();
    (core, n_files > 0)
}

/// Why no core can be waited for here, if so.
fn obstacle() -> Option<String> {
    let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE).expect("a limit");
    match pattern.trim() {
        "" => Some("the kernel writes none".to_owned()),
        elsewhere if elsewhere.starts_with('|') || elsewhere.contains('/') => {
            Some(format!("they go to `{elsewhere}`"))
        }
        _ => (hard < RLIM_INFINITY).then(|| format!("RLIMIT_CORE can be {hard} at most")),
    }
}

#[procession::test]
async fn a_reason_says_whether_a_core_was_dumped() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(dumps(folder.path(), 0).await, (false, false));
    if let Some(obstacle) = obstacle() {
        eprintln!("cores that are dumped are left out: {obstacle}");
        return;
    }
    assert_eq!(dumps(folder.path(), RLIM_INFINITY).await, (true, true));
}

#[task]
fn overflows_on_a_thread() {
    let thread = std::thread::Builder::new().spawn(|| Fault::StackOverflow.strike());
    let _ = thread.expect("a thread").join();
}

/// This program's `main` is not the library's, so its children never have the standard library set up for one.
#[procession::test]
async fn a_thread_of_a_program_with_another_main_that_overflows_its_stack_ends_by_a_fault() {
    let process = within("a start", Process::spawn(overflows_on_a_thread, ())).await;
    let reason = within("an end", process.expect("a process").wait()).await;
    assert_eq!(reason.signal(), Some(nix::libc::SIGSEGV), "{reason}");
}

/// The mask of blocked signals, as the kernel prints it.
#[task]
fn blocked() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("a status");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    mask.expect("a mask").trim().to_owned()
}

/// Also what the fork server blocks.
#[procession::test]
async fn every_signal_reaches_a_child() {
    let process = within("a start", Process::spawn(blocked, ()))
        .await
        .expect("a process");
    assert_eq!(within("a mask", process.join()).await, Ok("0".repeat(16)));
}
