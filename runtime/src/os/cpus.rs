//! The processors that a thread may use, and whether others want them.

use nix::sys::resource::{UsageWho, getrusage};
use std::mem::MaybeUninit;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_processor() {
        assert!((1..=4096).contains(&allowed()));
        assert!(n_preempted() >= 0);
    }
}
