//! Each process of a conversation is killed at each place that the library names, and the oracle looks at what that cost.
//!
//! `tests/src/bin/kill_points.rs` is what is played; what it checks is what `docs/delivery.md` says.

use procession::private::crash_points;
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tests::Marker;
use tests::deadline::blocks_until;

/// Where which process dies, and the how manieth time that it comes there.
const PLAN: &[(&str, &[u64], &[&str])] = &[
    (
        "fork server",
        &[2, 3, 4],
        &["BeforeClone", "Cloned", "StartAnswered"],
    ),
    (
        "newborn",
        &[2, 3, 4],
        &["Born", "Waiting", "OpenAhead", "Employed"],
    ),
    (
        "receiver",
        &[1, 2],
        &[
            "Named",
            "Initialising",
            "SaidReady",
            "Attached",
            "CancelRead",
            "CreditDue",
            "CreditQueued",
        ],
    ),
    (
        "receiver",
        &[1, 9],
        &[
            "Received",
            "Accepted",
            "BeginNamed",
            "BeginCounted",
            "Begun",
            "Handled",
            "Answered",
            "Finished",
        ],
    ),
    (
        "receiver",
        &[1],
        &[
            // Said once, over the link that was made with the process.
            "SaidUp",
            // What is written through is not queued before.
            "FramesWritten",
            "StopHeard",
            "Drained",
            "Terminated",
            "AnswersFlushed",
            "SaidStopped",
            "PeersFlushed",
            "Bequeathed",
            "Ending",
        ],
    ),
    (
        "sender",
        &[1],
        &["Named", "Initialising", "SaidUp", "SaidReady", "Attached"],
    ),
    ("sender", &[1, 9], &["BeforeEntry", "Entered", "Queued"]),
    (
        "sender",
        &[1],
        &[
            "FramesWritten",
            "ReplyHeard",
            "ReplySettled",
            "CreditHeard",
            "CreditSettled",
            "Cancelled",
            "FateHeard",
            "Buried",
            "Replaying",
            "Replayed",
            "GoingLive",
            "Live",
        ],
    ),
    ("receiver", &[1, 2, 9], RING),
    ("sender", &[1, 2, 9], RING),
    (
        "sender",
        &[1],
        &[
            "StopHeard",
            "Drained",
            "Terminated",
            "AnswersFlushed",
            "SaidStopped",
            "PeersFlushed",
            "Bequeathed",
            "Ending",
        ],
    ),
];

/// Those that are within a ring.
const RING: &[&str] = &["RingFilled", "RingPublished", "RingUnrung", "RingEmptied"];

const KINDS: [&str; 3] = ["call", "tell", "idempotent"];

/// How many are played at once.
const STAGES: usize = 3;

/// Longer than the conversation gives itself.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy)]
struct Play {
    process: &'static str,
    point: &'static str,
    occurrence: u64,
    kind: &'static str,
}

/// What one came to.
enum Outcome {
    Good,
    /// The place was not reached.
    Missed,
    Bad(String),
}

impl Play {
    fn run(self) -> Outcome {
        let reached = Marker::new();
        let armed = format!(
            "{},{},{},{}",
            self.point,
            self.process,
            self.occurrence,
            reached.path().display()
        );
        let mut child = Command::new(env!("CARGO_BIN_EXE_kill_points"))
            .arg(self.kind)
            .env("PROCESSION_CRASH", armed)
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the conversation");
        // What it says fits into its pipes.
        let ended = blocks_until(PATIENCE, || child.try_wait().expect("a child").is_some());
        if !ended {
            child.kill().expect("a child that runs");
        }
        let output = child.wait_with_output().expect("its output");
        let said = || {
            let (out, err) = (
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
            format!("{self:?}: {}\n{out}{err}", output.status)
        };
        match output.status.success() && ended {
            false => Outcome::Bad(said()),
            true if reached.count() < self.occurrence => Outcome::Missed,
            true => Outcome::Good,
        }
    }
}

/// Whether the tests' processes come from the fork server.
fn has_server() -> bool {
    std::env::var("PROCESSION_START").map_or(true, |start| start != "exec")
}

/// Whether the links of the tests' processes are rings.
fn has_rings() -> bool {
    std::env::var("PROCESSION_LINK").map_or(true, |link| link == "ring")
}

fn plays() -> Vec<Play> {
    let mut plays = Vec::new();
    for (process, occurrences, points) in PLAN {
        if *process == "fork server" && !has_server() {
            continue;
        }
        for point in *points {
            // Nobody is made ahead of being asked for.
            if *point == "OpenAhead" && !has_server() {
                continue;
            }
            if RING.contains(point) && !has_rings() {
                continue;
            }
            for kind in KINDS {
                plays.extend(occurrences.iter().map(|occurrence| Play {
                    process,
                    point,
                    occurrence: *occurrence,
                    kind,
                }));
            }
        }
    }
    plays
}

#[test]
fn every_place_that_the_library_names_is_one_where_a_process_dies() {
    let planned: BTreeSet<_> = PLAN
        .iter()
        .flat_map(|(_, _, points)| points.iter().copied())
        .collect();
    let named = crash_points();
    let named: BTreeSet<_> = named.iter().map(String::as_str).collect();
    assert_eq!(planned, named);
}

#[test]
fn a_death_at_any_place_costs_what_is_said_and_no_more() {
    let (plays, next) = (plays(), AtomicUsize::new(0));
    // In which of its kinds a place was reached.
    let (bad, reached) = (Mutex::new(Vec::new()), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..STAGES {
            scope.spawn(|| {
                while let Some(play) = plays.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match play.run() {
                        Outcome::Good => {
                            reached.lock().expect("a lock").insert((
                                play.process,
                                play.point,
                                play.occurrence,
                            ));
                        }
                        Outcome::Missed => {}
                        Outcome::Bad(said) => bad.lock().expect("a lock").push(said),
                    }
                }
            });
        }
    });
    let (bad, reached) = (
        bad.into_inner().expect("a lock"),
        reached.into_inner().expect("a lock"),
    );
    assert!(
        bad.is_empty(),
        "{} of {}:\n{}",
        bad.len(),
        plays.len(),
        bad.join("\n")
    );
    let missed: BTreeSet<_> = plays
        .iter()
        .map(|play| (play.process, play.point, play.occurrence))
        .filter(|place| !reached.contains(place))
        .collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
