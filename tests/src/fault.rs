//! Every way in which user code can bring its process down, and the reason that everybody must hear.

use nix::sys::signal::{Signal, raise};
use procession::ExitReason;
use serde::{Deserialize, Serialize};

/// A way to end, or never to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    Panic,
    Abort,
    Exit(i32),
    Segfault,
    Kill,
    Terminate,
    StackOverflow,
    /// Never yields and never ends.
    Spin,
}

/// What a panic of [`Fault::strike`] says.
pub const MESSAGE: &str = "as asked";

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 9] = [
        Fault::Panic,
        Fault::Abort,
        Fault::Exit(0),
        Fault::Exit(3),
        Fault::Segfault,
        Fault::Kill,
        Fault::Terminate,
        Fault::StackOverflow,
        Fault::Spin,
    ];

    /// Does it, on this thread.
    pub fn strike(self) {
        match self {
            Fault::Panic => panic!("{MESSAGE}"),
            Fault::Abort => std::process::abort(),
            Fault::Exit(code) => std::process::exit(code),
            Fault::Segfault => touch_nothing(),
            Fault::Kill => signal(Signal::SIGKILL),
            Fault::Terminate => signal(Signal::SIGTERM),
            Fault::StackOverflow => {
                std::hint::black_box(overflow(1));
            }
            Fault::Spin => loop {
                std::hint::spin_loop();
            },
        }
    }

    /// Whether it ends the process that does it.
    pub fn ends(self) -> bool {
        self != Fault::Spin
    }

    /// Whether this is the reason that it must give.
    pub fn is_reason(self, reason: &ExitReason) -> bool {
        match (self, reason) {
            (Fault::Panic, ExitReason::Panicked(panic)) => {
                panic.message == MESSAGE
                    && panic.location.contains("fault.rs")
                    && !panic.backtrace.offsets.is_empty()
            }
            (Fault::Abort, ExitReason::Signaled { signal, .. }) => *signal == Signal::SIGABRT as i32,
            (Fault::Exit(code), ExitReason::Exited(exited)) => code == *exited,
            (Fault::Segfault, ExitReason::Signaled { signal, .. }) => *signal == Signal::SIGSEGV as i32,
            (Fault::Kill, ExitReason::Signaled { signal, core }) => {
                *signal == Signal::SIGKILL as i32 && !core
            }
            (Fault::Terminate, ExitReason::Signaled { signal, core }) => {
                *signal == Signal::SIGTERM as i32 && !core
            }
            (Fault::StackOverflow, ExitReason::StackOverflow { .. }) => true,
            _ => false,
        }
    }
}

/// To the whole process, as from outside.
fn signal(signal: Signal) {
    if let Err(error) = nix::sys::signal::kill(nix::unistd::Pid::this(), signal).or_else(|_| raise(signal)) {
        panic!("{signal} cannot be sent: {error}");
    }
    // On another thread than the one that the kernel chose, the end may be a moment away.
    loop {
        std::thread::park();
    }
}

fn touch_nothing() {
    // SAFETY: there is none to be had: nothing is mapped there, and the fault is what is asked for.
    unsafe { std::ptr::read_volatile(8 as *const u8) };
}

#[allow(unconditional_recursion)]
#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + std::hint::black_box(frame)[0]
}
