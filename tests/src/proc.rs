//! What `/proc` says of processes.

use std::collections::BTreeSet;
use std::fs;

/// One process, told from a later one of the same number by when it started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    pub session: u32,
    pub started: u64,
    /// `R`, `S`, `D`, `T`, `Z`, as `ps` prints it.
    pub state: char,
    pub name: String,
}

/// What is known of a process; `None`: there is none of that number.
pub fn entry(pid: u32) -> Option<Entry> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Its state.
pub fn state(pid: u32) -> Option<char> {
    entry(pid).map(|entry| entry.state)
}

/// Whether it runs: one that is dead and not reaped does not.
pub fn is_alive(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

impl Entry {
    /// Whether that very process still runs.
    pub fn lives(&self) -> bool {
        entry(self.pid).is_some_and(|now| now.started == self.started && now.state != 'Z')
    }
}

/// The children of a process, zombies included, in the order in which they started.
pub fn children_of(parent: u32) -> Vec<Entry> {
    let mut children: Vec<_> = all().into_iter().filter(|entry| entry.parent == parent).collect();
    children.sort_by_key(|entry| (entry.started, entry.pid));
    children
}

/// Its children, theirs, and so on.
pub fn descendants_of(ancestor: u32) -> Vec<Entry> {
    let all = all();
    let mut known = BTreeSet::from([ancestor]);
    let mut found = Vec::new();
    loop {
        let next: Vec<_> = all
            .iter()
            .filter(|entry| known.contains(&entry.parent) && !known.contains(&entry.pid))
            .cloned()
            .collect();
        if next.is_empty() {
            return found;
        }
        known.extend(next.iter().map(|entry| entry.pid));
        found.extend(next);
    }
}

/// The processes of a session that run, whoever their parents are by now.
pub fn of_session(session: u32) -> Vec<Entry> {
    let runs = |entry: &Entry| entry.session == session && entry.state != 'Z';
    all().into_iter().filter(runs).collect()
}

/// How many descriptors it has open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// How many KiB of its memory are in use.
pub fn resident_kib(pid: u32) -> usize {
    status_kib(pid, "VmRSS:")
}

/// How many of these are its alone.
pub fn private_kib(pid: u32) -> usize {
    status_kib(pid, "RssAnon:")
}

fn status_kib(pid: u32, what: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0)
}

/// Where the executable of a process begins: the same in clones of one image, another in each that was executed.
pub fn base(pid: u32) -> Option<String> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.split('-').next().map(str::to_owned)
}

fn all() -> Vec<Entry> {
    let listed = fs::read_dir("/proc").expect("/proc").flatten();
    listed
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(entry)
        .collect()
}

fn parse(pid: u32, stat: &str) -> Option<Entry> {
    // The name may hold spaces and parentheses: what follows its last one is well-formed.
    let (name, rest) = (
        stat.split_once('(')?.1.rsplit_once(')')?.0,
        stat.rsplit_once(") ")?.1,
    );
    let fields: Vec<_> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Entry {
        pid,
        parent: number(1)? as u32,
        group: number(2)? as u32,
        session: number(3)? as u32,
        started: number(19)?,
        state: fields.first()?.chars().next()?,
        name: name.to_owned(),
    })
}

/// Whether it has the ring of a link in its memory.
pub fn has_ring(pid: u32) -> bool {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"));
    maps.is_ok_and(|maps| maps.contains("memfd:procession-ring"))
}
