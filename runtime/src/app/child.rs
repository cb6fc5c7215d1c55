//! The way into a child: the floors below meet those above.

use crate::actor;
use crate::observe;
use crate::pool::worker;
use crate::process::Newborn;
use crate::wire::control::Birth;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Does once, in the fork server, what each child would otherwise do again: its pages are then shared, and the destructors
/// of what threads have are registered. Nothing random is made here, as it would be the same in every child.
pub(crate) fn prepare() {
    // The largest first: it fits into what was freed, and what children write to lies close together.
    observe::child::prepare();
    actor::child::prepare();
    let _ = std::thread::current();
}

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
