//! The way into a child: the floors below meet those above.

use crate::actor;
use crate::observe;
use crate::pool::worker;
use crate::process::Newborn;
use crate::wire::control::Birth;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Runs a child to its end.
pub(crate) fn run(newborn: Newborn) -> ! {
    actor::child::live(newborn, worker::body, watch)
}

/// Events go to the host, each at once and whole.
fn watch(birth: &Birth, log: OwnedFd) {
    let log = UnixStream::from(log);
    observe::child::install(&birth.log, &birth.name, move |record| {
        let whole = [&(record.len() as u32).to_le_bytes(), record].concat();
        // The host is gone if this fails, and with it whoever would have read it.
        let _ = (&log).write_all(&whole);
    });
}
