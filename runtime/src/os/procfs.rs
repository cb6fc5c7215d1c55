//! What `/proc` says of processes, where no system call does.

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How many threads this process has; 0 if that cannot be read.
pub(crate) fn threads() -> usize {
    numbers("/proc/self/task").len()
}

/// The descriptors that this process has open, without the one that lists them.
pub(crate) fn descriptors() -> Vec<RawFd> {
    let listed = numbers("/proc/self/fd");
    let open = |fd: &RawFd| fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    listed.into_iter().filter(open).collect()
}

/// How many threads of the whole machine run or are ready to.
pub(crate) fn n_running() -> Option<usize> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let (n_running, _) = load.split(' ').nth(3)?.split_once('/')?;
    n_running.parse().ok()
}

/// How many bytes of memory can still be had, as far as that is known: of the machine's, swap included, and of what each
/// control group above this process leaves it.
pub(crate) fn available_memory() -> Option<u64> {
    let machine = parse_available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let above = path.into_iter().flat_map(|path| Path::new(path).ancestors());
    let left = above.filter_map(|path| group_leaves(path.strip_prefix("/").ok()?));
    Some(left.fold(machine, u64::min))
}

/// What a control group with a limit leaves: the cached files in it give way.
fn group_leaves(path: &Path) -> Option<u64> {
    let folder = Path::new("/sys/fs/cgroup").join(path);
    let read = |name| fs::read_to_string(folder.join(name)).ok();
    let number = |name| read(name)?.trim().parse::<u64>().ok();
    let used = number("memory.current")?.saturating_sub(parse_cached(&read("memory.stat")?));
    Some(number("memory.max")?.saturating_sub(used))
}

fn parse_cached(stat: &str) -> u64 {
    let of = |line: &str| {
        let (name, bytes) = line.split_once(' ')?;
        matches!(name, "active_file" | "inactive_file").then(|| bytes.parse::<u64>().ok())?
    };
    stat.lines().filter_map(of).sum()
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    Some((kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0)) * 1024)
}

/// The children of one thread of this process, zombies included.
pub(crate) fn children_of(thread: i32) -> io::Result<Vec<i32>> {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/children"))?;
    Ok(text
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) zombie: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
}

/// `None`: there is no such process.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The file-creation mask of this process, read again and again: a thread may not ask the kernel without changing it.
#[derive(Debug)]
pub(crate) struct Umask(File);

impl Umask {
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/status").map(Umask)
    }

    pub(crate) fn get(&self) -> Option<u32> {
        // It is the second line, so the rest of the page need not be read.
        let mut buffer = [0; 128];
        let n = self.0.read_at(&mut buffer, 0).ok()?;
        parse_umask(std::str::from_utf8(&buffer[..n]).ok()?)
    }
}

fn parse_umask(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

/// The name stands in parentheses and may hold any bytes, parentheses too, so the fields are counted from its end.
fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    Some(Stat {
        zombie: matches!(fields.next()?, "Z" | "X"),
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

fn numbers(folder: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![];
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_named_like_a_stat_line_is_read_right() {
        let stat = parse_stat("7 (a) Z 1 (b) c) S 3 9 9 0").unwrap();
        assert_eq!((stat.zombie, stat.parent, stat.group), (false, 3, 9));
    }

    #[test]
    fn the_mask_is_what_the_shell_would_say() {
        assert_eq!(parse_umask("Name:\tx\nUmask:\t0027\nState:"), Some(0o27));
        assert!(Umask::open().unwrap().get().is_some());
    }

    #[test]
    fn this_process_has_its_own_number_and_its_parents() {
        let stat = stat(std::process::id() as i32).unwrap();
        assert_eq!(stat.parent, nix::unistd::getppid().as_raw());
        assert!(!stat.zombie && threads() > 0);
    }
}
