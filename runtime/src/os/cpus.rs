//! The processors that a thread may use: whether others want them, and how it leaves one.

use super::procfs;
use nix::sys::resource::{UsageWho, getrusage};
use std::io;
use std::mem::{self, MaybeUninit};

/// On how many processors the calling thread may run: at least one.
pub(crate) fn allowed() -> usize {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointer and size are those of a live set, which zeros initialise.
    let got = unsafe {
        let got = libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
        if got == 0 {
            libc::CPU_COUNT(set.assume_init_ref())
        } else {
            got
        }
    };
    match usize::try_from(got) {
        Ok(0) | Err(_) => std::thread::available_parallelism().map_or(1, |n| n.get()),
        Ok(n) => n,
    }
}

/// How often the calling thread had to give way to another that was ready to run.
pub(crate) fn n_preempted() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// How many threads of the whole machine run or are ready to.
pub(crate) fn n_running() -> Option<usize> {
    procfs::n_running()
}

/// The processor that the calling thread runs on.
#[inline]
pub(crate) fn current() -> Option<usize> {
    // SAFETY: it takes nothing and gives a number.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

/// Lets others that are ready for this processor run first, if there are any.
pub(crate) fn yield_now() {
    // SAFETY: it takes nothing, and never fails on Linux.
    let _ = unsafe { libc::sched_yield() };
}

/// Moves the calling thread from the processor `here` to another that it may use. It may come back.
pub(crate) fn leave(here: usize) -> io::Result<()> {
    const SIZE: usize = mem::size_of::<libc::cpu_set_t>();
    let mut allowed = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointers and sizes are those of live sets, which zeros initialise; `CPU_CLR` checks the index.
    let moved = unsafe {
        if libc::sched_getaffinity(0, SIZE, allowed.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let allowed = allowed.assume_init();
        let mut others = allowed;
        libc::CPU_CLR(here, &mut others);
        libc::sched_setaffinity(0, SIZE, &others) == 0 && libc::sched_setaffinity(0, SIZE, &allowed) == 0
    };
    match moved {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_leaves_its_processor_and_may_come_back() {
        let n_allowed = allowed();
        let here = current().unwrap();
        match leave(here) {
            Ok(()) => assert!(n_allowed > 1),
            Err(_) => assert_eq!(n_allowed, 1),
        }
        assert_eq!(allowed(), n_allowed);
        yield_now();
        assert!(n_running().unwrap() > 0);
    }

    #[test]
    fn a_thread_has_a_processor() {
        assert!((1..=4096).contains(&allowed()));
        assert!(n_preempted() >= 0);
    }
}
