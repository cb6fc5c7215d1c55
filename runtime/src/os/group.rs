//! Process groups, and the signal that comes when the parent dies.

use super::check;
use std::io;

/// Makes the calling process the leader of a group of its own.
pub(crate) fn lead() -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setpgid(0, 0) }).map(drop)
}

/// Kills every process of the group that `leader` leads, or led: the caller vouches that the number was not freed.
pub(crate) fn kill(leader: i32) {
    if leader > 1 {
        // SAFETY: no memory is passed; a group that is gone is an error without effect.
        unsafe { libc::kill(-leader, libc::SIGKILL) };
    }
}

/// Whether a process of this number exists, a zombie included.
pub(crate) fn exists(pid: i32) -> bool {
    // SAFETY: signal 0 is only the check.
    let gone = check(unsafe { libc::kill(pid, 0) }).is_err_and(|e| e.raw_os_error() == Some(libc::ESRCH));
    !gone
}

/// Dies with the thread that started this process, which belongs to `parent`. `false`: it is dead already.
pub(crate) fn die_with(parent: i32) -> bool {
    // SAFETY: no memory is passed.
    let set = check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) });
    // The check comes after the setting: a parent that died between the two is then seen here.
    set.is_ok() && nix::unistd::getppid().as_raw() == parent
}

/// Kills one process: a child of ours that was not reaped, so that the number is its own.
pub(crate) fn kill_one(child: i32) {
    if child > 1 {
        // SAFETY: no memory is passed.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
}
