//! Another image of this program: its executable, started again with the trigger that makes it enter here.

use super::entry;
use super::relay::Relay;
use super::request::Welcome;
use crate::os::passing::{self, Wait};
use crate::os::slice::Slice;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The link of the kernel, not the path: it leads to this build even after a rebuild replaced or deleted the file.
const EXECUTABLE: &str = "/proc/self/exe";

/// Sends an image, ahead of its start, its role and the descriptors that belong to it.
pub(crate) fn welcome(to: BorrowedFd<'_>, welcome: Welcome, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    passing::send(to, &welcome.encode(), fds, Wait::No).map(drop)
}

/// Starts the executable with the arguments, environment and directory of this process, in a group of its own, with
/// `socket` as its stdin. Returns its pid: a child of the calling thread.
pub(crate) fn start(socket: OwnedFd, relay: &Relay) -> io::Result<i32> {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| OsString::from(EXECUTABLE));
    let _slice = Slice::USUAL.lend();
    let child = Command::new(EXECUTABLE)
        .arg0(name)
        .args(args)
        .env(entry::TRIGGER, entry::trigger_for_images())
        .stdin(socket)
        .stdout(copy(relay.stdout())?)
        .stderr(copy(relay.stderr())?)
        .process_group(0)
        .spawn()?;
    Ok(child.id() as i32)
}

fn copy(fd: BorrowedFd<'_>) -> io::Result<Stdio> {
    fd.as_fd().try_clone_to_owned().map(Stdio::from)
}
