//! Orphans of a host that is process 1: what its children left behind is adopted by it, and is reaped here.
//!
//! By pid, never by -1: the status of a child that the user's own code started is the user's. An orphan is known by
//! its process group, which is that of one of our children; one that left it (`setsid`) is not, and stays a zombie.

use crate::os::pidfd::PidFd;
use crate::os::procfs;
use std::collections::BTreeSet;

/// The groups that our children lead or led.
#[derive(Debug)]
pub(crate) struct Orphans {
    adopts: bool,
    groups: BTreeSet<i32>,
}

impl Orphans {
    pub(crate) fn new() -> Self {
        Orphans {
            adopts: std::process::id() == 1,
            groups: BTreeSet::new(),
        }
    }

    /// Whether there is anything to do, ever.
    pub(crate) fn adopts(&self) -> bool {
        self.adopts
    }

    /// A child was started, and leads a group.
    pub(crate) fn expect(&mut self, pid: i32) {
        if self.adopts {
            self.groups.insert(pid);
        }
    }

    /// Reaps the orphans that ended. `is_child`: those whose status is awaited elsewhere.
    pub(crate) fn reap(&mut self, is_child: impl Fn(i32) -> bool) {
        let adopted: Vec<(i32, procfs::Stat)> = adopted();
        for (pid, stat) in &adopted {
            if stat.zombie && self.groups.contains(&stat.group) && !is_child(*pid) {
                let _ = PidFd::open(*pid).and_then(|pidfd| pidfd.take_status());
            }
        }
        // A group without a leader and without a member here may be somebody else's tomorrow.
        let alive = |group: &i32| is_child(*group) || adopted.iter().any(|(_, stat)| stat.group == *group);
        self.groups.retain(alive);
    }
}

/// The children of the main thread, to which the kernel gives orphans.
fn adopted() -> Vec<(i32, procfs::Stat)> {
    let children = procfs::children_of(nix::unistd::getpid().as_raw()).unwrap_or_default();
    children
        .into_iter()
        .filter_map(|pid| Some((pid, procfs::stat(pid)?)))
        .collect()
}
