//! Starting children, on the host's control thread: [`Launcher`].
//!
//! In fork-server mode a start is one packet to the server and one back, and many may be under way. In exec mode the
//! same program is executed for each child, and the server only guards. Either way the child is a child of the control
//! thread, and its first message is in its control socket before it runs.
//!
//! A server that dies is replaced. Nobody knows how far it came with the starts that were under way. So the host revokes
//! the page of each: where the child had entered with it already, and may have begun the user's code, the start has
//! succeeded; else it is repeated, with a fresh socket and page, and a child that was cloned for it is found among those
//! of the control thread, killed and reaped. Children that were started are not touched.
//!
//! A start need not wait for the clone where there is a [spare](super::spare): whoever starts says when the next is to be
//! asked for.
//!
//! Refused: more than one launcher for a thread, as each takes the thread's children for its own.

use super::context::{Context, SAME_UMASK};
use super::entry;
use super::image;
use super::mode::StartMode;
use super::orphans::Orphans;
use super::page::Page;
use super::relay::Relay;
use super::request::{Reply, Request, Role, Start, Welcome};
use super::spare::{Ahead, Mourner, Spare, Stage};
use super::watch::{Guardian, Living, Status, Watch};
use crate::error::{Error, ErrorKind};
use crate::os::passing::{self, Kind, Wait};
use crate::os::pidfd::PidFd;
use crate::os::{limits, procfs, reactor};
use nix::sys::socket::Shutdown;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The longest first message.
const MOST_FIRST: usize = 32 * 1024;
/// So many servers in a row that end before they say a word, and that nobody killed, are enough: then exec mode is used.
const MOST_STILLBORN: usize = 3;
/// How long a server that hung up may take to end by itself.
const TO_END: Duration = Duration::from_secs(1);
/// How long after one that was killed before it said a word the next is started unasked.
const BETWEEN_KILLS: Duration = Duration::from_millis(50);

/// Starts children. Dropped, it ends its server, which kills every child that still lives.
#[derive(Debug)]
pub(crate) struct Launcher(Arc<Shared>);

/// A child that was started; whether it came to its first line is not known yet.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) pid: i32,
    pub(crate) watch: Watch,
    /// A stream that does not wait.
    pub(crate) control: OwnedFd,
    pub(crate) page: Page,
    /// How it was started.
    pub(crate) mode: StartMode,
}

#[derive(Debug)]
struct Shared {
    relay: Relay,
    living: Arc<Living>,
    runtime: Handle,
    /// The thread whose children ours are.
    thread: i32,
    /// Whether a child is kept ready.
    spares: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mode: StartMode,
    server: Option<Arc<Server>>,
    context: Context,
    pending: BTreeMap<u64, Expected>,
    last_id: u64,
    /// The next child that needs no outbox.
    spare: Option<Spare>,
    stillborn: usize,
    orphans: Orphans,
    closing: bool,
}

/// The host's half of a running server.
#[derive(Debug)]
struct Server {
    pid: i32,
    pidfd: AsyncFd<PidFd>,
    socket: Arc<Guardian>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// By a `SIGKILL` that was not ours.
    Killed,
    OfItself,
}

/// A start whose answer is not there yet.
#[derive(Debug)]
struct Expected {
    told: oneshot::Sender<Answer>,
    page: Page,
}

#[derive(Debug)]
enum Answer {
    Started(Watch),
    Failed(io::Error),
    /// Not in this mode, or not by this server.
    Again,
}

impl Launcher {
    /// Starts the server. Must be called on the control thread, inside its runtime, which has I/O and time.
    ///
    /// `spares`: whether a child is kept ready for the next start.
    pub(crate) fn new(mode: StartMode, spares: bool, relay: &Relay) -> Result<Self, Error> {
        entry::refuse_unentered();
        limits::raise_descriptors();
        let shared = Arc::new(Shared {
            relay: relay.clone(),
            living: Living::new(),
            runtime: Handle::current(),
            thread: nix::unistd::gettid().as_raw(),
            spares,
            state: Mutex::new(State {
                mode,
                server: None,
                context: Context::inherited(),
                pending: BTreeMap::new(),
                last_id: 0,
                spare: None,
                stillborn: 0,
                orphans: Orphans::new(),
                closing: false,
            }),
        });
        shared
            .server()
            .map_err(|error| spawn_error("starting the fork server", &error))?;
        shared.clone().reap_orphans();
        Ok(Launcher(shared))
    }

