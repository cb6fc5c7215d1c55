//! Entering: how an image that was started to be a child, or the fork server, becomes one before user code runs.
//!
//! The host starts the program's own executable with [`TRIGGER`] in the environment and a socket as stdin. The trigger
//! says where to enter: at `main` if the host's own `main` was ours (then all that comes before `main` has run, and the
//! standard library is set up), else from `.init_array`, since a library cannot know what `main` is in a test.
//!
//! An entry before `main` first takes the trigger out of the environment, so that nothing that the program starts is
//! triggered by mistake; it is ignored in a program with more rights than its caller. The descriptors that leaked into
//! the image are closed. An image that is triggered and starts processes without having entered exits at once with an
//! error: no fork bombs. One that was triggered by hand exits with an error, and never waits.

use super::last_words;
use super::mode::StartMode;
use super::page::{Page, Phase};
use super::request::{Role, Welcome};
use super::server;
use super::spare::Somebody;
use crate::crash::{self, Point};
use crate::os::init_array::{Rest, before_main};
use crate::os::passing::{self, Wait};
use crate::os::{credentials, descriptors, environ, group, signal};
use crate::private;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// The variable that makes an image enter.
pub(crate) const TRIGGER: &str = "PROCESSION_ENTER";
/// With what an image exits that was triggered and could not enter.
pub(crate) const NOT_ENTERED: i32 = 70;

/// A child that has just been entered. What it runs is said by the first bytes on its control socket.
#[derive(Debug)]
pub(crate) struct Newborn {
    /// A stream that does not wait.
    pub(crate) control: OwnedFd,
    pub(crate) page: Page,
    /// Shared by all children: a record is written whole, in one call.
    pub(crate) log: OwnedFd,
    pub(crate) mode: StartMode,
    /// What it becomes with its first message.
    pub(crate) somebody: Somebody,
}

/// An image that knows its role and has not entered yet.
#[derive(Debug)]
struct Waiting {
    welcome: Welcome,
    socket: OwnedFd,
    fds: Vec<OwnedFd>,
}

static WAITING: Mutex<Option<Waiting>> = Mutex::new(None);
static OWN_MAIN: AtomicBool = AtomicBool::new(false);

before_main!(crate::process::entry::at_init);

/// Called by the C library before `main`, in every image of a program that links this crate.
fn at_init(rest: Rest) {
    let at_main = match environ::take(TRIGGER) {
        None => return,
        Some(_) if environ::is_untrusted() => return,
        Some(place) if place == "main" => true,
        Some(place) if place == "init" => false,
        Some(place) => refuse(&format!("it says `{}`", place.to_string_lossy())),
    };
    let waiting = receive().unwrap_or_else(|error| refuse(&error.to_string()));
    if at_main {
        *lock() = Some(waiting);
    } else {
        rest.run();
        signal::ignore_broken_pipe();
        waiting.enter();
    }
}

/// Called first thing by `#[procession::main]`. Returns in a host, whose images then enter here too.
pub(crate) fn at_main() {
    OWN_MAIN.store(true, Ordering::Relaxed);
    let waiting = lock().take();
    if let Some(waiting) = waiting {
        waiting.enter();
    }
}

/// Called before anything is started: exits if this is an image that should have entered.
pub(crate) fn refuse_unentered() {
    if lock().is_some() {
        refuse(
            "this image was to enter at `main`, which starts processes before `#[procession::main]` is reached",
        );
    }
}

/// What the trigger of an image of this program says.
pub(crate) fn trigger_for_images() -> &'static str {
    if OWN_MAIN.load(Ordering::Relaxed) {
        "main"
    } else {
        "init"
    }
}

/// Runs a child to its end. Called on the way out of the fork server's clone, or of a triggered image.
pub(crate) fn be_born(newborn: Newborn) -> ! {
    crash::enter("newborn");
    crash::at(Point::Born);
    if !newborn.page.claim() {
        // Another process was started in its place.
        std::process::exit(NOT_ENTERED)
    }
    last_words::write_to(&newborn.page);
    newborn.page.set_phase(Phase::Entered);
    let child = private::wiring().child;
    // Nothing may unwind into the fork server's frames below, nor into the C library's.
    match catch_unwind(AssertUnwindSafe(|| child(newborn))) {
        Ok(never) => never,
        Err(payload) => {
            last_words::final_panic(&*payload);
            std::process::exit(super::reason::PANICKED)
        }
    }
}

impl Waiting {
    fn enter(self) -> ! {
        match self.try_enter() {
            Ok(never) => match never {},
            Err(error) => refuse(&error.to_string()),
        }
    }

    fn try_enter(mut self) -> io::Result<std::convert::Infallible> {
        signal::unblock_all();
        signal::default_child_signal();
        last_words::prepare()?;
        match self.welcome.role {
            Role::Server => {
                let log = self.next_fd()?;
                server::run(self.socket, log, self.welcome.host)
            }
            Role::Child => {
                let log = self.next_fd()?;
                let page = Page::open(self.next_fd()?)?;
                // Its first message is sent when the host holds it, so it does not begin, and end, before.
                poll(
                    &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
                    PollTimeout::NONE,
                )?;
                be_born(Newborn {
                    control: self.socket,
                    page,
                    log,
                    mode: StartMode::Exec,
                    somebody: Somebody::default(),
                })
            }
        }
    }

    fn next_fd(&mut self) -> io::Result<OwnedFd> {
        if self.fds.is_empty() {
            return Err(io::Error::other(
                "the role came without its descriptors: out of file descriptors",
            ));
        }
        Ok(self.fds.remove(0))
    }
}

/// Takes the role from stdin, and leaves the null device there.
fn receive() -> io::Result<Waiting> {
    let host = nix::unistd::getppid().as_raw();
    let not_ours = || io::Error::other("stdin is not a socket of the program that started this one");
    if !descriptors::is_socket(0) {
        return Err(not_ours());
    }
    descriptors::close_inherited();
    // The standard library's stdin is not named: its buffer would lie in the middle of what each child writes to.
    let socket = descriptors::take_stdin()?;
    if credentials::maker(socket.as_fd())? != host {
        return Err(not_ours());
    }
    let (mut bytes, mut fds) = ([0; Welcome::SIZE], Vec::new());
    // The host sends it before it starts the image, so there is nothing to wait for.
    let received = passing::receive(socket.as_fd(), &mut bytes, &mut fds, Wait::No).map_or(0, |r| r.bytes);
    let welcome = Welcome::decode(&bytes[..received]);
    let welcome = welcome.ok_or_else(|| io::Error::other("no role came on stdin"))?;
    match welcome.role {
        // The server outlives the host for the moment in which it kills the children.
        Role::Server => {}
        Role::Child if group::die_with(welcome.host) => {}
        Role::Child => return Err(io::Error::other("the program that started this one is gone")),
    }
    Ok(Waiting { welcome, socket, fds })
}

fn refuse(why: &str) -> ! {
    eprintln!(
        "procession: {TRIGGER} is set, which is for images that the library itself starts, but {why}: unset it"
    );
    std::process::exit(NOT_ENTERED)
}

fn lock() -> std::sync::MutexGuard<'static, Option<Waiting>> {
    WAITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
