//! What the children write: their stdout, stderr and log records, brought to the host's.
//!
//! One socket for each of the three carries the bytes of all children; the kernel says who wrote which. A thread of
//! its own reads them, blocking, so the control plane never waits for a terminal. Promised: whole lines, each
//! writer's in order, to the last one before it died ([`Relay::drained`]); a host whose stdout is closed loses that
//! stream and nothing else. Not promised: an order between stdout and stderr, or between writers.
//!
//! It writes to the descriptors, not through the standard library's locks: a host may hold `stdout().lock()` while it
//! waits for a child, whose last output must not wait for that in its turn. So a line that the host has begun and not
//! ended may still be in its buffer when lines of children are written; whole lines of the host come in order.
//!
//! What the control plane has to log is logged here too ([`Relay::run`]): a terminal that stands still holds up what
//! is written to it and nothing else.
//!
//! A child that makes its stdout non-blocking does so for all, since they share it.

use super::lines::{Lines, Records};
use crate::os::passing::{self, Kind};
use crate::os::{credentials, group};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use tokio::sync::oneshot;

/// Who takes log records: the writer's pid and the record. An empty one says that the writer is gone.
pub(crate) type Sink = fn(i32, &[u8]);

/// A handle on the relay; the last one dropped ends its thread, after it has relayed what is there.
#[derive(Debug, Clone)]
pub(crate) struct Relay(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stdout: OwnedFd,
    stderr: OwnedFd,
    log: OwnedFd,
    orders: mpsc::Sender<Order>,
    wake: UnixStream,
}

/// What the thread is to do once it has read what was there before.
enum Order {
    /// Somebody waits for all that this process wrote before its death.
    Drain {
        pid: i32,
        done: oneshot::Sender<()>,
    },
    Run(Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Drain { pid, .. } => write!(f, "Drain({pid})"),
            Order::Run(_) => f.write_str("Run"),
        }
    }
}

impl Relay {
    /// Starts the thread.
    pub(crate) fn new(sink: Sink) -> io::Result<Self> {
        let ((stdout, out), (stderr, err), (log, records)) = (socket()?, socket()?, socket()?);
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (orders, asked) = mpsc::channel();
        let reader = Reader {
            out: Stream::new(out, Lines::default()),
            err: Stream::new(err, Lines::default()),
            log: Stream::new(records, Records::default()),
            sink,
            woken,
            asked,
        };
        thread::Builder::new()
            .name("procession-relay".to_owned())
            .spawn(move || reader.run())?;
        Ok(Relay(Arc::new(Inner {
            stdout,
            stderr,
            log,
            orders,
            wake,
        })))
    }

    /// The end that becomes the stdout of every child.
    pub(crate) fn stdout(&self) -> BorrowedFd<'_> {
        self.0.stdout.as_fd()
    }

    /// The end that becomes the stderr of every child.
    pub(crate) fn stderr(&self) -> BorrowedFd<'_> {
        self.0.stderr.as_fd()
    }

    /// The end into which every child writes its log records, each with its length in front.
    pub(crate) fn log(&self) -> BorrowedFd<'_> {
        self.0.log.as_fd()
    }

    /// Completes when all that `pid` wrote before this call was relayed, its unfinished line too, and it is forgotten.
    ///
    /// To be called after its death. The request is made at once, not at the first poll.
    pub(crate) fn drained(&self, pid: i32) -> impl Future<Output = ()> + Send + use<> {
        let (done, answer) = oneshot::channel();
        self.order(Order::Drain { pid, done });
        async move {
            let _ = answer.await;
        }
    }

    /// Runs this on the thread, in the order of the calls, after what children had written by now.
    pub(crate) fn run(&self, act: impl FnOnce() + Send + 'static) {
        self.order(Order::Run(Box::new(act)));
    }

    fn order(&self, order: Order) {
        // The thread is there as long as this handle.
        let _ = self.0.orders.send(order);
        // A full socket means that the thread is about to look anyway.
        let _ = (&self.0.wake).write(&[1]);
    }
}

fn socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let (write, read) = passing::pair(Kind::Waiting)?;
    credentials::ask(read.as_fd())?;
    Ok((write, read))
}

/// One of the three sockets, and what is assembled from it.
#[derive(Debug)]
struct Stream<T> {
    socket: OwnedFd,
    partial: T,
}

impl<T> Stream<T> {
    fn new(socket: OwnedFd, partial: T) -> Self {
        Stream { socket, partial }
    }

    /// Reads at least `bytes`, or to would-block.
    fn read(&mut self, bytes: usize, buffer: &mut [u8], mut each: impl FnMut(&mut T, i32, &[u8])) {
        let mut read = 0;
        while read < bytes {
            match credentials::receive(self.socket.as_fd(), buffer) {
                Ok((0, _)) | Err(_) => break,
                Ok((n, pid)) => {
                    each(&mut self.partial, pid, &buffer[..n]);
                    read += n;
                }
            }
        }
    }
}

