//! The end of a child: seen by its pidfd, never by end of file, and its status taken once.
//!
//! Reaping frees the child's number, so what must be done by number comes before: the rest of the child's group is
//! killed, then the fork server is told to forget the number, and only then is the status taken. What the status says can be
//! read before, so that those who wait to hear it do not wait for that.

use super::request::Request;
use crate::os::passing::{self, Wait};
use crate::os::pidfd::{Ended, PidFd};
use crate::os::reactor;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

/// How a process ended, as the kernel says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(i32),
    Signaled {
        signal: i32,
        core: bool,
    },
    /// It ended, but somebody else took its status.
    Unknown {
        why: String,
    },
}

/// The right to see a child end. Dropped before [`reap`](Watch::reap), it kills the child and has it reaped.
#[derive(Debug)]
pub(crate) struct Watch {
    body: Arc<Body>,
    living: Arc<Living>,
}

#[derive(Debug)]
struct Body {
    pid: i32,
    pidfd: AsyncFd<PidFd>,
    status: OnceLock<Status>,
    reaped: Once,
}

/// The children of a host that were not reaped, and the guardian that kills them when the host is gone.
#[derive(Debug)]
pub(crate) struct Living {
    runtime: Handle,
    state: Mutex<State>,
}

/// The host's end of the guardian's socket.
pub(crate) type Guardian = AsyncFd<OwnedFd>;

#[derive(Debug, Default)]
struct State {
    children: BTreeMap<i32, Arc<Body>>,
    guardian: Option<Arc<Guardian>>,
    /// What the guardian was too busy to hear, in order.
    unsent: VecDeque<Request>,
    /// Somebody waits for it to listen.
    is_waited_for: bool,
}

impl Watch {
    /// Completes when the process has ended. It is not reaped then: its number is still its own.
    pub(crate) async fn ended(&self) {
        self.body.ended().await;
    }

    /// The same, for whoever does not hold this.
    pub(crate) fn end(&self) -> impl Future<Output = ()> + Send + use<> {
        let body = self.body.clone();
        async move { body.ended().await }
    }

    /// Kills what is left of its group, and says how it ended; the first call does, later ones repeat the answer.
    ///
    /// To be called after [`ended`](Self::ended); a process that still runs is killed.
    pub(crate) fn status(&self) -> &Status {
        self.body.status()
    }

    /// The same, and frees its number.
    pub(crate) fn reap(&self) -> Status {
        self.living.reap(&self.body);
        self.status().clone()
    }

    /// Sends a signal to the process alone. An error, `ESRCH`, if it was reaped.
    pub(crate) fn signal(&self, signal: i32) -> io::Result<()> {
        self.body.pidfd.get_ref().signal(signal)
    }

    /// Whether it has ended by now, noticed or not.
    pub(crate) fn has_ended(&self) -> bool {
        self.body.pidfd.get_ref().has_ended()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.body.pid
    }
}

impl AsRawFd for Watch {
    /// The pidfd, for those who want to lend it.
    fn as_raw_fd(&self) -> RawFd {
        self.body.pidfd.as_raw_fd()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.body.reaped.is_completed() {
            return;
        }
        let _ = self.signal(libc::SIGKILL);
        let (body, living) = (self.body.clone(), self.living.clone());
        self.living.runtime.spawn(async move {
            body.ended().await;
            living.reap(&body);
        });
    }
}

impl Body {
    async fn ended(&self) {
        // It stays readable for ever; an error is the end of the runtime, after which nobody is told.
        if self
            .pidfd
            .readable()
            .await
            .map(|mut ready| ready.retain_ready())
            .is_err()
        {
            std::future::pending::<()>().await;
        }
    }

    fn status(&self) -> &Status {
        self.status.get_or_init(|| {
            let pidfd = self.pidfd.get_ref();
            pidfd.kill_group(pidfd.has_number().then_some(self.pid));
            let status = match pidfd.status() {
                Ok(None) => {
                    let _ = pidfd.signal(libc::SIGKILL);
                    pidfd.wait_status()
                }
                known => known,
            };
            Status::of(status, pidfd, self.pid)
        })
    }
}

impl Living {
    /// Must be called inside the control runtime.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Living {
            runtime: Handle::current(),
            state: Mutex::default(),
        })
    }

    /// Watches a child.
    pub(crate) fn watch(self: &Arc<Self>, pid: i32, pidfd: PidFd) -> io::Result<Watch> {
        let _inside = self.runtime.enter();
        let body = Arc::new(Body {
            pid,
            pidfd: reactor::register(pidfd, Interest::READABLE)?,
            status: OnceLock::new(),
            reaped: Once::new(),
        });
        self.state().children.insert(pid, body.clone());
        Ok(Watch {
            body,
            living: self.clone(),
        })
    }

    pub(crate) fn knows(&self, pid: i32) -> bool {
        self.state().children.contains_key(&pid)
    }

    /// From now on this is who kills the children when the host is gone; it is told of all that live.
    pub(crate) fn guarded_by(self: &Arc<Self>, guardian: Option<Arc<Guardian>>) {
        let mut state = self.state();
        state.guardian = guardian;
        state.unsent = state
            .children
            .keys()
            .map(|pid| Request::Guard { pid: *pid })
            .collect();
        self.tell(&mut state);
    }

    /// Tells the guardian of one child that it did not start itself.
    pub(crate) fn guard(self: &Arc<Self>, pid: i32) {
        let mut state = self.state();
        state.unsent.push_back(Request::Guard { pid });
        self.tell(&mut state);
    }

    fn reap(self: &Arc<Self>, body: &Body) {
        body.reaped.call_once(|| {
            body.status();
            let mut state = self.state();
            state.unsent.push_back(Request::Ended { pid: body.pid });
            self.tell(&mut state);
            let _ = body.pidfd.get_ref().take_status();
            state.children.remove(&body.pid);
        });
    }

    /// Sends what is unsent; what the guardian is too busy to hear is sent later.
    fn tell(self: &Arc<Self>, state: &mut State) {
        let done = state.try_tell();
        if let (false, false, Some(guardian)) = (done, state.is_waited_for, state.guardian.clone()) {
            state.is_waited_for = true;
            self.runtime.spawn(self.clone().tell_later(guardian));
        }
    }

    async fn tell_later(self: Arc<Self>, guardian: Arc<Guardian>) {
        loop {
            match guardian.writable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            }
            let mut state = self.state();
            if state.try_tell() {
                state.is_waited_for = false;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `false`: the guardian is too busy. One that is gone is told nothing; its successor is told all.
    fn try_tell(&mut self) -> bool {
        let Some(guardian) = &self.guardian else {
            self.unsent.clear();
            return true;
        };
        while let Some(request) = self.unsent.front() {
            let pidfd = match request {
                Request::Guard { pid } => self.children.get(pid).map(|body| body.pidfd.get_ref().as_fd()),
                _ => None,
            };
            match passing::send(guardian.as_fd(), &request.encode(), pidfd.as_slice(), Wait::No) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                _ => self.unsent.pop_front(),
            };
        }
        true
    }
}

impl Status {
    pub(super) fn of(taken: io::Result<Option<Ended>>, pidfd: &PidFd, pid: i32) -> Self {
        match taken.ok().flatten().or_else(|| pidfd.kept_status()) {
            Some(Ended::Exited(code)) => Status::Exited(code),
            Some(Ended::Signaled { signal, core }) => Status::Signaled { signal, core },
            None => Status::Unknown {
                why: format!(
                    "somebody else took the status of process {pid}: SIGCHLD is ignored in the host, or it calls \
                     `waitpid(-1)`"
                ),
            },
        }
    }
}
