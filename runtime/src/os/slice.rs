//! For how long the scheduler lets a thread run before another that is ready.
//!
//! It is no priority, and needs no privilege: all get the same share of a processor. A thread of a shorter slice is let in
//! when it wakes, before one of a longer slice is done. Kernels before 6.12 have one slice for all: there nothing changes.

use super::check_long;

/// The least that the kernel allows.
const SHORT: u64 = 100_000;
/// The most.
const LONG: u64 = 100_000_000;

/// A slice of the ordinary scheduling class, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice(u64);

impl Slice {
    /// Of a thread that does little at a time, for which others wait.
    pub(crate) const SHORT: Slice = Slice(SHORT);
    /// What all have that asked for none.
    pub(crate) const USUAL: Slice = Slice(0);
    /// Of a thread that works ahead, for which nobody waits.
    pub(crate) const LONG: Slice = Slice(LONG);

    /// Gives it to the calling thread for a while.
    pub(crate) fn lend(self) -> Lent {
        Lent(self.take())
    }

    /// Gives it to the calling thread. The one that it had; `None`: it is in another class, or there are none here.
    pub(crate) fn take(self) -> Option<Slice> {
        let mut attributes = current()?;
        let before = Slice(attributes.sched_runtime);
        attributes.sched_runtime = self.0;
        // SAFETY: the kernel reads attributes of the size that they say, which outlive the call.
        let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
        check_long(set).ok().map(|_| before)
    }
}

/// A slice that the calling thread has for a while.
#[derive(Debug)]
pub(crate) struct Lent(Option<Slice>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            before.take();
        }
    }
}

/// The attributes of the calling thread, if it is of the ordinary class.
fn current() -> Option<libc::sched_attr> {
    let mut attributes = libc::sched_attr {
        size: 0,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes at most `size` bytes, which the attributes have, and which are numbers.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    check_long(got).ok()?;
    (attributes.sched_policy == libc::SCHED_OTHER as u32 && attributes.sched_runtime > 0)
        .then_some(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_taken_and_given_back() {
        std::thread::spawn(|| {
            let Some(before) = Slice::LONG.take() else {
                return;
            };
            assert_eq!(before.take(), Some(Slice::LONG));
            assert_eq!(current().map(|now| Slice(now.sched_runtime)), Some(before));
        })
        .join()
        .unwrap();
    }
}
