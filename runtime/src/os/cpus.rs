//! The processors that a thread may use: whether others want them, and how it leaves one.

use nix::sys::resource::{UsageWho, getrusage};
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;

/// On how many processors the calling thread may run: at least one.
pub(crate) fn allowed() -> usize {
    // SAFETY: it reads a live set.
    let n_allowed = affinity().map_or(0, |set| unsafe { libc::CPU_COUNT(&set) });
    match usize::try_from(n_allowed) {
        Ok(0) | Err(_) => std::thread::available_parallelism().map_or(1, |n| n.get()),
        Ok(n) => n,
    }
}

thread_local! {
    /// How often it gave way of its own accord, which the kernel counts as well.
    static N_YIELDED: Cell<i64> = const { Cell::new(0) };
}

/// How often the calling thread had to give way to another that was ready to run.
pub(crate) fn n_preempted() -> i64 {
    n_switched() - N_YIELDED.get()
}

fn n_switched() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.involuntary_context_switches())
}

/// The processor that the calling thread runs on.
#[inline]
pub(crate) fn current() -> Option<usize> {
    // SAFETY: it takes nothing and gives a number.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

/// Lets others that are ready for this processor run first, if there are any. A thread that would not be back before long,
/// as it runs by a deadline or when nobody else does, stays.
pub(crate) fn yield_now() {
    // SAFETY: they take numbers at most, and touch no memory of this process.
    unsafe {
        if matches!(
            libc::sched_getscheduler(0),
            libc::SCHED_DEADLINE | libc::SCHED_IDLE
        ) {
            return;
        }
        let before = n_switched();
        libc::sched_yield();
        N_YIELDED.set(N_YIELDED.get() + n_switched() - before);
    }
}

/// Moves the calling thread from the processor `here` to another that it may use. It may come back: what it may use is the
/// same afterwards, and grows with what its process may.
pub(crate) fn leave(here: usize) -> io::Result<()> {
    let allowed = affinity()?;
    let mut others = allowed;
    // SAFETY: `CPU_CLR` panics where the set has no such index.
    unsafe { libc::CPU_CLR(here, &mut others) };
    set_affinity(&others)?;
    // Whoever may use all may use those too that are there later: so it is asked for all, of which the kernel gives what there
    // is, and for what was before only where that was less.
    let all = set_of(0..libc::CPU_SETSIZE as usize);
    if set_affinity(&all).is_err() || affinity()? != allowed {
        set_affinity(&allowed)?;
    }
    Ok(())
}

fn affinity() -> io::Result<libc::cpu_set_t> {
    let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointer and size are those of a live set, which zeros initialise.
    unsafe {
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr()) {
            0 => Ok(set.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the pointer and size are those of a live set.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_of(cpus: impl IntoIterator<Item = usize>) -> libc::cpu_set_t {
    // SAFETY: zeros are an empty set; `CPU_SET` panics where it has no such index.
    unsafe {
        let mut set: libc::cpu_set_t = MaybeUninit::zeroed().assume_init();
        cpus.into_iter().for_each(|cpu| libc::CPU_SET(cpu, &mut set));
        set
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
        assert!(crate::os::procfs::n_running().unwrap() > 0);
    }

    #[test]
    fn a_thread_that_is_bound_stays_bound_when_it_has_left_a_processor() {
        std::thread::spawn(|| {
            let all = affinity().unwrap();
            let here = current().unwrap();
            let one = set_of([here]);
            set_affinity(&one).unwrap();
            assert!(leave(here).is_err());
            assert!(affinity().unwrap() == one);
            set_affinity(&all).unwrap();
            let _ = leave(here);
            assert!(affinity().unwrap() == all);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_that_gives_way_was_not_preempted_by_that() {
        let (n_switches, n_yielded) = (n_switched(), N_YIELDED.get());
        (0..100).for_each(|_| yield_now());
        let (n_switches, n_yielded) = (n_switched() - n_switches, N_YIELDED.get() - n_yielded);
        assert!((0..=n_switches).contains(&n_yielded));
    }

    #[test]
    fn a_thread_has_a_processor() {
        assert!((1..=4096).contains(&allowed()));
        assert!(n_preempted() >= 0);
    }
}
