//! The life of a child, from its first message to its last.
//!
//! A child has one thread and on it one runtime. It reads its control socket and its links, and runs its body beside
//! them. It ends in one of these ways: the body is done and its outcome said; it was told to stop and has; its code
//! panicked; the host is gone. Whatever the way, what it had accepted for others is pushed out first where that can be
//! done. It leaves by `exit`, so that what the user registered for that runs.

use crate::crash::{self, Point};
use crate::error::{Error, ErrorKind, Result};
use crate::exit::ExitReason;
use crate::link::{self, Driver, Incoming, Transport};
use crate::local::{Local, spawn_local};
use crate::os::{clock, memory};
use crate::process::control::{self, Remote};
use crate::process::page::{Page, Phase};
use crate::process::{Newborn, StartMode};
use crate::process::{last_words, reason};
use crate::wire::attach::Payload;
use crate::wire::behind::Hold;
use crate::wire::control::{Attach, Birth, BodyKind, ChildId, Done, Down, Up};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use tokio::sync::watch;
use tokio::task::{LocalSet, yield_now};

use super::peer;
use super::port::Port;
use super::room::{Serve, guarded, unwound};
use super::row::{self, Entry};

/// How many descriptors are heard of at once: a child has few, and the room for them is memory of its own.
const IO_EVENTS: usize = 64;

/// The exit code of a process that its host left.
const ABANDONED: i32 = 70;

/// What a process knows of itself.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) child: ChildId,
    pub(crate) name: String,
    pub(crate) mode: StartMode,
}

static IDENTITY: Local<Identity> = Local::new();

thread_local! {
    static LIFE: RefCell<Weak<Life>> = const { RefCell::new(Weak::new()) };
}

/// Who this process is, if it is a child.
pub(crate) fn identity() -> Option<&'static Identity> {
    IDENTITY.get()
}

/// What a worker serves: given by the pool, which is above this floor.
pub(crate) type WorkerBody = fn(Rc<Page>, Payload) -> Rc<dyn Serve>;

/// Sets up what its events go to: given by the application, which is above this floor.
pub(crate) type Observe = fn(&Birth, OwnedFd);

/// The state of a child while it lives.
pub(crate) struct Life {
    remote: &'static Remote,
    birth: Birth,
    page: Rc<Page>,
    ports: RefCell<Vec<Rc<Port>>>,
    /// What serves its links, once it is there.
    serves: RefCell<Option<Rc<dyn Serve>>>,
    /// Links that came before that.
    early: RefCell<Vec<(Attach, Vec<OwnedFd>)>>,
    /// The link that was made ahead, until it has a client.
    ahead: Cell<Option<Ahead>>,
    stop: watch::Sender<bool>,
    /// The body waits for the stop itself.
    heeds: Cell<bool>,
}

/// A link that is open before it is anybody's.
type Ahead = (link::Sender, Driver);

/// To be called once, in the process that children are forked from: what they have for each thread is there then, with the
/// memory of small messages.
pub(crate) fn prepare() {
    LIFE.set(Weak::new());
    drop(LocalSet::new().enter());
    let message = Payload::encode_apart(|out| {
        out.push(0);
        Ok(())
    });
    let _ = message.and_then(Payload::unpack::<u8>);
    drop(Hold::new());
}

/// Lives, and never returns.
pub(crate) fn live(newborn: Newborn, worker: WorkerBody, observe: Observe) -> ! {
    memory::watch_heap();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .max_io_events_per_tick(IO_EVENTS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("procession: a child has no runtime: {error}");
            std::process::exit(ABANDONED);
        }
    };
    let Newborn {
        control,
        page,
        log,
        mode,
        somebody,
    } = newborn;
    let employ = |birth: &Birth| {
        somebody.begin();
        observe(birth, log);
    };
    let life = boxed(|| async move {
        match open_control(Transport::Socket(control)) {
            Some(control) => born(control, page, mode, worker, employ).await,
            None => ABANDONED,
        }
    });
    let code = LocalSet::new().block_on(&runtime, life);
    // What the user's tasks still hold is dropped, as at the end of any program: ends of channels say goodbye.
    runtime.shutdown_background();
    std::process::exit(code)
}

