//! A fork whose child is the sister of the calling process: `CLONE_PARENT`, with a pidfd.
//!
//! The caller has one thread and stays so. What `fork` of the C library would do beyond the system call is done here:
//! the cached thread id is renewed (the kernel writes it where the library reads it, `PR_GET_TID_ADDRESS`), and the
//! robust list is registered again. Handlers of `pthread_atfork` do not run.

use super::pidfd::PidFd;
use super::{check, check_long};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// What a clone needs to know of its process; found out once.
#[derive(Debug)]
pub(crate) struct Cloner {
    thread_id: *mut libc::c_int,
    robust_list: (*mut libc::c_void, libc::size_t),
    way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Clone3,
    Clone,
}

/// On which side of the clone we are.
#[derive(Debug)]
pub(crate) enum Forked {
    Parent { pid: i32, pidfd: PidFd },
    Child,
}

const FLAGS: libc::c_int =
    libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;

impl Cloner {
    /// # Errors
    ///
    /// A kernel that does not tell where the thread id is cached: clones would not be safe.
    pub(crate) fn new() -> io::Result<Self> {
        let mut thread_id: *mut libc::c_int = std::ptr::null_mut();
        const PR_GET_TID_ADDRESS: libc::c_int = 40;
        // SAFETY: the kernel writes one pointer, which outlives the call.
        check(unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut thread_id) })?;
        let mut robust_list = (std::ptr::null_mut(), 0);
        let (head, size) = (&raw mut robust_list.0, &raw mut robust_list.1);
        // SAFETY: the kernel writes a pointer and a length, which outlive the call.
        check_long(unsafe { libc::syscall(libc::SYS_get_robust_list, 0, head, size) })?;
        Ok(Cloner {
            thread_id,
            robust_list,
            way: Way::Clone3,
        })
    }

    /// Clones this process; returns in both.
    pub(crate) fn fork(&mut self) -> io::Result<Forked> {
        match self.attempt() {
            Err(error) if self.way == Way::Clone3 && is_refused(&error) => {
                self.way = Way::Clone;
                self.attempt()
            }
            result => result,
        }
    }

    fn attempt(&self) -> io::Result<Forked> {
        let mut pidfd: RawFd = -1;
        let pid = match self.way {
            Way::Clone3 => self.clone3(&mut pidfd),
            Way::Clone => self.clone(&mut pidfd),
        };
        match check_long(pid)? {
            0 => {
                self.renew();
                Ok(Forked::Child)
            }
            pid => Ok(Forked::Parent {
                pid: pid as i32,
                // SAFETY: the kernel has just made this descriptor for us.
                pidfd: PidFd::from(unsafe { OwnedFd::from_raw_fd(pidfd) }),
            }),
        }
    }

    fn clone3(&self, pidfd: &mut RawFd) -> libc::c_long {
        // The exit signal stays 0: with CLONE_PARENT the kernel takes the caller's own and refuses any other.
        // SAFETY: all zeroes is a valid `clone_args`.
        let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
        args.flags = FLAGS as u64;
        args.pidfd = std::ptr::from_mut(pidfd) as u64;
        args.child_tid = self.thread_id as u64;
        // SAFETY: without CLONE_VM the child has a copy of this memory and goes on on a copy of this stack, as after
        // `fork`; the process has one thread, so no lock is held by another.
        unsafe { libc::syscall(libc::SYS_clone3, &args, size_of_val(&args)) }
    }

    fn clone(&self, pidfd: &mut RawFd) -> libc::c_long {
        let (flags, stack, tls) = (FLAGS as libc::c_ulong, 0_usize, 0_usize);
        // SAFETY: as for `clone3`; the order of the last two arguments differs between architectures.
        #[cfg(target_arch = "x86_64")]
        return unsafe { libc::syscall(libc::SYS_clone, flags, stack, pidfd, self.thread_id, tls) };
        // SAFETY: as above.
        #[cfg(not(target_arch = "x86_64"))]
        return unsafe { libc::syscall(libc::SYS_clone, flags, stack, pidfd, tls, self.thread_id) };
    }

    fn renew(&self) {
        let (head, size) = self.robust_list;
        // SAFETY: the list is the one that the C library registered in the parent, at the same address here.
        unsafe { libc::syscall(libc::SYS_set_robust_list, head, size) };
    }
}

/// The kernel or a sandbox does not have this call, as against being out of something.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)
    )
}