    /// The child that is kept ready, for the start that comes next. Dropped, it is killed. `None`: there is none that has
    /// such an outbox, and what the host has now.
    pub(crate) fn claim(&self, outbox: usize) -> Option<Spare> {
        self.0.claim(outbox)
    }

    /// Starts a child. `first`, of 1 byte to 32 KiB, is in its control socket before it begins, or is told to the `spare`,
    /// with `fds` attached to its first byte; its status page has an outbox of this many bytes.
    ///
    /// `None`: the fork server died or refused meanwhile. There may have been a child, which is dead now, so what was
    /// given to it may be in use.
    ///
    /// May be called many times at once, and dropped at any moment: no process is left then.
    ///
    /// # Errors
    ///
    /// `ErrorKind::Spawn`: out of descriptors, processes or memory, here or in the server; the text names the limit.
    pub(crate) async fn try_start(
        &self,
        spare: Option<Spare>,
        first: &[u8],
        fds: &[BorrowedFd<'_>],
        outbox: usize,
    ) -> Result<Option<Child>, Error> {
        if !(1..=MOST_FIRST).contains(&first.len()) {
            let what = format!("a first message of {} bytes, of 1 to {MOST_FIRST}", first.len());
            return Err(Error::with_kind(ErrorKind::TooLarge, what));
        }
        let born = Born { first, fds, outbox };
        let child = match self.mode() {
            StartMode::ForkServer => self.0.fork(spare, born).await,
            StartMode::Exec => self.0.execute(born).map(Some),
        };
        child.map_err(|error| spawn_error("starting a process", &error))
    }

    /// How often a start is tried where the fork server dies again and again.
    pub(crate) const REPEATS: u32 = 10;

    /// What is said after so many.
    pub(crate) fn given_up() -> Error {
        let n = Self::REPEATS;
        let what = format!("starting a process: the fork server died {n} times meanwhile");
        Error::with_kind(ErrorKind::Spawn, what)
    }

    /// Starts a child, as often as it takes.
    #[cfg(test)]
    pub(crate) async fn start(
        &self,
        first: &[u8],
        fds: &[BorrowedFd<'_>],
        outbox: usize,
    ) -> Result<Child, Error> {
        for _ in 0..Self::REPEATS {
            let spare = self.claim(outbox);
            if let Some(child) = self.try_start(spare, first, fds, outbox).await? {
                self.keep_spare(|| None);
                return Ok(child);
            }
        }
        Err(Self::given_up())
    }

    /// Has a child ready for a start to come. `ahead`: what is in its control socket before it begins.
    pub(crate) fn keep_spare(&self, ahead: impl FnOnce() -> Option<Ahead>) {
        self.0.keep_spare(ahead);
    }

    /// How children are started now: exec if it was chosen, or if the fork server cannot serve here.
    pub(crate) fn mode(&self) -> StartMode {
        self.0.state().mode
    }

    /// The pid of the server that runs now.
    pub(crate) fn server_pid(&self) -> Option<i32> {
        self.0.state().server.as_ref().map(|server| server.pid)
    }

    /// The child that is kept ready, as far as it is there.
    #[cfg(test)]
    pub(crate) fn spare_pid(&self) -> Option<i32> {
        match &self.0.state().spare.as_ref()?.stage {
            Stage::Cloned { watch, .. } => Some(watch.pid()),
            Stage::Asked => None,
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closing = true;
        state.spare = None;
        if let Some(server) = &state.server {
            // The task that listens has the socket too, so closing it is not enough; it reaps the server, which first
            // has to kill.
            let _ = nix::sys::socket::shutdown(server.socket.as_raw_fd(), Shutdown::Write);
        }
    }
}

/// What a child is born with.
#[derive(Clone, Copy)]
pub(super) struct Born<'a> {
    first: &'a [u8],
    fds: &'a [BorrowedFd<'a>],
    outbox: usize,
}

/// Both ends of what the host and a child share.
#[derive(Debug)]
struct Whole {
    ours: Ends,
    childs_control: OwnedFd,
    childs_page: OwnedFd,
}

/// The host's of them.
#[derive(Debug)]
pub(super) struct Ends {
    control: OwnedFd,
    page: Page,
}

impl Whole {
    fn new(outbox: usize) -> io::Result<Self> {
        let (control, childs_control) = passing::pair(Kind::Stream)?;
        let (page, childs_page) = Page::create(outbox)?;
        Ok(Whole {
            ours: Ends { control, page },
            childs_control,
            childs_page,
        })
    }
}

impl Whole {
    fn childs(&self) -> [BorrowedFd<'_>; 2] {
        [self.childs_control.as_fd(), self.childs_page.as_fd()]
    }
}

impl Ends {
    fn send_first(&self, born: Born<'_>) -> io::Result<()> {
        self.send(born.first, born.fds)
    }