/// A child from its birth to its end: its exit code. `employ`: it is somebody now.
pub(crate) async fn born(
    (control, mut driver): (link::Sender, Driver),
    page: Page,
    mode: StartMode,
    worker: WorkerBody,
    employ: impl FnOnce(&Birth),
) -> i32 {
    crash::at(Point::Waiting);
    let Some(First {
        mut birth,
        fds,
        ahead,
    }) = first(&mut driver).await
    else {
        return ABANDONED;
    };
    crash::at(Point::Employed);
    crash::enter(&birth.name);
    crash::at(Point::Named);
    employ(&birth);
    control::enter(birth.context);
    let identity = Identity {
        child: birth.child,
        name: birth.name.clone(),
        mode,
    };
    if IDENTITY.set(identity).is_err() {
        return ABANDONED;
    }
    let Ok(remote) = control::adopt(control, birth.settings.clone()) else {
        return ABANDONED;
    };
    let attach = birth.link;
    // What it takes of that must not stay open here.
    let input = std::mem::take(&mut birth.body.input);
    let life = Rc::new(Life {
        remote,
        birth,
        page: Rc::new(page),
        ports: RefCell::default(),
        serves: RefCell::default(),
        early: RefCell::default(),
        ahead: Cell::new(ahead),
        stop: watch::Sender::new(false),
        heeds: Cell::new(false),
    });
    LIFE.set(Rc::downgrade(&life));
    if let Some(attach) = attach {
        life.early.borrow_mut().push((attach, fds));
    }
    let listening = life.clone();
    spawn_local(boxed(|| listening.listen(driver)));
    life.page.set_phase(Phase::Initialising);
    crash::at(Point::Initialising);
    let code = life.run(worker, input).await;
    peer::leave().await;
    life.remote.said().await;
    life.page.set_phase(Phase::Ending);
    crash::at(Point::Ending);
    code
}

/// Makes a future where it stays: on its way through the runtime it would leave copies on the stack, whose pages are
/// each child's own.
#[inline(never)]
fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    Box::pin(make())
}

/// The control link, from the child's side.
pub(crate) fn open_control(control: Transport) -> Option<(link::Sender, Driver)> {
    // Control messages carry the inputs of the user's functions: they are as large as those.
    link::open(control, usize::MAX >> 33).ok()
}

/// What a child is told before it is anybody.
struct First {
    birth: Birth,
    /// Beside it.
    fds: Vec<OwnedFd>,
    ahead: Option<Ahead>,
}

async fn first(driver: &mut Driver) -> Option<First> {
    let mut ahead = None;
    loop {
        let frame = driver.next().await?.ok()?;
        match control::heard(frame).ok()? {
            (Down::Birth(birth), fds) => {
                let ahead = ahead.filter(|_| birth.ahead);
                let birth = *birth;
                return Some(First { birth, fds, ahead });
            }
            (Down::Wait, _) => {}
            // One that cannot be opened is missing when it is to be served, which is said then.
            (Down::Ahead { limit }, fds) => {
                let transport = Transport::from_descriptors(fds).ok();
                ahead = transport.and_then(|transport| link::open(transport, limit).ok());
                crash::at(Point::OpenAhead);
            }
            _ => return None,
        }
    }
}

