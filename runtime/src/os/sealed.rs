//! Memory that is written once, then sealed: nobody can change, shrink or grow it any more, whatever they hold of it.
//!
//! So this is the one kind of shared memory that may be lent as a slice. A [`Draft`] is this process's alone: it is mapped
//! for writing at most while it is filled, since the seal against writing is refused as long as such a mapping exists,
//! also one that a fork has copied (which is prevented). What comes from a peer is believed only after its seals and its
//! size were looked at: a seal cannot be broken again.
//!
//! Memory is reserved first: to run out of it is an error here, and no signal later.

use super::{check, memfd, memory};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::str::Utf8Error;
use std::sync::Arc;

/// The most that one write takes.
const MOST_AT_ONCE: usize = 1 << 30;

const SEALS: libc::c_int = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;

/// Memory that is still written.
#[derive(Debug)]
pub(crate) struct Draft {
    fd: OwnedFd,
    len: usize,
}

/// Memory that is not written any more, mapped for reading.
#[derive(Debug)]
pub(crate) struct Sealed {
    fd: Arc<OwnedFd>,
    mapping: Mapping,
}

/// Sealed memory that was seen to be text.
#[derive(Debug, Clone)]
pub(crate) struct Text(Arc<Sealed>);

/// An owned mapping, unmapped on drop.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory; a sealed one is only read, and one of a draft is lent by `&mut` alone.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Draft {
    /// `len` bytes, all zero.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        memory::has_room_for(len)?;
        let fd = memfd::unsealed(c"procession-shared")?;
        memfd::reserve(fd.as_fd(), len)?;
        Ok(Draft { fd, len })
    }

    /// Writes them all, without mapping them.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = &bytes[..bytes.len().min(self.len)];
        let mut at = 0;
        while !rest.is_empty() {
            let most = &rest[..rest.len().min(MOST_AT_ONCE)];
            let n = nix::sys::uio::pwrite(&self.fd, most, at)?;
            at += n as libc::off_t;
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Lends them to be written.
    pub(crate) fn fill<R>(&mut self, fill: impl FnOnce(&mut [u8]) -> R) -> io::Result<R> {
        let writing = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = Mapping::new(self.fd.as_fd(), self.len, writing, libc::MAP_SHARED)?;
        // A fork while it is filled would keep a mapping for writing, and with it the seal away.
        // SAFETY: the range is the mapping's.
        check(unsafe { libc::madvise(mapping.base.as_ptr().cast(), self.len, libc::MADV_DONTFORK) })?;
        // SAFETY: the mapping has `len` bytes, and lives beyond the call. The descriptor was given to nobody, and `self`
        // is borrowed exclusively, so nobody else reads or writes them.
        Ok(fill(unsafe {
            std::slice::from_raw_parts_mut(mapping.base.as_ptr(), self.len)
        }))
    }

    /// Ends the writing, for good.
    pub(crate) fn seal(self) -> io::Result<Sealed> {
        let seals = SEALS | libc::F_SEAL_SEAL;
        // SAFETY: no memory is passed; the descriptor is ours.
        check(unsafe { libc::fcntl(self.fd.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
        Sealed::map(Arc::new(self.fd), self.len)
    }
}

impl Sealed {
    /// Maps what a peer has sent, of which `len` bytes are to be read.
    pub(crate) fn open(fd: Arc<OwnedFd>, len: usize) -> io::Result<Self> {
        // SAFETY: no memory is passed.
        let seals = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GET_SEALS) };
        if seals == -1 || seals & SEALS != SEALS {
            return Err(invalid("shared memory that is not sealed"));
        }
        // It cannot shrink any more.
        let size = usize::try_from(nix::sys::stat::fstat(&fd)?.st_size).unwrap_or(0);
        if len == 0 || size != len {
            return Err(invalid(format!(
                "shared memory of {size} bytes where {len} were announced"
            )));
        }
        Self::map(fd, len)
    }

    fn map(fd: Arc<OwnedFd>, len: usize) -> io::Result<Self> {
        // Private: to kernels before 6.7 a shared mapping might be made writable later, and the seal is in its way.
        let mapping = Mapping::new(fd.as_fd(), len, libc::PROT_READ, libc::MAP_PRIVATE)?;
        Ok(Sealed { fd, mapping })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping has that many bytes and lives as long as `self`. The file behind it cannot shrink, and no
        // process can write it: its seals were set or seen before it was mapped, and this mapping is for reading.
        unsafe { std::slice::from_raw_parts(self.mapping.base.as_ptr(), self.mapping.len) }
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }
}

impl Text {
    pub(crate) fn new(memory: Arc<Sealed>) -> Result<Self, Utf8Error> {
        std::str::from_utf8(memory.bytes())?;
        Ok(Text(memory))
    }

    pub(crate) fn as_str(&self) -> &str {
        // SAFETY: it was looked at when `self` was made, and nobody can have changed it since.
        unsafe { std::str::from_utf8_unchecked(self.0.bytes()) }
    }

    pub(crate) fn memory(&self) -> &Arc<Sealed> {
        &self.0
    }
}

impl Mapping {
    fn new(fd: BorrowedFd<'_>, len: usize, protection: libc::c_int, flags: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd.as_raw_fd(), 0) };
        match NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => Ok(Mapping {
                base: base.cast(),
                len,
            }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that was mapped, and no reference into it outlives `self`.
        let _ = check(unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) });
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(bytes: &[u8]) -> Sealed {
        let draft = Draft::new(bytes.len()).unwrap();
        draft.write(bytes).unwrap();
        draft.seal().unwrap()
    }

    fn refused(fd: OwnedFd, len: usize) -> String {
        Sealed::open(Arc::new(fd), len).unwrap_err().to_string()
    }

    #[test]
    fn what_was_filled_or_written_is_read_by_whoever_has_the_descriptor() {
        let bytes: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
        let ours = sealed(&bytes);
        assert_eq!(ours.bytes(), bytes);
        assert_eq!(Sealed::open(ours.fd().clone(), 10_000).unwrap().bytes(), bytes);
        let mut draft = Draft::new(10_000).unwrap();
        draft.fill(|room| room.copy_from_slice(&bytes)).unwrap();
        assert_eq!(draft.seal().unwrap().bytes(), bytes);
    }

    #[test]
    fn what_was_sealed_can_be_written_by_nobody() {
        let ours = sealed(b"written once");
        assert_eq!(
            nix::sys::uio::pwrite(ours.fd(), b"x", 0),
            Err(nix::errno::Errno::EPERM)
        );
        let writing = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = Mapping::new(ours.fd().as_fd(), 4096, writing, libc::MAP_SHARED);
        assert_eq!(mapped.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(ours.bytes(), b"written once");
    }

    #[test]
    fn what_a_peer_could_still_change_is_refused() {
        let draft = Draft::new(100).unwrap();
        assert!(refused(draft.fd, 100).contains("not sealed"));
        assert!(refused(memfd::create(c"x", 100).unwrap(), 100).contains("not sealed"));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(refused(file.into(), 100).contains("not sealed"));
        // Against further writable mappings: the peer may keep the one that it has.
        let future = memfd::unsealed(c"x").unwrap();
        memfd::reserve(future.as_fd(), 100).unwrap();
        let seals = libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
        // SAFETY: no memory is passed.
        check(unsafe { libc::fcntl(future.as_raw_fd(), libc::F_ADD_SEALS, seals) }).unwrap();
        assert!(refused(future, 100).contains("not sealed"));
    }

    #[test]
    fn another_size_than_was_announced_is_refused() {
        for len in [0, 11, 13, 4096, usize::MAX] {
            let ours = sealed(b"twelve bytes");
            let error = Sealed::open(ours.fd().clone(), len).unwrap_err().to_string();
            assert!(error.contains("12 bytes"), "{error}");
        }
    }

    #[test]
    fn more_than_there_is_memory_is_an_error() {
        for len in [1 << 46, usize::MAX, isize::MAX as usize] {
            let error = Draft::new(len).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
        }
    }
}
