//! A process, held by a descriptor: its number cannot be reused under our hands.
//!
//! Death is seen by polling the descriptor for reading; the status is taken by [`PidFd::take_status`], once. A status
//! that somebody else took (`SIGCHLD` ignored, a foreign `waitpid(-1)`) may still be had from
//! [`PidFd::kept_status`] on Linux 6.15 and later.

use super::{check, check_long};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// An owned pidfd.
#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled { signal: i32, core: bool },
}

/// The first version of the kernel's `struct pidfd_info`, which libc does not have.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const INFO_EXIT: u64 = 1 << 3;
/// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)`.
const GET_INFO: libc::c_ulong = (3 << 30) | ((size_of::<Info>() as libc::c_ulong) << 16) | (0xff << 8) | 11;
const SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

impl PidFd {
    /// Exact only while the process cannot be reaped by another: for a child of ours, or our parent.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: a plain system call; no memory is passed.
        let fd = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(PidFd(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Sends a signal. To a process that has ended and was reaped this is the error `ESRCH`.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        self.send(signal, 0)
    }

    /// Kills what is left of the process group that this process leads, or led.
    ///
    /// Linux before 6.9 knows groups by number alone: `number` is then used, and whoever gives it vouches that it was
    /// not freed.
    pub(crate) fn kill_group(&self, number: Option<i32>) {
        match (self.send(libc::SIGKILL, SIGNAL_PROCESS_GROUP), number) {
            (Err(error), Some(leader)) if error.raw_os_error() == Some(libc::EINVAL) => {
                super::group::kill(leader);
            }
            _ => {}
        }
    }

    /// Whether the process still has its number: it lives, or nobody took its status.
    pub(crate) fn has_number(&self) -> bool {
        self.signal(0).is_ok()
    }

    /// Whether the process has ended, reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Takes the status of an ended child and frees its number. `None`: it has not ended yet.
    ///
    /// # Errors
    ///
    /// `ECHILD`: it is not a child of ours, or somebody else took its status.
    pub(crate) fn take_status(&self) -> io::Result<Option<Ended>> {
        self.wait(libc::WEXITED | libc::WNOHANG)
    }

    /// The same status, which stays to be taken. `None`: it has not ended yet.
    pub(crate) fn status(&self) -> io::Result<Option<Ended>> {
        self.wait(libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
    }

    /// As [`status`](Self::status), but waits for the end.
    pub(crate) fn wait_status(&self) -> io::Result<Option<Ended>> {
        self.wait(libc::WEXITED | libc::WNOWAIT)
    }

    /// The status that the kernel keeps with the descriptor, after the process was reaped by somebody else.
    pub(crate) fn kept_status(&self) -> Option<Ended> {
        let mut info = Info {
            mask: INFO_EXIT,
            ..Info::default()
        };
        // SAFETY: the request number carries the size of `Info`, which outlives the call.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), GET_INFO, &mut info) }).ok()?;
        (info.mask & INFO_EXIT != 0).then(|| Ended::from_raw(info.exit_code))
    }

    fn send(&self, signal: i32, flags: libc::c_uint) -> io::Result<()> {
        let (fd, info) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: the null siginfo asks for the same as `kill`; the descriptor is ours and open.
        check_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, flags) })?;
        Ok(())
    }

    fn wait(&self, options: libc::c_int) -> io::Result<Option<Ended>> {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        loop {
            let id = self.0.as_raw_fd() as libc::id_t;
            // SAFETY: `info` is a whole siginfo that outlives the call.
            match check(unsafe { libc::waitid(libc::P_PIDFD, id, info.as_mut_ptr(), options) }) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            };
            // SAFETY: all zeroes is a valid siginfo, and the kernel writes only valid ones.
            return Ok(Ended::from_info(unsafe { info.assume_init() }));
        }
    }
}

impl Ended {
    fn from_info(info: libc::siginfo_t) -> Option<Self> {
        // SAFETY: `waitid` fills the SIGCHLD member of the union; a zeroed one reads as zeroes.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        match info.si_code {
            _ if pid == 0 => None,
            libc::CLD_EXITED => Some(Ended::Exited(status)),
            code => Some(Ended::Signaled {
                signal: status,
                core: code == libc::CLD_DUMPED,
            }),
        }
    }

    fn from_raw(status: i32) -> Self {
        if libc::WIFSIGNALED(status) {
            Ended::Signaled {
                signal: libc::WTERMSIG(status),
                core: libc::WCOREDUMP(status),
            }
        } else {
            Ended::Exited(libc::WEXITSTATUS(status))
        }
    }
}

impl From<OwnedFd> for PidFd {
    fn from(fd: OwnedFd) -> Self {
        PidFd(fd)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
