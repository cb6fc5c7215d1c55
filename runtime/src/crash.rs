//! Places at which a process can be told to die, for the tests that hold what a death costs.
//!
//! Without the feature `crash-points` a place is nothing. With it, `PROCESSION_CRASH` names one, as
//! `point,process,occurrence,file`: each time that a process of that name comes there a byte is added to the file, and
//! the one that makes it so long is killed with SIGKILL (or sent the signal that a fifth part names), in the middle of
//! what it was doing. So a test sees at the file that the place was reached, and no place kills twice.

use crate::local;

macro_rules! points {
    ($($(#[$doc:meta])* $point:ident,)+) => {
        /// A place.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Point {
            $($(#[$doc])* $point,)+
        }

        impl Point {
            /// All of them.
            #[cfg(feature = "crash-points")]
            pub(crate) const ALL: &[Point] = &[$(Point::$point,)+];
        }
    };
}

points! {
    // The fork server.
    BeforeClone,
    /// The child is there, and the host does not know.
    Cloned,
    StartAnswered,
    // A child that comes up.
    Born,
    /// It has no first message yet, or has not looked: nobody has an interest in it that it knows.
    Waiting,
    /// It has opened the link that was made with it, and is still nobody.
    OpenAhead,
    /// It has read its first message, and is not yet somebody.
    Employed,
    Named,
    Initialising,
    /// Its starter may know that it is up, and the host has not heard of it.
    SaidUp,
    SaidReady,
    Attached,
    // Sending.
    BeforeEntry,
    Entered,
    Queued,
    FramesWritten,
    Cancelled,
    // A ring.
    /// The bytes are in the memory that both sides share, and the cursor does not say so.
    RingFilled,
    /// The cursor says so; the reader was not told, nor woken.
    RingPublished,
    /// The reader was told, and sleeps on.
    RingUnrung,
    /// The bytes were copied out, and their room was not given back.
    RingEmptied,
    // Receiving.
    Received,
    Accepted,
    CancelRead,
    // Dispatch.
    /// The status page has the name of what begins, and does not count it yet.
    BeginNamed,
    BeginCounted,
    /// It has left the mailbox.
    Begun,
    Handled,
    Answered,
    /// The status page does not name it any more.
    Finished,
    CreditDue,
    CreditQueued,
    // Answers and acknowledgements, where they are heard.
    ReplyHeard,
    ReplySettled,
    CreditHeard,
    CreditSettled,
    // Hand-over, at the sender.
    FateHeard,
    Buried,
    Replaying,
    Replayed,
    GoingLive,
    Live,
    // An orderly end.
    StopHeard,
    Drained,
    Terminated,
    AnswersFlushed,
    SaidStopped,
    PeersFlushed,
    Bequeathed,
    Ending,
}

/// The process is at that place.
#[inline]
pub(crate) fn at(point: Point) {
    #[cfg(feature = "crash-points")]
    armed::at(point);
    local::at(point);
}

/// From here on this process has that name.
#[inline]
pub(crate) fn enter(process: &str) {
    #[cfg(feature = "crash-points")]
    armed::enter(process);
    #[cfg(not(feature = "crash-points"))]
    let _ = process;
}

#[cfg(feature = "crash-points")]
mod armed {
    use super::Point;
    use nix::sys::signal::{Signal, kill};
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::sync::{Mutex, OnceLock, PoisonError};

    /// What was asked for.
    #[derive(Debug)]
    struct Armed {
        point: String,
        process: String,
        occurrence: u64,
        file: String,
        signal: Signal,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    static PROCESS: Mutex<String> = Mutex::new(String::new());

    pub(super) fn enter(process: &str) {
        *PROCESS.lock().unwrap_or_else(PoisonError::into_inner) = process.to_owned();
    }

    pub(super) fn at(point: Point) {
        let Some(armed) = ARMED.get_or_init(Armed::read) else {
            return;
        };
        let is_it = armed.point == format!("{point:?}")
            && armed.process == *PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
        if is_it && armed.count() == Some(armed.occurrence) {
            let _ = kill(nix::unistd::Pid::this(), armed.signal);
            if armed.signal == Signal::SIGKILL {
                loop {
                    std::thread::park();
                }
            }
        }
    }

    impl Armed {
        fn read() -> Option<Armed> {
            let asked = std::env::var("PROCESSION_CRASH").ok()?;
            let mut parts = asked.splitn(5, ',').map(str::to_owned);
            Some(Armed {
                point: parts.next()?,
                process: parts.next()?,
                occurrence: parts.next()?.parse().ok()?,
                file: parts.next()?,
                signal: parts
                    .next()
                    .map_or(Some(Signal::SIGKILL), |name| name.parse().ok())?,
            })
        }

        /// How often a process came here, this time included.
        fn count(&self) -> Option<u64> {
            let mut file = OpenOptions::new().append(true).open(&self.file).ok()?;
            file.write_all(b".").ok()?;
            Some(file.metadata().ok()?.len())
        }
    }
}
