//! The examples: all that they write, in every start mode, over every kind of link, on all cores and on one.
//!
//! `PROCESSION_EXAMPLE_RUNS` says how often each is run in each way: once, if it is not set, and with 0 not at all, also not
//! on one core. `words`, which is slow, is run no more than five times.

mod program;
mod words;

use std::path::Path;

use program::{Way, Written, n_runs, run, ways};

/// Runs an example in every way, as often as asked, and once in every way on one core.
fn in_every_way(name: &str, check: impl Fn(&Written)) {
    for &way in ways() {
        for _ in 0..n_runs() {
            check(&run(name, way, &[]));
        }
        check(&run(name, Way { pinned: true, ..way }, &[]));
    }
}

#[test]
fn hello_greets_from_another_process_and_says_how_the_last_one_ended() {
    in_every_way("hello", |written| {
        let ends = [
            "killed by SIGKILL\n",
            "hello sleeper\nkilled by SIGKILL\n",
            "hello sleeper\nexited normally\n",
        ];
        let greeting = written.stdout.strip_prefix("hello me\nhello bob\n");
        assert!(greeting.is_some_and(|end| ends.contains(&end)), "{written:#?}");
        let log = written.stderr.join("\n");
        assert!(
            log.contains("panicked at examples/hello.rs:20:5:\nas asked\n"),
            "{written:#?}"
        );
        assert!(log.contains("reason=failed: no coffee"), "{written:#?}");
        let deaths = written.stderr.iter().filter(|line| line.contains(" died "));
        assert!(
            deaths
                .clone()
                .all(|line| line.contains("child=\"fails-") || line.contains("child=\"crashes-"))
        );
        assert_eq!(deaths.count(), 2, "{written:#?}");
    });
}

#[test]
fn cubes_come_in_order_and_nothing_else_is_said() {
    in_every_way("cubes", |written| {
        assert_eq!(written.stdout, "[1, 8, 27, 64, 125, 216]\n");
        assert!(written.stderr.is_empty(), "{written:#?}");
    });
}

#[test]
fn counter_says_farewell_once_at_its_orderly_end() {
    in_every_way("counter", |written| {
        assert_eq!(written.stdout, "stopping at 42: shut down\n");
        let log = written.stderr.join("\n");
        assert!(
            log.contains("panicked at examples/counter.rs:36:9:\nboom at 42\n"),
            "{written:#?}"
        );
    });
}

#[test]
fn pipe_carries_values_both_ways_until_its_other_end_is_dropped() {
    in_every_way("pipe", |written| {
        assert_eq!(written.stdout, "[42, null, \"hello\"]\n".replace(", ", ","));
        assert!(written.stderr.is_empty(), "{written:#?}");
    });
}

#[test]
fn ticker_streams_cancels_and_outlives_work_that_does_not_yield() {
    in_every_way("ticker", |written| {
        assert_eq!(written.stdout, "ok\n", "{written:#?}")
    });
}

#[test]
fn bank_shows_its_tree_with_the_restarted_ones() {
    in_every_way("bank", |written| {
        let mut lines = written.stdout.lines();
        assert_eq!(lines.next(), Some("ledger: killed by SIGKILL"));
        let expected = [
            ("bank", "supervisor", 0, 0),
            ("  counter-hall", "supervisor", 0, 0),
            ("    ledger", "actor", 1, 1),
            ("    teller-1", "actor", 1, 1),
            ("    teller-2", "actor", 1, 1),
            ("  clock", "service", 1, 0),
        ];
        let processes: Vec<_> = expected
            .map(|row| check_row(lines.next().unwrap_or_default(), row))
            .concat();
        let mut different = processes.clone();
        different.dedup();
        assert_eq!(
            different, processes,
            "two children have one process: {written:#?}"
        );
        assert_eq!(lines.next(), None, "{written:#?}");
        let said =
            |line: &String| line.contains("died child=\"ledger\"") || line.contains("tick child=clock");
        assert!(written.stderr.iter().all(said), "{written:#?}");
    });
}

#[test]
fn mailbox_loses_the_message_that_it_died_of_and_no_other() {
    in_every_way("mailbox", |written| {
        assert_eq!(written.stdout, "handled 999 of 1000, lost 1\n");
        let said = [" died child=\"Diary-", "a message was not handled actor=\"Diary-"];
        let is_said = |said| written.stderr.iter().any(|line| line.contains(said));
        assert!(
            written.stderr.len() == 2 && said.into_iter().all(is_said),
            "{written:#?}"
        );
    });
}

#[test]
fn zero_copy_has_its_array_in_memory_once() {
    const MIB: u64 = 64;
    for &way in ways() {
        let written = run("zero_copy", way, &[Path::new(&MIB.to_string())]);
        let memory = |when: &str| {
            let line = written.stdout.lines().find_map(|line| line.strip_prefix(when));
            let size = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
            size.unwrap_or_else(|| panic!("nothing of `{when}`: {written:#?}"))
        };
        let (before, after) = (memory("before:"), memory("after:"));
        // The programs of other tests share code with this one, which is counted as less while they run.
        let grown = after.saturating_sub(before);
        assert!((3 * MIB / 4..3 * MIB / 2).contains(&grown), "{written:#?}");
        assert!(written.stderr.is_empty(), "{written:#?}");
    }
}

/// Compares a row of the tree: name, kind, how many processes it is, restarts. Gives its process, if it is one.
fn check_row(line: &str, (name, kind, n_processes, restarts): (&str, &str, usize, u32)) -> Vec<u32> {
    let indent = name.len() - name.trim_start().len();
    let (margin, cells) = line.split_at_checked(indent).unwrap_or_default();
    let cells: Vec<_> = cells.split_whitespace().collect();
    let [
        its_name,
        its_kind,
        pid,
        state,
        its_restarts,
        "restarts",
        uptime,
        "up",
    ] = cells[..]
    else {
        panic!("no row of a tree: {line:?}");
    };
    assert!(
        margin.trim().is_empty() && !line[indent..].starts_with(' '),
        "{line:?} is not {indent} deep"
    );
    assert_eq!(
        (its_name, its_kind, state),
        (name.trim(), kind, "running"),
        "{line:?}"
    );
    assert_eq!(its_restarts.parse(), Ok(restarts), "{line:?}");
    assert!(uptime.ends_with('s'), "{line:?}");
    let processes: Vec<u32> = pid.parse().into_iter().collect();
    assert_eq!(processes.len(), n_processes, "{line:?}");
    processes
}
