//! Limits of the process: raising the one on descriptors, and naming the one behind an error.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit on descriptors to the hard one. Failing to is no error: the old limit stays.
pub(crate) fn raise_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Gives another process the limit on processes that this one has; whether it had a different one.
pub(crate) fn share_processes(pid: i32) -> bool {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NPROC) else {
        return false;
    };
    let ours = libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let mut its = ours;
    // SAFETY: both structures outlive the call.
    let given = unsafe { libc::prlimit(pid, libc::RLIMIT_NPROC, &ours, &mut its) };
    given == 0 && (its.rlim_cur, its.rlim_max) != (soft, hard)
}

/// What ran out, with the limit's name and value, and what to do; else the error's own text.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE) => {
            let limit = soft(Resource::RLIMIT_NOFILE);
            format!("out of file descriptors: RLIMIT_NOFILE is {limit}; raise it with `ulimit -n`")
        }
        Some(libc::ENFILE) => {
            let limit = setting("/proc/sys/fs/file-max");
            format!("out of file descriptors on this machine: /proc/sys/fs/file-max is {limit}")
        }
        Some(libc::EAGAIN) => {
            let (limit, most) = (soft(Resource::RLIMIT_NPROC), setting("/proc/sys/kernel/pid_max"));
            format!(
                "out of processes: RLIMIT_NPROC is {limit}, /proc/sys/kernel/pid_max is {most}; raise the first with \
                 `ulimit -u`, or the `pids.max` of the control group"
            )
        }
        Some(libc::ENOMEM) => {
            let limit = soft(Resource::RLIMIT_AS);
            format!("out of memory: RLIMIT_AS is {limit}; free memory or raise it with `ulimit -v`")
        }
        Some(libc::ETOOMANYREFS) => {
            let limit = soft(Resource::RLIMIT_NOFILE);
            format!("too many descriptors in flight between processes: RLIMIT_NOFILE is {limit}")
        }
        _ => error.to_string(),
    }
}

fn soft(resource: Resource) -> String {
    match getrlimit(resource) {
        Ok((nix::sys::resource::RLIM_INFINITY, _)) => "unlimited".to_owned(),
        Ok((soft, _)) => soft.to_string(),
        Err(_) => "unknown".to_owned(),
    }
}

fn setting(path: &str) -> String {
    std::fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_for_want_of_descriptors_names_the_limit_and_its_value() {
        let text = explain(&io::Error::from_raw_os_error(libc::EMFILE));
        assert!(
            text.contains(&format!("RLIMIT_NOFILE is {}", soft(Resource::RLIMIT_NOFILE))),
            "{text}"
        );
    }
}
