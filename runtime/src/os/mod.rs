//! What the kernel gives, each facility in a small safe type: owned descriptors in, owned descriptors out.
//!
//! The only room in which `unsafe` may stand. Nothing here knows of processes' roles, frames or actors, keeps state
//! of its own, or waits without being asked to.

#![allow(unsafe_code)]

pub(crate) mod clock;
pub(crate) mod clone;
mod copy;
pub(crate) mod cpus;
pub(crate) mod credentials;
pub(crate) mod descriptors;
pub(crate) mod environ;
pub(crate) mod eventfd;
pub(crate) mod fifo;
pub(crate) mod group;
pub(crate) mod handoff;
pub(crate) mod image;
pub(crate) mod init_array;
pub(crate) mod interrupt;
pub(crate) mod limits;
pub(crate) mod map;
pub(crate) mod memfd;
pub(crate) mod memory;
pub(crate) mod passing;
pub(crate) mod pidfd;
pub(crate) mod procfs;
pub(crate) mod reactor;
pub(crate) mod sealed;
pub(crate) mod signal;
pub(crate) mod slice;
pub(crate) mod socket;
pub(crate) mod title;
pub(crate) mod unwind;

use std::io;

/// A number that nobody can guess.
pub(crate) fn random() -> u128 {
    let mut bytes = [0_u8; 16];
    // SAFETY: the buffer is valid for its length. A request of 16 bytes is answered whole.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    assert_eq!(got, 16, "the kernel gives random numbers");
    u128::from_ne_bytes(bytes)
}

/// The result of a libc call that says -1 on failure.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The result of a raw system call that says -1 on failure.
fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
pub(crate) mod testing;