    pub(super) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match passing::send(self.control.as_fd(), bytes, fds, Wait::No)? {
            n if n == bytes.len() => Ok(()),
            n => Err(io::Error::other(format!(
                "a socket took only {n} bytes: raise net.core.wmem_default"
            ))),
        }
    }

    fn into_child(self, watch: Watch, mode: StartMode) -> Child {
        Child {
            pid: watch.pid(),
            watch,
            control: self.control,
            page: self.page,
            mode,
        }
    }
}

impl Shared {
    /// `None`: the server died or refused meanwhile; try again.
    async fn fork(self: &Arc<Self>, spare: Option<Spare>, born: Born<'_>) -> io::Result<Option<Child>> {
        match spare {
            // What was made ahead for it is of no use to another.
            Some(spare) if spare.ends.send_first(born).is_err() => Ok(None),
            Some(spare) => self.settled(spare).await,
            None => self.fork_anew(born).await,
        }
    }

    async fn fork_anew(self: &Arc<Self>, born: Born<'_>) -> io::Result<Option<Child>> {
        let whole = Whole::new(born.outbox)?;
        whole.ours.send_first(born)?;
        let server = self.server()?;
        let id = self.state().next_id();
        let (_pending, answer) = self.expect(id, &whole.ours);
        self.ask(&server, id, &whole).await?;
        answered(whole.ours, answer).await
    }

    /// Sends the request. A server that is dead is no error: those who wait are told when it is replaced.
    async fn ask(&self, server: &Server, id: u64, whole: &Whole) -> io::Result<()> {
        loop {
            // In one step, so that of two starts the later never carries older news.
            match self.state().try_ask(server, id, whole) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_gone(&error) => return Ok(()),
                result => return result,
            }
            server.socket.writable().await?.clear_ready();
        }
    }

    fn execute(self: &Arc<Self>, born: Born<'_>) -> io::Result<Child> {
        let ends = Whole::new(born.outbox)?;
        let welcome = Welcome {
            role: Role::Child,
            host: std::process::id() as i32,
        };
        image::welcome(
            ends.ours.control.as_fd(),
            welcome,
            &[self.relay.log(), ends.childs_page.as_fd()],
        )?;
        // Without a guardian the kernel still kills the child with the host, only not what it started.
        let _ = self.server();
        // The lock is held until the child is known, or a search for lost ones would find it.
        let mut state = self.state();
        let pid = image::start(ends.childs_control.try_clone()?, &self.relay)?;
        let watch = self.adopt(pid, PidFd::open(pid), &mut state)?;
        drop(state);
        self.living.guard(pid);
        // The child waits for this, so even a short one is still there to be held when it is.
        ends.ours.send_first(born)?;
        Ok(ends.ours.into_child(watch, StartMode::Exec))
    }

    /// Watches a child that was just made. Without a descriptor for it, it is killed, and reaped when there is one.
    fn adopt(self: &Arc<Self>, pid: i32, pidfd: io::Result<PidFd>, state: &mut State) -> io::Result<Watch> {
        state.orphans.expect(pid);
        match pidfd.and_then(|pidfd| self.living.watch(pid, pidfd)) {
            Ok(watch) => Ok(watch),
            Err(error) => {
                self.runtime.spawn(bury(pid, self.living.clone()));
                Err(error)
            }
        }
    }

    fn expect(self: &Arc<Self>, id: u64, ends: &Ends) -> (Pending, oneshot::Receiver<Answer>) {
        let (told, answer) = oneshot::channel();
        let page = ends.page.clone();
        self.state().pending.insert(id, Expected { told, page });
        (
            Pending {
                id,
                shared: self.clone(),
            },
            answer,
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps, once a second, what a host that is process 1 has adopted.
    fn reap_orphans(self: Arc<Self>) {
        if !self.state().orphans.adopts() {
            return;
        }
        self.runtime.clone().spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            while !self.state().closing {
                tick.tick().await;
                let living = self.living.clone();
                self.state().orphans.reap(|pid| living.knows(pid));
            }
        });
    }
}

