//! Anonymous memory behind a descriptor.

use super::{check, memory};
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A sparse file of `size` bytes in memory, close-on-exec, whose size can no longer change.
///
/// The size is sealed so that a peer cannot shrink it under a mapping of ours, which would be a `SIGBUS`.
pub(crate) fn create(name: &CStr, size: usize) -> io::Result<OwnedFd> {
    let fd = unsealed(name)?;
    // SAFETY: no memory is passed; the descriptor is ours.
    check(unsafe { libc::ftruncate(fd.as_raw_fd(), size as libc::off_t) })?;
    keep_size(fd)
}

/// The same for a process and its parent. Where the kernel makes no memory whose size can be sealed it is a file without a
/// name: whoever has that can shorten it, and end all who have mapped it.
pub(crate) fn create_somehow(name: &CStr, size: usize) -> io::Result<OwnedFd> {
    match create(name, size) {
        Err(error) if is_refused(&error) => {
            let file = nameless()?;
            file.set_len(size as u64)?;
            Ok(file.into())
        }
        made => made,
    }
}

/// Whether an error says that this system will never have that, not that it is short of something.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

/// The same, of memory that is there from the start: to run out of it is an error here, and no signal later.
pub(crate) fn reserved(name: &CStr, size: usize) -> io::Result<OwnedFd> {
    memory::has_room_for(size)?;
    let fd = unsealed(name)?;
    reserve(fd.as_fd(), size)?;
    keep_size(fd)
}

/// Makes a file in memory that large, with all of its pages.
pub(super) fn reserve(fd: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    loop {
        // SAFETY: no memory is passed.
        match check(unsafe { libc::fallocate(fd.as_raw_fd(), 0, 0, size) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map(drop),
        }
    }
}

fn keep_size(fd: OwnedFd) -> io::Result<OwnedFd> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: no memory is passed; the descriptor is ours.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(fd)
}

/// A file in memory that holds `bytes`, to be read once by whoever gets the descriptor.
pub(crate) fn holding(name: &CStr, bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::io::{Seek, Write};
    let mut file = match unsealed(name) {
        Err(error) if is_refused(&error) => nameless()?,
        made => made?.into(),
    };
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// The size of the file behind a descriptor, if it cannot shrink.
pub(crate) fn sealed_size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: no memory is passed.
    let seals = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) })?;
    if seals & libc::F_SEAL_SHRINK == 0 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a shared page that can shrink",
        ));
    }
    size(fd)
}

/// The size of the file behind a descriptor, now.
pub(crate) fn size(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let stat = nix::sys::stat::fstat(fd)?;
    Ok(usize::try_from(stat.st_size).unwrap_or(0))
}

/// An empty file that is nowhere to be found, in memory where there is a file system of that.
fn nameless() -> io::Result<File> {
    let open = |folder: &Path| {
        let mut options = File::options();
        options.read(true).write(true).mode(0o600);
        options.custom_flags(libc::O_TMPFILE | libc::O_EXCL).open(folder)
    };
    open(Path::new("/dev/shm")).or_else(|_| open(&std::env::temp_dir()))
}

/// An empty file in memory.
pub(super) fn unsealed(name: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` ends in a zero byte and outlives the call.
    let fd = check(unsafe { libc::memfd_create(name.as_ptr(), flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
