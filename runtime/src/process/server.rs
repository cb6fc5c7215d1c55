//! The fork server, and the guardian that it also is: kills all children when the host is gone.
//!
//! One thread, one loop, one packet at a time. Being single-threaded is what makes its clones safe, so it is checked
//! before it serves; with more threads it only guards, and the host starts children by exec.
//!
//! It has no signal for the death of the host, as it must outlive it for the moment in which it kills: it sees the end
//! of its socket, and as a second sign the end of the host's pidfd (a fork of the host may hold the socket open). It
//! knows a child from its clone until the host, about to reap it, says that the number is being freed; so a number
//! that it kills by was not reused.
//!
//! Descriptors: 0 is the null device, 1 and 2 the relay, 3 the log, 4 the socket to the host; the rest are pidfds of
//! children. A child gets its control socket at 4, and all from 5 are closed in it.

use super::context::SAME_UMASK;
use super::entry::{self, Newborn};
use super::mode::StartMode;
use super::page::Page;
use super::request::{Reply, Request, Start};
use super::spare::{self, Somebody};
use crate::crash::{self, Point};
use crate::os::clone::{Cloner, Forked, is_refused};
use crate::os::passing::{self, Received, Wait};
use crate::os::pidfd::PidFd;
use crate::os::slice::Slice;
use crate::os::title::Title;
use crate::os::{descriptors, environ, group, procfs, signal};
use crate::private;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

struct Server {
    socket: OwnedFd,
    log: OwnedFd,
    host: i32,
    host_pidfd: Option<PidFd>,
    cloner: io::Result<Cloner>,
    threads: usize,
    /// What its children are like.
    somebody: Somebody,
    /// A map without hashing: random keys made here would be the same in every child.
    children: BTreeMap<i32, PidFd>,
}

/// Serves until the host is gone.
pub(crate) fn run(socket: OwnedFd, log: OwnedFd, host: i32) -> io::Result<std::convert::Infallible> {
    let [log, socket] = descriptors::keep_only([log, socket])?;
    crash::enter("fork server");
    // Stopped, it is to kill what there is when the host's end has the kernel wake it.
    signal::block_hangup();
    let threads = procfs::threads();
    let slice = Slice::LONG.take();
    (private::wiring().prepare)();
    // What is buffered here would be written again by each child.
    let _ = io::stdout().flush();
    let server = Server {
        host_pidfd: PidFd::open(host)
            .ok()
            .filter(|_| nix::unistd::getppid().as_raw() == host),
        socket,
        log,
        host,
        cloner: Cloner::new(),
        threads,
        somebody: Somebody {
            title: Some(Title::current()),
            slice,
        },
        children: BTreeMap::new(),
    };
    server.serve()
}