impl Server {
    /// Reaps it, once it has ended or was ended. From then on it clones no more.
    async fn end(&self) -> End {
        let ended = tokio::time::timeout(TO_END, self.pidfd.readable()).await;
        if ended.is_err() {
            let _ = self.pidfd.get_ref().signal(libc::SIGKILL);
            let _ = self.pidfd.readable().await;
        }
        let pidfd = self.pidfd.get_ref();
        match (ended, Status::of(pidfd.take_status(), pidfd, self.pid)) {
            (Ok(_), Status::Signaled { signal, .. }) if signal == libc::SIGKILL => End::Killed,
            _ => End::OfItself,
        }
    }
}

impl State {
    /// Asks the server for a child that has what the host has now.
    fn try_ask(&mut self, server: &Server, id: u64, whole: &Whole) -> io::Result<()> {
        let news = self.context.news()?;
        let request = Request::Start(Start {
            id,
            umask: news.umask,
            directory: news.directory().is_some(),
            environment: news.environment().is_some(),
            spare: false,
        });
        let fds: Vec<BorrowedFd<'_>> = whole
            .childs()
            .into_iter()
            .chain(news.directory())
            .chain(news.environment())
            .collect();
        passing::send(server.socket.as_fd(), &request.encode(), &fds, Wait::No)?;
        self.context.told(&news);
        Ok(())
    }

    /// Asks for a spare. It has what the server knows; whether that is still what the host has is looked at by the start
    /// that is to have it.
    fn try_ask_for_spare(&mut self, server: &Server, ahead: Option<Ahead>) -> io::Result<Spare> {
        let (id, whole) = (self.next_id(), Whole::new(0)?);
        let link = ahead.map(|ahead| ahead.tell(&whole.ours)).transpose()?;
        let request = Request::Start(Start {
            id,
            umask: SAME_UMASK,
            directory: false,
            environment: false,
            spare: true,
        });
        passing::send(
            server.socket.as_fd(),
            &request.encode(),
            &whole.childs(),
            Wait::No,
        )?;
        Ok(Spare {
            id,
            ends: whole.ours,
            mark: self.context.mark(),
            stage: Stage::Asked,
            link,
        })
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

/// What a start comes to. `None`: the server died or refused meanwhile; try again.
async fn answered(ends: Ends, answer: oneshot::Receiver<Answer>) -> io::Result<Option<Child>> {
    match answer.await {
        Ok(Answer::Started(watch)) => Ok(Some(ends.into_child(watch, StartMode::ForkServer))),
        Ok(Answer::Failed(error)) => Err(error),
        Ok(Answer::Again) | Err(_) => Ok(None),
    }
}

/// The spare.
impl Shared {
    fn claim(&self, outbox: usize) -> Option<Spare> {
        let mut state = self.state();
        let spare = state.spare.take_if(|_| outbox == 0)?;
        // One that is not wanted is dropped, which kills it.
        let fits = spare.lives() && state.context.is_current(spare.mark);
        fits.then_some(spare)
    }

    async fn settled(self: &Arc<Self>, spare: Spare) -> io::Result<Option<Child>> {
        match spare.stage {
            Stage::Cloned { watch, .. } => Ok(Some(spare.ends.into_child(watch, StartMode::ForkServer))),
            Stage::Asked => {
                let (_pending, answer) = self.expect(spare.id, &spare.ends);
                answered(spare.ends, answer).await
            }
        }
    }

    /// Asks for one, if there is none. Where that cannot be had nothing is lost.
    fn keep_spare(self: &Arc<Self>, ahead: impl FnOnce() -> Option<Ahead>) {
        let mut state = self.state();
        let wanted = self.spares && state.mode == StartMode::ForkServer && state.spare.is_none();
        let Some(server) = state.server.clone().filter(|_| wanted) else {
            return;
        };
        state.spare = state.try_ask_for_spare(&server, ahead()).ok();
    }

    /// An answer that came, unless it is the spare's.
    fn unless_spares(self: &Arc<Self>, id: u64, answer: Answer) -> Option<Answer> {
        let mut state = self.state();
        let Some(spare) = state.spare.as_mut().filter(|spare| spare.id == id) else {
            return Some(answer);
        };
        match answer {
            Answer::Started(watch) => {
                let mourns = self.runtime.spawn(self.clone().mourn(id, watch.end()));
                let _mourner = Mourner(mourns.abort_handle());
                spare.stage = Stage::Cloned { watch, _mourner };
            }
            _ => state.spare = None,
        }
        None
    }

    /// Reaps the spare at its end.
    async fn mourn(self: Arc<Self>, id: u64, end: impl Future<Output = ()>) {
        end.await;
        self.state().spare.take_if(|spare| spare.id == id);
    }
}

/// A start that waits for its answer; dropped, the answer finds nobody, and the child is killed.
struct Pending {
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.shared.state().pending.remove(&self.id);
    }
}

/// The server: started, heard, replaced.
impl Shared {
    /// The server that runs, or a new one.
    fn server(self: &Arc<Self>) -> io::Result<Arc<Server>> {
        let mut state = self.state();
        if let Some(server) = &state.server {
            return Ok(server.clone());
        }
        let server = Arc::new(self.start_server()?);
        state.context = Context::inherited();
        state.server = Some(server.clone());
        drop(state);
        self.living.guarded_by(Some(server.socket.clone()));
        self.runtime.spawn(self.clone().listen(server.clone()));
        Ok(server)
    }