/// The thread's half.
#[derive(Debug)]
struct Reader {
    out: Stream<Lines>,
    err: Stream<Lines>,
    log: Stream<Records>,
    sink: Sink,
    woken: UnixStream,
    asked: mpsc::Receiver<Order>,
}

impl Reader {
    fn run(mut self) {
        let mut buffer = vec![0; 64 * 1024];
        while self.wait() {
            // Taken before the sockets are read: what these processes wrote is in them by now.
            let orders: Vec<Order> = self.asked.try_iter().collect();
            self.read(&mut buffer);
            self.settle(orders, &mut buffer);
        }
        let orders = self.asked.try_iter().collect();
        self.read(&mut buffer);
        self.settle(orders, &mut buffer);
    }

    /// Sleeps until there is something to do; `false`: the last handle is gone.
    fn wait(&mut self) -> bool {
        let fds = [
            self.woken.as_fd(),
            self.out.socket.as_fd(),
            self.err.socket.as_fd(),
            self.log.socket.as_fd(),
        ];
        let mut fds = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, PollTimeout::NONE);
        if !fds[0].any().unwrap_or(false) {
            return true;
        }
        loop {
            match self.woken.read(&mut [0; 64]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
    }

    /// Reads what is there now, and not what comes meanwhile: a writer that never stops must not hold up a drain.
    fn read(&mut self, buffer: &mut [u8]) {
        let mut text = Vec::new();
        let waiting = |socket: &OwnedFd| credentials::waiting(socket.as_fd()).max(1);
        let each = |lines: &mut Lines, pid: i32, bytes: &[u8], text: &mut Vec<u8>, to: fn(&[u8])| {
            lines.push(pid, bytes, |whole| text.extend_from_slice(whole));
            if text.len() >= 64 * 1024 {
                to(text);
                text.clear();
            }
        };
        let bytes = waiting(&self.out.socket);
        self.out.read(bytes, buffer, |lines, pid, bytes| {
            each(lines, pid, bytes, &mut text, to_stdout)
        });
        to_stdout(&text);
        text.clear();
        let bytes = waiting(&self.err.socket);
        self.err.read(bytes, buffer, |lines, pid, bytes| {
            each(lines, pid, bytes, &mut text, to_stderr)
        });
        to_stderr(&text);
        let (bytes, sink) = (waiting(&self.log.socket), self.sink);
        self.log.read(bytes, buffer, |records, pid, bytes| {
            records.push(pid, bytes, |record| sink(pid, record));
        });
    }

    fn settle(&mut self, orders: Vec<Order>, buffer: &mut [u8]) {
        let drained = |order: &Order| match order {
            Order::Drain { pid, .. } => Some(*pid),
            Order::Run(_) => None,
        };
        let drained: Vec<i32> = orders.iter().filter_map(drained).collect();
        if !drained.is_empty() {
            drained.into_iter().for_each(|pid| self.forget(pid));
            self.forget_the_dead(buffer);
        }
        for order in orders {
            match order {
                Order::Drain { done, .. } => drop(done.send(())),
                Order::Run(act) => {
                    // What the program's own subscriber makes of it must not end the thread; its hook has told of it.
                    let _ = catch_unwind(AssertUnwindSafe(act));
                }
            }
        }
    }

    /// Processes that a child started write to the same sockets, and nobody says when they end.
    fn forget_the_dead(&mut self, buffer: &mut [u8]) {
        let lines = [&self.out.partial, &self.err.partial]
            .into_iter()
            .flat_map(Lines::writers);
        let writers: Vec<i32> = lines.chain(self.log.partial.writers()).collect();
        let dead: Vec<i32> = writers.into_iter().filter(|pid| !group::exists(*pid)).collect();
        if !dead.is_empty() {
            // One that ended after the sockets were read may have ended its line before.
            self.read(buffer);
            dead.into_iter().for_each(|pid| self.forget(pid));
        }
    }

    fn forget(&mut self, pid: i32) {
        self.out.partial.flush(pid, to_stdout);
        self.err.partial.flush(pid, to_stderr);
        self.log.partial.forget(pid);
        (self.sink)(pid, &[]);
    }
}

fn to_stdout(bytes: &[u8]) {
    write_whole(io::stdout().as_fd(), bytes);
}

fn to_stderr(bytes: &[u8]) {
    write_whole(io::stderr().as_fd(), bytes);
}

/// Writes all of it; to a stream that is closed, or fails otherwise, what is left is dropped.
fn write_whole(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(0) => return,
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::EINTR) => {}
            // The host's stdout may be shared with someone who made it non-blocking.
            Err(Errno::EAGAIN) => {
                let _ = poll(&mut [PollFd::new(fd, PollFlags::POLLOUT)], PollTimeout::NONE);
            }
            Err(_) => return,
        }
    }
}
