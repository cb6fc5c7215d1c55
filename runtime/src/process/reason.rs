//! Why a process ended: the wait status and what the process said, judged together.
//!
//! The wait status comes from the kernel and is believed. What the process said counts only where the status agrees
//! with it: a panic that was caught is not the end, and a task that reported its value and was then killed was killed.
//! Where somebody else took the status, and it was not killed from here, nothing speaks against what it said.

use super::last_words::Report;
use super::page::{Cell, Page};
use super::watch::Status;
use crate::exit::{ExitReason, KillCause};

/// The code with which the dispatcher of a child exits when its work ended with an error.
pub(crate) const FAILED: i32 = 1;
/// The code with which it exits after `final_panic`.
pub(crate) const PANICKED: i32 = 101;

/// What the process said of its end over its control socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Nothing,
    Returned,
    Stopped,
    Failed(String),
    InitFailed(String),
}

/// What it left in its status page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LastWords {
    pub(crate) report: Option<Report>,
    /// The dispatcher marked that panic as the end.
    pub(crate) is_final: bool,
    pub(crate) overflowed: bool,
}

impl LastWords {
    /// To be called after the process ended.
    pub(crate) fn read(page: &Page) -> Self {
        LastWords {
            report: Report::decode(&page.last_words()),
            is_final: page.get(Cell::Final) == 1,
            overflowed: page.get(Cell::Overflowed) == 1,
        }
    }
}

/// Judges. `killed`: why this library sent it SIGKILL, if it did.
pub(crate) fn reason(status: &Status, words: LastWords, said: Said, killed: Option<KillCause>) -> ExitReason {
    match *status {
        Status::Exited(code) => exited(code, words, said),
        Status::Signaled { signal, core } => match (signal, killed) {
            (libc::SIGKILL, Some(cause)) => ExitReason::Killed(cause),
            (libc::SIGABRT, _) => aborted(core, words),
            _ => ExitReason::Signaled { signal, core },
        },
        Status::Unknown { ref why } => expected(&words, &said).filter(|_| killed.is_none()).map_or_else(
            || ExitReason::Unknown { why: why.clone() },
            |code| exited(code, words, said),
        ),
    }
}

/// The code with which a process exits that said this; `None`: it said nothing of its end.
fn expected(words: &LastWords, said: &Said) -> Option<i32> {
    match said {
        Said::Returned | Said::Stopped => Some(0),
        Said::Failed(_) | Said::InitFailed(_) => Some(FAILED),
        Said::Nothing => words.is_final.then_some(PANICKED),
    }
}

fn exited(code: i32, words: LastWords, said: Said) -> ExitReason {
    match (code, said) {
        (0, Said::Returned) => ExitReason::Normal,
        (0, Said::Stopped) => ExitReason::Shutdown,
        (FAILED, Said::Failed(error)) => ExitReason::Failed(error),
        (FAILED, Said::InitFailed(error)) => ExitReason::InitFailed(error),
        (PANICKED, _) if words.is_final => match words.report {
            Some(report) => ExitReason::Panicked(Box::new(report.panic)),
            None => ExitReason::Exited(code),
        },
        _ => ExitReason::Exited(code),
    }
}