    fn start_server(&self) -> io::Result<Server> {
        let _inside = self.runtime.enter();
        let (ours, its) = passing::pair(Kind::Packets)?;
        let welcome = Welcome {
            role: Role::Server,
            host: std::process::id() as i32,
        };
        image::welcome(ours.as_fd(), welcome, &[self.relay.log()])?;
        let pid = image::start(its, &self.relay)?;
        let pidfd = PidFd::open(pid).inspect_err(|_| {
            // Closing our end of the socket ends it; it is reaped when there is a descriptor for it.
            self.runtime.spawn(bury(pid, self.living.clone()));
        })?;
        Ok(Server {
            pid,
            pidfd: reactor::register(pidfd, Interest::READABLE)?,
            socket: Arc::new(reactor::register(ours, Interest::READABLE | Interest::WRITABLE)?),
        })
    }

    async fn listen(self: Arc<Self>, server: Arc<Server>) {
        let mut greeted = false;
        let (mut packet, mut fds) = ([0; Reply::SIZE], Vec::new());
        while let Ok(mut ready) = server.socket.readable().await {
            match passing::receive(server.socket.as_fd(), &mut packet, &mut fds, Wait::No) {
                Ok(received) if received.bytes == 0 => break,
                Ok(received) => {
                    greeted = true;
                    self.settle(&server, Reply::decode(&packet[..received.bytes]), fds.pop());
                    fds.clear();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                // It died with requests unread; its answers are still to be had.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(_) => break,
            }
        }
        self.replace(&server, greeted).await;
    }

    fn settle(self: &Arc<Self>, server: &Server, reply: Option<Reply>, pidfd: Option<OwnedFd>) {
        let (id, answer) = match reply {
            Some(Reply::Started { id, pid }) => (id, self.started(pid, pidfd)),
            Some(Reply::Failed { id, errno }) => {
                self.state().context.forget();
                // It has the limit of when it was started. It is not reaped before this task says so: the pid is its own.
                match errno == libc::EAGAIN && limits::share_processes(server.pid) {
                    true => (id, Answer::Again),
                    false => (id, Answer::Failed(io::Error::from_raw_os_error(errno))),
                }
            }
            Some(Reply::Refused { id, errno }) => {
                self.refused(&format!(
                    "clone fails there: {}",
                    io::Error::from_raw_os_error(errno)
                ));
                (id, Answer::Again)
            }
            Some(Reply::Hello { threads }) => {
                self.state().stillborn = 0;
                if threads != 1 {
                    self.refused(&format!("it has {threads} threads before `main`"));
                }
                return;
            }
            None => return,
        };
        let Some(answer) = self.unless_spares(id, answer) else {
            return;
        };
        let expected = self.state().pending.remove(&id);
        // Unheard, a child's `Watch` is dropped here, which kills it.
        if let Some(expected) = expected {
            let _ = expected.told.send(answer);
        }
    }

    fn started(self: &Arc<Self>, pid: i32, pidfd: Option<OwnedFd>) -> Answer {
        // It came without where the table of this process is full.
        let pidfd = pidfd.map_or_else(|| PidFd::open(pid), |fd| Ok(PidFd::from(fd)));
        self.adopted(pid, pidfd, &mut self.state())
    }

    fn adopted(self: &Arc<Self>, pid: i32, pidfd: io::Result<PidFd>, state: &mut State) -> Answer {
        match self.adopt(pid, pidfd, state) {
            Ok(watch) => Answer::Started(watch),
            Err(error) => Answer::Failed(error),
        }
    }

    /// From now on children are started by exec; said once.
    fn refused(&self, why: &str) {
        let mut state = self.state();
        if state.mode == StartMode::ForkServer {
            state.mode = StartMode::Exec;
            state.spare = None;
            tracing::warn!(
                "the fork server cannot serve, so processes are started by exec, which is slower: {why}"
            );
        }
    }

    async fn replace(self: &Arc<Self>, server: &Server, greeted: bool) {
        let end = server.end().await;
        drop(self.relay.drained(server.pid));
        let goes_on = self.forget(!greeted && end == End::OfItself);
        if !greeted && end == End::Killed {
            // Whatever kills each of them is not to keep this thread busy. A start does not wait for this.
            tokio::time::sleep(BETWEEN_KILLS).await;
        }
        // At its limits, or given up, the next start says what is wrong.
        if goes_on && !self.state().closing {
            let _ = self.server();
        }
    }

    /// Settles what a dead server leaves. `false`: there were too many of its kind.
    fn forget(self: &Arc<Self>, was_stillborn: bool) -> bool {
        let mut state = self.state();
        let settled = self.settle_the_lost(&mut state);
        state.server = None;
        // The next server begins with what is current, and does not know what this one was told.
        state.spare = None;
        self.living.guarded_by(None);
        state.stillborn += usize::from(was_stillborn);
        let given_up = state.stillborn >= MOST_STILLBORN;
        drop(state);
        if given_up {
            self.refused("it ends before it says a word");
        }
        for (told, answer) in settled {
            let _ = told.send(answer);
        }
        !given_up
    }

    /// Finds out what the starts came to that the dead server did not answer; kills what it cloned for others.
    fn settle_the_lost(self: &Arc<Self>, state: &mut State) -> Vec<(oneshot::Sender<Answer>, Answer)> {
        let lost = procfs::children_of(self.thread).unwrap_or_default().into_iter();
        let mut lost: BTreeSet<i32> = lost.filter(|pid| !self.living.knows(*pid)).collect();
        let pending = std::mem::take(&mut state.pending).into_values();
        let settled = pending.map(|Expected { told, page }| {
            let entered = page.revoke().err().filter(|pid| lost.remove(pid));
            let answer = entered.map_or(Answer::Again, |pid| self.adopted(pid, PidFd::open(pid), state));
            (told, answer)
        });
        let settled = settled.collect();
        for pid in lost {
            drop(self.adopt(pid, PidFd::open(pid), state));
        }
        settled
    }
}

/// Kills a child of ours for which there was no descriptor, and reaps it when there is one.
async fn bury(pid: i32, living: Arc<Living>) {
    loop {
        crate::os::group::kill_one(pid);
        match PidFd::open(pid) {
            Ok(pidfd) => return drop(living.watch(pid, pidfd)),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN)
    )
}

fn spawn_error(what: &str, error: &io::Error) -> Error {
    Error::with_kind(ErrorKind::Spawn, format!("{what}: {}", limits::explain(error)))
}
