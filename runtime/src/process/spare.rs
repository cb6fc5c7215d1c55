//! The spare: a child that was started before anybody asked for one, and waits for its first message.
//!
//! A start then is that message, and nobody waits for the clone. It is the same start in all else: asked for ahead, with
//! the same socket, page and pidfd, and answered or not like any other. So it can also be had while the server is still
//! about to clone it.
//!
//! There is at most one. It is made while a process comes up that is started for the first time, and else once one is up,
//! as callers may wait for a restart: a program that starts nothing has none. One that
//! dies unused is reaped and nobody is told; the start that would have had it asks the server. With its first message
//! it is that start's, and its death too, as that of any child that does not come to its first line. One that has not the host's
//! current directory, environment and mask is ended instead of being told: these change rarely.
//!
//! It may be given a link [ahead](Ahead), which it opens while nobody waits; the other end is kept with it, for whoever will talk
//! to it.
//!
//! Until it is somebody it is called [`NAME`]; it has run no user code, and knows of no actor or task.
//!
//! Refused: a spare for a child whose page has an outbox, and in exec mode.

use super::context::Mark;
use super::launch::Ends;
use super::watch::Watch;
use crate::link::LinkKind;
use crate::os::slice::Slice;
use crate::os::title::Title;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::task::AbortHandle;

/// What `ps` and `top` call it.
pub(super) const NAME: &CStr = c"procession-idle";

/// What a child is, once it is somebody, that the server and a spare are not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Somebody {
    pub(super) title: Option<Title>,
    /// Nobody waits for a spare, so it lets others in.
    pub(super) slice: Option<Slice>,
}

impl Somebody {
    /// Makes the calling process that.
    pub(crate) fn begin(self) {
        if let Some(title) = self.title {
            title.set();
        }
        if let Some(slice) = self.slice {
            slice.take();
        }
    }
}

/// What a spare is told before it is somebody: that there is a link, which it opens.
#[derive(Debug)]
pub(crate) struct Ahead {
    pub(crate) message: Vec<u8>,
    /// Its end of the link, beside the message.
    pub(crate) theirs: Vec<OwnedFd>,
    /// The other end.
    pub(crate) link: Link,
}

/// A link that was made with a spare: what kind it is of, and the end of who will talk to it.
pub(crate) type Link = (LinkKind, Vec<OwnedFd>);

impl Ahead {
    pub(super) fn tell(self, ends: &Ends) -> io::Result<Link> {
        let theirs: Vec<_> = self.theirs.iter().map(AsFd::as_fd).collect();
        ends.send(&self.message, &theirs)?;
        Ok(self.link)
    }
}

/// A start that was asked for ahead. Dropped, its process is killed.
#[derive(Debug)]
pub(crate) struct Spare {
    /// That of the request.
    pub(super) id: u64,
    pub(super) ends: Ends,
    /// What of the host it was cloned with.
    pub(super) mark: Mark,
    pub(super) stage: Stage,
    pub(super) link: Option<Link>,
}

#[derive(Debug)]
pub(super) enum Stage {
    Asked,
    Cloned { watch: Watch, _mourner: Mourner },
}

impl Spare {
    /// The link that was made with it, if there is one.
    pub(crate) fn link(&mut self) -> Option<Link> {
        self.link.take()
    }

    pub(super) fn lives(&self) -> bool {
        match &self.stage {
            Stage::Asked => true,
            Stage::Cloned { watch, .. } => !watch.has_ended(),
        }
    }
}

/// A task that waits for the end of the process. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Mourner(pub(super) AbortHandle);

impl Drop for Mourner {
    fn drop(&mut self) {
        self.0.abort();
    }
}