impl Life {
    async fn run(self: &Rc<Self>, worker: WorkerBody, input: Payload) -> i32 {
        let kind = self.birth.body.kind;
        let row = match kind {
            BodyKind::Worker => None,
            _ => match row::at(self.birth.body.row) {
                Ok(row) => Some(&row.entry),
                Err(error) => return self.done(Done::Fault(error)),
            },
        };
        match (kind, row) {
            (BodyKind::Worker, _) => self.serve(worker(self.page.clone(), input)).await,
            (BodyKind::Task, Some(Entry::Task(task))) => {
                let run = guarded(|| (task.run)(input, self.page.clone()));
                self.until_done(run).await
            }
            (BodyKind::Service, Some(Entry::Service(service))) => {
                let run = guarded(|| (service.run)(input, self.page.clone()));
                self.until_done(run).await
            }
            (BodyKind::Actor, Some(Entry::Actor(actor))) => {
                let init = guarded(|| (actor.init)(input, self.page.clone()));
                tokio::select! {
                    biased;
                    started = unwound(init) => match started {
                        Ok(room) => self.serve(room).await,
                        Err(text) => {
                            self.remote.say(&Up::InitFailed(text));
                            reason::FAILED
                        }
                    },
                    () = self.told_to_stop() => self.stopped(),
                }
            }
            (kind, _) => {
                let what = format!("row {} of this build is no {kind:?}", self.birth.body.row);
                self.done(Done::Fault(Error::with_kind(ErrorKind::NotInBuild, what)))
            }
        }
    }

    /// A task or service: until it is done, or told to stop and not heeding that itself.
    async fn until_done(&self, run: impl Future<Output = Done>) -> i32 {
        self.page.set_phase(Phase::Ready);
        let stop = async {
            self.told_to_stop().await;
            if self.heeds.get() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            done = unwound(run) => self.done(done),
            () = stop => self.stopped(),
        }
    }

    fn done(&self, done: Done) -> i32 {
        let heeded = *self.stop.borrow() && self.birth.body.kind == BodyKind::Service;
        let (ended, code) = match done.within(self.birth.settings.frame_limit) {
            Done::Value(_) if heeded => (Up::Stopped, 0),
            value @ Done::Value(_) => (Up::Done(value), 0),
            failure => (Up::Done(failure), reason::FAILED),
        };
        self.remote.say(&ended);
        code
    }

    async fn told_to_stop(&self) {
        // It cannot close: this is its sender.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    fn stopped(&self) -> i32 {
        self.remote.say(&Up::Stopped);
        crash::at(Point::SaidStopped);
        0
    }

    /// An actor or a worker: until it is told to stop.
    async fn serve(self: &Rc<Self>, serves: Rc<dyn Serve>) -> i32 {
        *self.serves.borrow_mut() = Some(serves.clone());
        // From here on it is up, whoever hears of that first.
        self.page.set_phase(Phase::Ready);
        let early = std::mem::take(&mut *self.early.borrow_mut());
        for (attach, fds) in early {
            self.attach(attach, fds);
        }
        self.remote.say(&Up::Ready);
        crash::at(Point::SaidReady);
        self.told_to_stop().await;
        crash::at(Point::StopHeard);
        // What was sent before the stop was is on the links by now, and counts.
        for port in self.ports.borrow().iter() {
            port.drain.notify_one();
        }
        for port in self.open_ports() {
            port.drained.notified().await;
        }
        crash::at(Point::Drained);
        serves.stop(ExitReason::Shutdown).await;
        crash::at(Point::Terminated);
        for port in self.open_ports() {
            port.flushed().await;
        }
        crash::at(Point::AnswersFlushed);
        self.stopped()
    }

    fn open_ports(&self) -> Vec<Rc<Port>> {
        self.ports.borrow().clone()
    }

