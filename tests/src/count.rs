//! What a process can leak, counted.

use crate::deadline::{PATIENCE, holds_within};
use crate::proc;
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// What the process is called that is kept ready for the next start. It is there or not, as it comes, and no leak.
const SPARE: &str = "procession-idle";
/// What the host holds of it, beside the link that it may have ahead: its pidfd and its control socket.
const OF_SPARE: usize = 2;
/// What it holds itself, beside that link.
const OWN: usize = 8;
/// How long it may take until it holds no more than that.
const SETTLING: Duration = Duration::from_millis(200);

/// What this process and its children hold now, a spare process left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    pub descriptors: usize,
    pub threads: usize,
    pub children: usize,
    pub zombies: usize,
    /// Mappings of anonymous shared memory.
    pub shared_maps: usize,
    /// Named shared memory.
    pub named_memory: BTreeSet<String>,
    /// Private folders of named pipes.
    pub fifo_folders: BTreeSet<String>,
}

impl Counts {
    pub fn now() -> Self {
        let mut children = settled_children();
        let spares: Vec<_> = children
            .extract_if(.., |child| child.name == SPARE)
            .map(|spare| OF_SPARE + of_link_ahead(spare.pid))
            .collect();
        let of_spares = spares.iter().sum();
        Counts {
            descriptors: proc::descriptors(std::process::id()).saturating_sub(of_spares),
            threads: names("/proc/self/task").len(),
            zombies: children.iter().filter(|child| child.state == 'Z').count(),
            children: children.len(),
            // Its status page.
            shared_maps: maps(std::process::id(), "memfd:").saturating_sub(spares.len()),
            named_memory: having("/dev/shm", "procession"),
            fifo_folders: having(
                std::env::temp_dir(),
                &format!("procession-fifo-{}", std::process::id()),
            ),
        }
    }

    /// Waits until no more is held than was held then.
    ///
    /// # Panics
    ///
    /// If that does not come to be.
    pub async fn return_to(&self) {
        if !holds_within(PATIENCE, || Counts::now().is_within(self)).await {
            panic!("leaked: {:#?}\nof {self:#?}\nopen: {:#?}", Counts::now(), open());
        }
    }

    fn is_within(&self, before: &Counts) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.children <= before.children
            && self.zombies == 0
            && self.shared_maps <= before.shared_maps
            && self.named_memory.is_subset(&before.named_memory)
            && self.fifo_folders.is_subset(&before.fifo_folders)
    }
}

fn names(folder: impl AsRef<std::path::Path>) -> BTreeSet<String> {
    let listed = fs::read_dir(folder).into_iter().flatten().flatten();
    listed
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn having(folder: impl AsRef<std::path::Path>, part: &str) -> BTreeSet<String> {
    names(folder)
        .into_iter()
        .filter(|name| name.contains(part))
        .collect()
}

/// Those of this process, once a spare among them has closed what it was cloned with.
fn settled_children() -> Vec<proc::Entry> {
    let begin = Instant::now();
    loop {
        let children = proc::children_of(std::process::id());
        let mut spares = children.iter().filter(|child| child.name == SPARE);
        let is_settled =
            spares.all(|spare| spare.state != 'R' && of_link_ahead(spare.pid) <= most_of_link_ahead());
        if is_settled || begin.elapsed() > SETTLING {
            return children;
        }
        std::thread::yield_now();
    }
}

fn most_of_link_ahead() -> usize {
    match std::env::var("PROCESSION_LINK").as_deref() {
        Ok("socket") => 1,
        Ok("pipe") => 3,
        _ => 4,
    }
}

/// How many descriptors the host has of the link that is made with this spare, if there is one.
fn of_link_ahead(spare: u32) -> usize {
    // Of a ring the spare has closed the one that it has mapped.
    let mapped = maps(spare, "memfd:procession-ring");
    proc::descriptors(spare).saturating_sub(OWN) + mapped
}

fn maps(pid: u32, part: &str) -> usize {
    fs::read_to_string(format!("/proc/{pid}/maps"))
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains(part))
        .count()
}

/// What the descriptors of this process are, to be read when they are too many.
fn open() -> Vec<String> {
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let target = |path: std::path::PathBuf| {
        fs::read_link(&path).map(|to| format!("{} -> {}", path.display(), to.display()))
    };
    listed.filter_map(|entry| target(entry.path()).ok()).collect()
}
