//! What a start carries of the host: its current directory, environment and file-creation mask.
//!
//! A fork server has those of the time when it was started, so the host tells it what changed since, with the first
//! start that needs it. Looking costs microseconds; sending is rare.

use crate::os::{environ, memfd, procfs::Umask};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// A mask that says: as it was.
pub(crate) const SAME_UMASK: u32 = u32::MAX;

/// What the fork server knows.
#[derive(Debug)]
pub(crate) struct Context {
    umask: Option<Umask>,
    directory: Option<Place>,
    environment: Vec<u8>,
    looked: Vec<u8>,
    mark: Mark,
}

/// What a server knows: while two are equal, so is what they stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// How often the directory or the environment has changed.
    version: u64,
    umask: u32,
}

/// A directory by what cannot be renamed; the server stands in it, so the number is not reused.
type Place = (u64, u64);

/// What the fork server does not know yet.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) umask: u32,
    directory: Option<(Place, OwnedFd)>,
    environment: Option<OwnedFd>,
}

impl Context {
    /// Of a server that was started in this moment, and so inherited all.
    pub(crate) fn inherited() -> Self {
        let umask = Umask::open().ok();
        let mut context = Context {
            mark: Mark {
                version: 0,
                umask: known(umask.as_ref()),
            },
            umask,
            directory: here(),
            environment: Vec::new(),
            looked: Vec::new(),
        };
        environ::snapshot(&mut context.environment);
        context
    }

    /// Looks for what changed. It counts as known only after [`told`](Self::told).
    pub(crate) fn news(&mut self) -> io::Result<News> {
        environ::snapshot(&mut self.looked);
        let environment = if self.looked == self.environment {
            None
        } else {
            Some(memfd::holding(c"procession-environment", &self.looked)?)
        };
        let directory = match here() {
            Some(place) if Some(place) != self.directory => Some((place, open_here()?)),
            _ => None,
        };
        Ok(News {
            umask: known(self.umask.as_ref()),
            directory,
            environment,
        })
    }

    /// The server was sent this news, the latest.
    pub(crate) fn told(&mut self, news: &News) {
        if let Some((place, _)) = &news.directory {
            self.directory = Some(*place);
        }
        if news.environment.is_some() {
            std::mem::swap(&mut self.environment, &mut self.looked);
        }
        self.mark.umask = news.umask;
        self.mark.version += u64::from(!news.is_none());
    }

    /// What a child has that is cloned next, if no news is told.
    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether a child with this mark has what the host has now.
    pub(crate) fn is_current(&mut self, mark: Mark) -> bool {
        self.mark == mark
            && self
                .news()
                .is_ok_and(|news| news.is_none() && news.umask == mark.umask)
    }

    /// The server may not have understood: tell it all again.
    pub(crate) fn forget(&mut self) {
        self.directory = None;
        // No snapshot is equal to this one.
        self.environment = vec![0];
        self.mark.version += 1;
    }
}

impl News {
    /// Whether there is none but the mask, which is always said.
    fn is_none(&self) -> bool {
        self.directory.is_none() && self.environment.is_none()
    }

    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.directory.as_ref().map(|(_, fd)| fd.as_fd())
    }

    pub(crate) fn environment(&self) -> Option<BorrowedFd<'_>> {
        self.environment.as_ref().map(AsFd::as_fd)
    }
}

fn known(umask: Option<&Umask>) -> u32 {
    umask.and_then(Umask::get).unwrap_or(SAME_UMASK)
}

fn here() -> Option<Place> {
    std::fs::metadata(".").ok().map(|stat| (stat.dev(), stat.ino()))
}

fn open_here() -> io::Result<OwnedFd> {
    // The path alone: a directory that may be entered need not be readable.
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let directory: File = OpenOptions::new().read(true).custom_flags(flags).open(".")?;
    Ok(directory.into())
}