    /// Reads the control socket until the host is gone.
    async fn listen(self: Rc<Self>, mut driver: Driver) {
        loop {
            let frame = match driver.next().await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    eprintln!("procession: the host cannot be heard any more: {error}");
                    self.abandoned();
                }
                None => self.abandoned(),
            };
            match control::heard(frame) {
                Ok((down, fds)) => self.hear(down, fds),
                Err(error) => {
                    eprintln!("procession: the host said what cannot be read: {error}");
                    self.abandoned();
                }
            }
        }
    }

    fn hear(self: &Rc<Self>, down: Down, fds: Vec<OwnedFd>) {
        match self.remote.hear(down, fds) {
            None | Some((Down::Birth(_) | Down::Wait | Down::Ahead { .. }, _)) => {}
            Some((Down::Attach(attach), fds)) => self.attach(attach, fds),
            Some((Down::Stop, _)) => drop(self.stop.send_replace(true)),
            Some((other, _)) => tracing::error!(?other, "an answer came back from where it was heard"),
        }
    }

    fn attach(self: &Rc<Self>, attach: Attach, fds: Vec<OwnedFd>) {
        if self.serves.borrow().is_none() {
            return self.early.borrow_mut().push((attach, fds));
        }
        let settings = &self.birth.settings;
        let ahead = self.ahead.take().filter(|_| fds.is_empty());
        let opened = ahead.map_or_else(
            || {
                let transport = Transport::introduced(attach.link, fds)?;
                Ok::<_, link::LinkError>(link::open(transport, settings.frame_limit)?)
            },
            Ok,
        );
        match opened {
            Ok((sender, mut driver)) => {
                let port = Port::new(self.remote, attach, sender, settings);
                if self.birth.link.is_some_and(|first| first.link == attach.link) {
                    port.say_up();
                    driver.flush_now();
                    crash::at(Point::SaidUp);
                }
                self.ports.borrow_mut().push(port.clone());
                crash::at(Point::Attached);
                let life = self.clone();
                spawn_local(boxed(|| life.receive(port, driver)));
            }
            Err(error) => {
                tracing::error!(%error, "a link could not be opened");
                self.remote.say(&Up::Closed(attach.link));
            }
        }
    }

    /// Serves one link to its end.
    async fn receive(self: Rc<Self>, port: Rc<Port>, mut driver: Driver) {
        let Some(serves) = self.serves.borrow().clone() else {
            return;
        };
        let fault = loop {
            let turn = tokio::select! {
                biased;
                turn = poll_fn(|cx| poll_turn(&port, &serves, &mut driver, cx)) => turn,
                () = port.drain.notified() => {
                    // Everything readable was taken before this branch was looked at.
                    port.drained.notify_one();
                    continue;
                }
            };
            match turn {
                // None keeps this process from what others say, nor its client from its answers.
                Turn::Over => {
                    driver.flush_now();
                    yield_now().await;
                }
                // A client that reads no answers gets no more work done.
                Turn::Crowded => driver.room().await,
                Turn::End(fault) => break fault,
            }
        };
        if let Some(fault) = fault {
            self.remote.say(&Up::Broken(port.link, fault));
        }
        // The host hears that the link is closed when the last message that came over it is done.
        port.close();
        port.drained.notify_one();
        self.ports.borrow_mut().retain(|other| !Rc::ptr_eq(other, &port));
    }

    /// The host is gone: there is nobody to work for.
    fn abandoned(&self) -> ! {
        std::process::exit(ABANDONED)
    }
}

/// How many frames of one link are taken before others have their turn.
const AT_ONCE: usize = 128;

/// Why a link is not read any further.
enum Turn {
    /// Others are to have theirs.
    Over,
    /// Its client reads no answers.
    Crowded,
    /// It yields nothing more, because of a fault of the client's where there is one.
    End(Option<String>),
}

/// How long the messages of a turn take.
#[derive(Default)]
struct Pace {
    n_messages: u64,
    /// When the second began: a message alone is not worth a look at the clock.
    since: u64,
}

/// An answer is not worth the system call that it costs alone where messages take less than this, in nanoseconds.
const QUICK: u64 = 20_000;

impl Pace {
    /// A message is about to be handled.
    fn next(&mut self) {
        self.n_messages += 1;
        if self.n_messages == 2 {
            self.since = clock::monotonic();
        }
    }

    /// Whether they were quick; `None`: there were not enough to say.
    fn is_quick(&self) -> Option<bool> {
        let n_timed = self.n_messages.checked_sub(1).filter(|n| *n > 0)?;
        Some(clock::monotonic() - self.since < QUICK * n_timed)
    }
}

