//! However a program ends, nothing that it started is there a second later.

use nix::pty::openpty;
use nix::sys::signal::Signal;
use std::io::Write;
use std::time::Duration;
use tests::proc::Entry;
use tests::program::{Ended, Program, are_gone};

const HOUSE: &str = env!("CARGO_BIN_EXE_house");
const SECOND: Duration = Duration::from_secs(1);

/// The order in which the house says good-bye: newest first.
const BYES: [&str; 5] = ["bye shed", "bye roof", "bye attic", "bye clock", "bye cellar"];

/// A house that is up, and everything in it.
fn house(how: &str) -> (Program, Vec<Entry>) {
    let mut house = Program::start(HOUSE, &[how]);
    house.line("up");
    let inside = house.descendants();
    // The fork server, five of the tree and beside it, two that they started, two workers, a task, two that sleep.
    assert!(inside.len() >= 13, "{inside:#?}");
    (house, inside)
}

fn is_empty_after(house: Program, inside: &[Entry]) -> Ended {
    let ended = house.end();
    let gone = are_gone(inside, SECOND);
    let left: Vec<_> = inside.iter().filter(|entry| entry.lives()).collect();
    assert!(gone, "left behind: {left:#?}\n{ended:#?}");
    assert!(ended.left.is_empty(), "{:?}", ended.left);
    let named: Vec<_> = std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        !named
            .iter()
            .any(|name| name.to_string_lossy().contains("procession")),
        "{named:?}"
    );
    ended
}

fn byes(ended: &Ended) -> Vec<&str> {
    ended
        .out
        .iter()
        .map(String::as_str)
        .filter(|line| line.starts_with("bye "))
        .collect()
}

#[test]
fn a_program_that_is_killed_leaves_nothing() {
    let (house, inside) = house("wait");
    house.signal(Signal::SIGKILL);
    let ended = is_empty_after(house, &inside);
    assert_eq!(ended.code(), 128 + 9);
    assert_eq!(
        byes(&ended),
        [""; 0],
        "a program that is killed stops nothing in order"
    );
}

#[test]
fn a_program_that_aborts_leaves_nothing() {
    let (house, inside) = house("wait");
    house.signal(Signal::SIGABRT);
    assert_eq!(is_empty_after(house, &inside).code(), 128 + 6);
}

#[test]
fn a_program_that_exits_leaves_nothing() {
    let mut house = Program::start(HOUSE, &["exit"]);
    house.line("up");
    let ended = house.end();
    assert_eq!(ended.code(), 7);
    assert!(ended.left.is_empty(), "{:?}", ended.left);
}

#[test]
fn sigterm_stops_everything_in_reverse_order_with_status_143() {
    let (house, inside) = house("wait");
    house.signal(Signal::SIGTERM);
    let ended = is_empty_after(house, &inside);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 143, "{ended:#?}");
}

#[test]
fn sigint_stops_everything_in_reverse_order_with_status_130() {
    let (house, inside) = house("wait");
    house.signal_group(Signal::SIGINT);
    let ended = is_empty_after(house, &inside);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 130, "{ended:#?}");
}

#[test]
fn a_main_that_panics_over_what_a_signal_stopped_does_not_cut_the_stop_short() {
    let (house, inside) = house("unwrap");
    house.signal(Signal::SIGTERM);
    let ended = is_empty_after(house, &inside);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 143, "{ended:#?}");
}

#[test]
fn ctrl_c_at_a_terminal_reaches_the_host_alone() {
    let terminal = openpty(None, None).expect("a terminal");
    let mut house = Program::start_on(terminal.slave, HOUSE, &["wait"]);
    house.line("up");
    let inside = house.descendants();
    let host = tests::proc::entry(house.pid()).expect("a program that runs");
    assert!(
        inside.iter().all(|entry| entry.group != host.group),
        "{inside:#?}"
    );
    std::fs::File::from(terminal.master)
        .write_all(b"\x03")
        .expect("a key");
    let ended = is_empty_after(house, &inside);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 130, "{ended:#?}");
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_those_who_will_not_stop() {
    let (mut house, inside) = house("stubborn");
    house.signal(Signal::SIGINT);
    house.line("stubborn");
    house.signal(Signal::SIGINT);
    let ended = is_empty_after(house, &inside);
    assert_eq!(ended.code(), 130, "{ended:#?}");
}

#[test]
fn a_main_that_returns_stops_everything_in_reverse_order() {
    let mut house = Program::start(HOUSE, &["return"]);
    house.line("up");
    let ended = house.end();
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 0, "{ended:#?}");
    assert!(ended.left.is_empty(), "{:?}", ended.left);
}

#[test]
fn a_main_that_fails_stops_everything_in_reverse_order_and_says_why() {
    let mut house = Program::start(HOUSE, &["fail"]);
    house.line("up");
    let ended = house.end();
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 1, "{ended:#?}");
    assert!(
        ended.err.iter().any(|line| line.contains("as asked")),
        "{ended:#?}"
    );
}

#[test]
fn a_main_that_panics_leaves_nothing_and_says_why() {
    let mut house = Program::start(HOUSE, &["panic"]);
    house.line("up");
    let ended = house.end();
    assert_eq!(ended.code(), 101, "{ended:#?}");
    assert!(
        ended.err.iter().any(|line| line.contains("as asked")),
        "{ended:#?}"
    );
    assert!(ended.left.is_empty(), "{:?}", ended.left);
}

#[test]
fn a_thread_of_a_program_with_its_own_main_that_overflows_its_stack_is_told_from_other_faults() {
    let mut house = Program::start(HOUSE, &["overflow"]);
    let reason = house.line("reason ");
    assert!(reason.starts_with("overflowed its stack"), "{reason}");
    assert_eq!(house.end().code(), 0);
}
