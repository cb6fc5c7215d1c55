//! What `/proc` says of processes, where no system call does.

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;

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