fn aborted(core: bool, words: LastWords) -> ExitReason {
    match words.report {
        _ if words.overflowed => ExitReason::StackOverflow { core },
        Some(report) if !report.can_unwind => ExitReason::Panicked(Box::new(report.panic)),
        _ => ExitReason::Signaled {
            signal: libc::SIGABRT,
            core,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{Backtrace, Panic};
    use ExitReason as R;

    fn panic() -> Panic {
        Panic {
            message: "boom".to_owned(),
            location: "src/main.rs:7:5".to_owned(),
            thread: "main".to_owned(),
            backtrace: Backtrace::default(),
        }
    }

    fn words(can_unwind: bool, is_final: bool) -> LastWords {
        let report = Some(Report {
            can_unwind,
            panic: panic(),
        });
        LastWords {
            report,
            is_final,
            overflowed: false,
        }
    }

    fn signaled(signal: i32) -> Status {
        Status::Signaled { signal, core: false }
    }

    #[test]
    fn each_end_has_its_reason() {
        let none = LastWords::default();
        let overflowed = LastWords {
            overflowed: true,
            ..none.clone()
        };
        let asked = Some(KillCause::Asked);
        let of = |signal| R::Signaled { signal, core: false };
        let (failed, init) = (Said::Failed("no".to_owned()), Said::InitFailed("no".to_owned()));
        let exited = Status::Exited;
        let why = || "taken".to_owned();
        let unknown = || Status::Unknown { why: why() };
        let taken = R::Unknown { why: why() };
        let table = [
            (exited(0), none.clone(), Said::Returned, None, R::Normal),
            (exited(0), none.clone(), Said::Stopped, None, R::Shutdown),
            (exited(0), none.clone(), Said::Nothing, None, R::Exited(0)),
            (exited(3), none.clone(), Said::Nothing, None, R::Exited(3)),
            // It returned, and then something at exit changed its mind.
            (exited(3), none.clone(), Said::Returned, None, R::Exited(3)),
            (
                exited(FAILED),
                none.clone(),
                failed.clone(),
                None,
                R::Failed("no".to_owned()),
            ),
            (
                exited(FAILED),
                none.clone(),
                init,
                None,
                R::InitFailed("no".to_owned()),
            ),
            (exited(FAILED), none.clone(), Said::Nothing, None, R::Exited(1)),
            (exited(0), none.clone(), failed.clone(), None, R::Exited(0)),
            (
                exited(PANICKED),
                words(true, true),
                Said::Nothing,
                None,
                R::Panicked(Box::new(panic())),
            ),
            // Caught, and then an exit with the same code by hand.
            (
                exited(PANICKED),
                words(true, false),
                Said::Nothing,
                None,
                R::Exited(101),
            ),
            (
                exited(PANICKED),
                none.clone(),
                Said::Nothing,
                None,
                R::Exited(101),
            ),
            // Caught, and then all went well.
            (exited(0), words(true, false), Said::Returned, None, R::Normal),
            (
                signaled(6),
                words(false, false),
                Said::Nothing,
                None,
                R::Panicked(Box::new(panic())),
            ),
            // Caught, and then an abort by hand.
            (signaled(6), words(true, false), Said::Nothing, None, of(6)),
            (signaled(6), none.clone(), Said::Nothing, None, of(6)),
            (
                signaled(6),
                overflowed.clone(),
                Said::Nothing,
                None,
                R::StackOverflow { core: false },
            ),
            (signaled(11), overflowed, Said::Nothing, None, of(11)),
            (signaled(11), words(false, false), Said::Nothing, None, of(11)),
            (signaled(9), none.clone(), Said::Nothing, None, of(9)),
            (
                signaled(9),
                none.clone(),
                Said::Nothing,
                asked,
                R::Killed(KillCause::Asked),
            ),
            // It ended by itself before our signal came.
            (exited(0), none.clone(), Said::Returned, asked, R::Normal),
            (signaled(9), words(true, true), failed.clone(), None, of(9)),
            (signaled(40), none.clone(), Said::Nothing, None, of(40)),
            (unknown(), none.clone(), Said::Returned, asked, taken.clone()),
            (unknown(), none.clone(), Said::Nothing, None, taken.clone()),
            // Caught, and then nobody knows.
            (unknown(), words(true, false), Said::Nothing, None, taken),
            (unknown(), none.clone(), Said::Returned, None, R::Normal),
            (unknown(), none.clone(), Said::Stopped, None, R::Shutdown),
            (unknown(), none, failed, None, R::Failed("no".to_owned())),
            (
                unknown(),
                words(true, true),
                Said::Nothing,
                None,
                R::Panicked(Box::new(panic())),
            ),
        ];
        for (status, words, said, killed, expected) in table {
            let row = format!("{status:?} {words:?} {said:?} {killed:?}");
            assert_eq!(reason(&status, words, said, killed), expected, "{row}");
        }
    }
}