/// Takes the messages of a link until there are none. Where they take long, answers go before the next one begins: they
/// would wait for it otherwise, and be lost with it.
fn poll_turn(
    port: &Rc<Port>,
    serves: &Rc<dyn Serve>,
    driver: &mut Driver,
    cx: &mut Context<'_>,
) -> Poll<Turn> {
    let mut pace = Pace::default();
    let turn = poll_messages(port, serves, driver, &mut pace, cx);
    if let Some(quick) = pace.is_quick() {
        port.answer_at_once(!quick);
    }
    turn
}

fn poll_messages(
    port: &Rc<Port>,
    serves: &Rc<dyn Serve>,
    driver: &mut Driver,
    pace: &mut Pace,
    cx: &mut Context<'_>,
) -> Poll<Turn> {
    for _ in 0..AT_ONCE {
        let heard = match handle_lent(port, serves, driver, pace) {
            Ok(false) => match ready!(driver.poll_next_unlent(cx)) {
                Some(Ok(None)) => Ok(()),
                Some(Ok(Some(frame))) => hear(port, serves, pace, frame),
                Some(Err(error)) => Err(error.to_string()),
                None => return Poll::Ready(Turn::End(None)),
            },
            handled => handled.map(drop),
        };
        if let Err(fault) = heard {
            return Poll::Ready(Turn::End(Some(fault)));
        }
        if driver.is_crowded() {
            return Poll::Ready(Turn::Crowded);
        }
    }
    Poll::Ready(Turn::Over)
}

/// Handles the next frame where it was read, if it is small and all here, as most are: to move it would cost more than the
/// rest. Whether there was one.
#[inline]
fn handle_lent(
    port: &Rc<Port>,
    serves: &Rc<dyn Serve>,
    driver: &mut Driver,
    pace: &mut Pace,
) -> Result<bool, String> {
    let Some((head, body)) = driver.lend() else {
        return Ok(false);
    };
    let Some(message) = port.accept_lent(head, body)? else {
        let other = driver.next_lent();
        other.map_or(Ok(()), |frame| hear(port, serves, pace, frame))?;
        return Ok(true);
    };
    pace.next();
    let len = body.len();
    match serves.clone().deliver_lent(message, body) {
        None => driver.pass(len),
        Some(message) => {
            message.give(driver.take(len).into());
            serves.clone().deliver(message);
        }
    }
    Ok(true)
}

fn hear(port: &Rc<Port>, serves: &Rc<dyn Serve>, pace: &mut Pace, frame: Incoming) -> Result<(), String> {
    if let Some(message) = port.accept(frame)? {
        pace.next();
        serves.clone().deliver(message);
    }
    Ok(())
}

/// Waits until this process is told to stop. A service or task that calls it is not cancelled by a stop any more: it
/// has its shutdown time to come to its own end.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] outside the main thread of a task or service.
///
/// ```
/// use procession::prelude::*;
///
/// #[task]
/// async fn worker() -> String {
///     procession::stopping().await.expect("a task");
///     "tidied up".to_owned()
/// }
///
/// # #[procession::main]
/// # async fn main() -> procession::Result<()> {
/// let process = Process::spawn(worker, ()).await?;
/// process.terminate().await?;
/// assert_eq!(process.join().await?, "tidied up");
/// # Ok(())
/// # }
/// ```
pub async fn stopping() -> Result<()> {
    let life = LIFE.with_borrow(Weak::upgrade).ok_or_else(|| {
        Error::with_kind(
            ErrorKind::Invalid,
            "only a task or service is told to stop: this is neither",
        )
    })?;
    life.heeds.set(true);
    life.told_to_stop().await;
    Ok(())
}

/// Ends the process after a panic of the user's code that its hook has written down.
pub(crate) fn die_of_panic(payload: &(dyn Any + Send)) -> ! {
    if let Some(life) = LIFE.with_borrow(Weak::upgrade) {
        // Answers that were given before the panic are not lost with it.
        life.ports.borrow().iter().for_each(|port| port.flush_now());
    }
    last_words::final_panic(payload);
    std::process::exit(reason::PANICKED)
}
