//! The environment, changed in a process that has one thread.
//!
//! Changing it while another thread reads it is undefined in C, so each function here is for the time before `main`,
//! or for the fork server, which has one thread for life.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Takes a variable out.
pub(crate) fn take(name: &str) -> Option<OsString> {
    let value = std::env::var_os(name)?;
    // SAFETY: called in a process of one thread, as the head of the module says.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// Whether the kernel marked this process as one whose environment is not to be trusted (set-user-id and its kin).
pub(crate) fn is_untrusted() -> bool {
    // SAFETY: reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// The whole environment, `name=value` each, ended by a zero byte.
pub(crate) fn snapshot(into: &mut Vec<u8>) {
    into.clear();
    for (name, value) in std::env::vars_os() {
        into.extend_from_slice(&name.into_vec());
        into.push(b'=');
        into.extend_from_slice(&value.into_vec());
        into.push(0);
    }
}

/// Makes the environment what a [`snapshot`] says. Only what differs is touched, since C's `setenv` never frees.
pub(crate) fn replace(snapshot: &[u8]) {
    let wanted: BTreeMap<&OsStr, &OsStr> = snapshot.split(|b| *b == 0).filter_map(parse).collect();
    for (name, value) in std::env::vars_os() {
        match wanted.get(name.as_os_str()) {
            Some(same) if **same == value => {}
            // SAFETY: called in a process of one thread.
            _ => unsafe { std::env::remove_var(name) },
        }
    }
    for (name, value) in wanted {
        if std::env::var_os(name).is_none() {
            // SAFETY: called in a process of one thread.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

fn parse(entry: &[u8]) -> Option<(&OsStr, &OsStr)> {
    // A name may begin with `=`, so the search begins behind its first byte.
    let at = 1 + entry.iter().skip(1).position(|b| *b == b'=')?;
    Some((
        OsStr::from_bytes(&entry[..at]),
        OsStr::from_bytes(&entry[at + 1..]),
    ))
}
