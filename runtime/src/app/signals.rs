//! Ctrl-C and SIGTERM: the first stops everything in order, the second ends the program at once.
//!
//! Children lead process groups of their own, so a Ctrl-C at the terminal reaches the host alone. The program ends with
//! the status that a shell expects of the signal: 130 or 143.

use crate::os::interrupt::Interrupts;
use crate::process::control;
use std::sync::atomic::{AtomicBool, Ordering};

use super::main::end;

/// A signal came, and its thread ends the program.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Handles them from now on, on a thread of its own: the program's may be busy.
pub(super) fn handle() {
    let thread = std::thread::Builder::new().name("procession-signals".to_owned());
    let (listens, listening) = std::sync::mpsc::channel();
    let started = thread.spawn(move || {
        crate::observe::setup::adopt_thread();
        let error = listen(&listens);
        tracing::warn!(%error, "Ctrl-C will not stop children in order");
    });
    match started {
        Ok(_) => drop(listening.recv()),
        Err(error) => tracing::warn!(%error, "Ctrl-C will not stop children in order"),
    }
}

/// Comes back only with an error. Says when signals are handled.
fn listen(listens: &std::sync::mpsc::Sender<()>) -> std::io::Error {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error,
    };
    runtime.block_on(async {
        let signals = match Interrupts::listen(&[libc::SIGINT, libc::SIGTERM]) {
            Ok(signals) => signals,
            Err(error) => return error,
        };
        let _ = listens.send(());
        let status = 128 + signals.next().await;
        // Before anything is stopped: whoever finds that out finds this too.
        ENDING.store(true, Ordering::Release);
        tokio::select! {
            () = stop() => {}
            _ = signals.next() => {}
        }
        // What still lives is killed by whoever watches this process.
        std::process::exit(status)
    })
}

/// Comes back at once, or never where a signal is ending the program.
pub(super) fn yield_to_end() {
    while ENDING.load(Ordering::Acquire) {
        std::thread::park();
    }
}

async fn stop() {
    if control::existing().is_some() {
        end().await;
    }
}
