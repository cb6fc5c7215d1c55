//! How much memory there is to be had.
//!
//! Shared memory is reserved page by page, and where the last is gone the kernel does not say no: it looks for a process
//! to kill. So what cannot be there is refused before it is asked for.

use super::procfs;
use std::io;

/// Less than this is reserved without a look: that would cost more than it spares.
const SMALL: usize = 16 << 20;

/// An error where so many bytes are more than this machine, or the control group of this process, has left.
pub(crate) fn has_room_for(len: usize) -> io::Result<()> {
    if len < SMALL {
        return Ok(());
    }
    match procfs::available_memory() {
        Some(available) if len as u64 > available => Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("{len} bytes of shared memory are more than the {available} that are available"),
        )),
        _ => Ok(()),
    }
}