impl Server {
    fn serve(mut self) -> ! {
        let mut alive = self.answer(
            Reply::Hello {
                threads: self.threads as u32,
            },
            None,
        );
        let (mut packet, mut fds) = ([0; Request::SIZE], Vec::new());
        while alive && self.wait() {
            alive = match passing::receive(self.socket.as_fd(), &mut packet, &mut fds, Wait::No) {
                Ok(Received { bytes: 0, .. }) => false,
                Ok(received) => self.handle(Request::decode(&packet[..received.bytes]), &mut fds),
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            fds.clear();
        }
        self.end()
    }

    /// Sleeps until there is a packet, or the socket was closed; `false`: the host is dead.
    fn wait(&self) -> bool {
        let socket = PollFd::new(self.socket.as_fd(), PollFlags::POLLIN);
        // Without the host's pidfd the socket is looked at twice.
        let host = self.host_pidfd.as_ref().map_or(self.socket.as_fd(), AsFd::as_fd);
        let mut fds = [socket, PollFd::new(host, PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        // Packets first: among the last may be that a number was freed.
        fds[0].any().unwrap_or(true) || !fds[1].any().unwrap_or(false)
    }

    /// Does what a packet asks; `false`: the host is gone.
    fn handle(&mut self, request: Option<Request>, fds: &mut Vec<OwnedFd>) -> bool {
        match request {
            Some(Request::Start(start)) => self.start(start, fds),
            Some(Request::Guard { pid }) => {
                if let Some(pidfd) = fds.pop() {
                    self.children.insert(pid, PidFd::from(pidfd));
                }
                true
            }
            Some(Request::Ended { pid }) => {
                self.children.remove(&pid);
                true
            }
            None => true,
        }
    }

    fn start(&mut self, start: Start, fds: &mut Vec<OwnedFd>) -> bool {
        let id = start.id;
        let cloner = match &mut self.cloner {
            Ok(cloner) if self.threads == 1 => cloner,
            Ok(_) => return self.answer(Reply::Refused { id, errno: 0 }, None),
            Err(error) => {
                let errno = errno(error);
                return self.answer(Reply::Refused { id, errno }, None);
            }
        };
        let begun = match take_over(start, fds) {
            Ok(begun) => begun,
            Err(error) => {
                return self.answer(
                    Reply::Failed {
                        id,
                        errno: errno(&error),
                    },
                    None,
                );
            }
        };
        crash::at(Point::BeforeClone);
        match cloner.fork() {
            Ok(Forked::Child) => self.be_born(begun),
            Ok(Forked::Parent { pid, pidfd }) => {
                crash::at(Point::Cloned);
                // The child has its own copies of these by now.
                drop(begun);
                let alive = self.answer(Reply::Started { id, pid }, Some(&pidfd));
                crash::at(Point::StartAnswered);
                self.children.insert(pid, pidfd);
                alive
            }
            Err(error) if is_refused(&error) => self.answer(
                Reply::Refused {
                    id,
                    errno: errno(&error),
                },
                None,
            ),
            Err(error) => self.answer(
                Reply::Failed {
                    id,
                    errno: errno(&error),
                },
                None,
            ),
        }
    }

    /// `false`: the host is gone.
    fn answer(&self, reply: Reply, pidfd: Option<&PidFd>) -> bool {
        let fds = pidfd.map(AsFd::as_fd);
        let bytes = reply.encode();
        match passing::send(self.socket.as_fd(), &bytes, fds.as_slice(), Wait::Yes) {
            // Too many descriptors in flight: the host can get one by the number, as the child is its own.
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                passing::send(self.socket.as_fd(), &bytes, &[], Wait::Yes).is_ok()
            }
            sent => sent.is_ok(),
        }
    }

    /// The host is gone: whatever of its children lives is killed, with its group.
    fn end(self) -> ! {
        for (pid, pidfd) in &self.children {
            let _ = pidfd.signal(libc::SIGKILL);
            pidfd.kill_group(Some(*pid));
        }
        std::process::exit(0)
    }

    /// In the child. Nothing of the server is dropped, as its descriptors are closed by number.
    fn be_born(&mut self, begun: Begun) -> ! {
        signal::unblock_all();
        let newborn = group::lead().and_then(|()| {
            if !group::die_with(self.host) {
                std::process::exit(0);
            }
            let somebody = match begun.spare {
                true => {
                    Title::new(spare::NAME).set();
                    self.somebody
                }
                false => {
                    self.somebody.begin();
                    Somebody::default()
                }
            };
            let page = Page::open(begun.page)?;
            let log = self.log.try_clone()?;
            let [log, control] = descriptors::keep_only([log, begun.control])?;
            Ok(Newborn {
                control,
                page,
                log,
                mode: StartMode::ForkServer,
                somebody,
            })
        });
        match newborn {
            Ok(newborn) => entry::be_born(newborn),
            Err(error) => {
                eprintln!("procession: a child cannot begin: {error}");
                std::process::exit(entry::NOT_ENTERED)
            }
        }
    }
}

/// What a child takes with it.
struct Begun {
    control: OwnedFd,
    page: OwnedFd,
    spare: bool,
}

/// Takes the descriptors of a request, and the host's current state where it came with them.
fn take_over(start: Start, fds: &mut Vec<OwnedFd>) -> io::Result<Begun> {
    // There are fewer than the flags say only where the table of this process is full.
    let missing = || io::Error::from_raw_os_error(libc::EMFILE);
    let mut fds = fds.drain(..);
    let begun = Begun {
        control: fds.next().ok_or_else(missing)?,
        page: fds.next().ok_or_else(missing)?,
        spare: start.spare,
    };
    if start.directory {
        nix::unistd::fchdir(fds.next().ok_or_else(missing)?)?;
    }
    if start.environment {
        let mut snapshot = Vec::new();
        File::from(fds.next().ok_or_else(missing)?).read_to_end(&mut snapshot)?;
        environ::replace(&snapshot);
    }
    if start.umask != SAME_UMASK {
        umask(Mode::from_bits_truncate(start.umask));
    }
    Ok(begun)
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
