//! Pairs of named pipes, used as two one-way byte streams.
//!
//! A FIFO's name lives for microseconds: it is made in a private folder of mode 0700 (in `TMPDIR` where that is set, else
//! in memory, else in `/tmp`: a file system on a disk takes a hundred times as long), opened for reading and writing, and
//! unlinked at once; its two directions are then opened anew through `/proc/self/fd` and handed out as descriptors,
//! non-blocking and close-on-exec. A folder that a crash left between the two is swept by the next process that makes
//! a pair: its owner holds a lock on it, so a folder that can be locked belongs to nobody.
//!
//! A write to a FIFO without a reader raises `SIGPIPE`, which no flag suppresses: the process must ignore that signal,
//! as every Rust program does from before `main`.

use bytes::{BufMut, BytesMut};
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// The two directions of one FIFO.
#[derive(Debug)]
pub(crate) struct Fifo {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// How the private folders' names begin; the rest makes them unique.
const PREFIX: &str = "procession-fifo-";
const NAME: &str = "fifo";

/// A folder that is in memory, where the system has one.
const MEMORY: &str = "/dev/shm";

/// Makes a FIFO and returns its two directions. Its name is gone when this returns.
pub(crate) fn fifo() -> io::Result<Fifo> {
    static SWEPT: Once = Once::new();
    let disk = std::env::temp_dir();
    let memory = Path::new(MEMORY);
    let in_memory = std::env::var_os("TMPDIR").is_none();
    SWEPT.call_once(|| {
        sweep(&disk);
        sweep(memory);
    });
    let made = in_memory.then(|| fifo_in(memory).ok()).flatten();
    made.map_or_else(|| fifo_in(&disk), Ok)
}

/// Removes the folders in `root` that processes of this user left there when they died.
pub(crate) fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        if is_ours(&entry) {
            // One that cannot be swept is in use, or another process sweeps it.
            let _ = sweep_one(&entry.path());
        }
    }
}

/// Appends to `buf` what is there, up to its spare capacity; 0 is the end of file.
pub(crate) fn read(fd: BorrowedFd<'_>, buf: &mut BytesMut) -> io::Result<usize> {
    let spare = buf.spare_capacity_mut();
    // SAFETY: the pointer and length are those of writable spare capacity.
    let n = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len()) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written `n` bytes at the start of the spare capacity.
    unsafe { buf.advance_mut(n) };
    Ok(n)
}

/// Writes what fits.
pub(crate) fn write(fd: BorrowedFd<'_>, bytes: &[IoSlice<'_>]) -> io::Result<usize> {
    Ok(nix::sys::uio::writev(fd, bytes)?)
}

/// A private folder, locked for as long as it is in use, removed with what is in it when dropped.
struct Folder {
    path: PathBuf,
    lock: Flock<OwnedFd>,
}

impl Folder {
    fn create(root: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("{PREFIX}{}-{n}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                // Another PID namespace may share the folder, and so the number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            match Self::lock(&path) {
                // Swept between its making and its locking.
                Err(error) if gone_or_taken(&error) => continue,
                other => return other,
            }
        }
    }

    fn lock(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = open(path, flags, Mode::empty())?;
        let lock = Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
        Ok(Folder {
            path: path.to_owned(),
            lock,
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Both fail only if someone else has removed them, which is as good.
        let _ = unlinkat(&*self.lock, NAME, UnlinkatFlags::NoRemoveDir);
        let _ = fs::remove_dir(&self.path);
    }
}

fn fifo_in(root: &Path) -> io::Result<Fifo> {
    let both = loop {
        let folder = Folder::create(root)?;
        match open_both(&folder) {
            // A sweeper took the folder for a dead one before it was locked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => break other?,
        }
    };
    Ok(Fifo {
        read: reopen(&both, OFlag::O_RDONLY)?,
        write: reopen(&both, OFlag::O_WRONLY)?,
    })
}

fn open_both(folder: &Folder) -> io::Result<OwnedFd> {
    // Relative to the locked folder: by its path it could be another one that took the place of a swept one.
    mkfifoat(&*folder.lock, NAME, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat(&*folder.lock, NAME, flags, Mode::empty())?)
}

fn reopen(fd: &OwnedFd, direction: OFlag) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(open(
        path.as_str(),
        direction | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?)
}

fn is_ours(entry: &fs::DirEntry) -> bool {
    let named = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(PREFIX));
    let owned = |meta: fs::Metadata| meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw();
    // `DirEntry::metadata` does not follow links.
    named(&entry.file_name()) && entry.metadata().is_ok_and(owned)
}

fn sweep_one(path: &Path) -> io::Result<()> {
    Folder::lock(path).map(drop)
}

fn gone_or_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::mkfifo;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A folder for one test.
    struct Root(PathBuf);

    impl Root {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("{test}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Root(path)
        }

        fn names(&self) -> Vec<String> {
            let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
            fs::read_dir(&self.0).unwrap().map(name).collect()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_written_is_read_and_no_name_is_left() {
        let root = Root::new("fifo-names");
        let Fifo {
            read: from,
            write: to,
        } = fifo_in(&root.0).unwrap();
        assert!(root.names().is_empty());
        write(to.as_fd(), &[IoSlice::new(b"ab"), IoSlice::new(b"c")]).unwrap();
        let mut buf = BytesMut::with_capacity(10);
        assert_eq!(read(from.as_fd(), &mut buf).unwrap(), 3);
        assert_eq!(
            read(from.as_fd(), &mut buf).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(buf, "abc");
        drop(to);
        assert_eq!(read(from.as_fd(), &mut buf).unwrap(), 0);
    }

    #[test]
    fn a_write_that_nobody_will_read_is_an_error() {
        let Fifo { read, write: to } = fifo().unwrap();
        drop(read);
        let error = write(to.as_fd(), &[IoSlice::new(b"x")]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_folder_is_private() {
        let root = Root::new("fifo-private");
        let folder = Folder::create(&root.0).unwrap();
        let mode = fs::metadata(&folder.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_a_crash_left_is_swept_and_nothing_else() {
        let root = Root::new("fifo-sweep");
        let in_use = Folder::create(&root.0).unwrap();
        open_both(&in_use).unwrap();
        let left = root.0.join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        mkfifo(&left.join(NAME), Mode::S_IRUSR).unwrap();
        let not_ours = root.0.join("other");
        fs::create_dir(&not_ours).unwrap();
        symlink(&not_ours, root.0.join(format!("{PREFIX}link"))).unwrap();
        sweep(&root.0);
        assert!(!left.exists());
        assert!(in_use.path.join(NAME).exists());
        assert!(not_ours.exists());
        assert_eq!(root.names().len(), 3);
    }

    #[test]
    fn a_folder_that_was_swept_before_it_was_locked_is_made_anew() {
        let root = Root::new("fifo-race");
        let sweeping = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while sweeping.load(Ordering::Relaxed) {
                    sweep(&root.0);
                }
            });
            for _ in 0..300 {
                fifo_in(&root.0).unwrap();
            }
            sweeping.store(false, Ordering::Relaxed);
        });
        assert!(root.names().is_empty());
    }
}
