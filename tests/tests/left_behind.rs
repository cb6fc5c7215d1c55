//! However a program ends, nothing that it started is there a second later.

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Write;
use tests::deadline::{PATIENCE, blocks_until};
use tests::proc;
use tests::program::{Ended, Program};

const HOUSE: &str = env!("CARGO_BIN_EXE_house");
/// What a room of it starts.
const GRANDCHILD: &str = "sleep";

/// The order in which the house says good-bye: newest first.
const BYES: [&str; 5] = ["bye shed", "bye roof", "bye attic", "bye clock", "bye cellar"];

/// A house that is up, and full.
fn house(how: &str) -> Program {
    let mut house = Program::start(HOUSE, &[how]);
    house.line("up");
    let inside = house.descendants();
    // The fork server, five of the tree and beside it, two that they started, two workers, a task, two that sleep.
    assert!(inside.len() >= 13, "{inside:#?}");
    house
}

/// Waits for its end, after which nothing is left of it.
fn is_empty_after(house: Program) -> Ended {
    let ended = house.end();
    assert!(
        ended.running.is_empty(),
        "left behind: {:#?}\n{ended:#?}",
        ended.running
    );
    assert!(ended.left.is_empty(), "{:?}", ended.left);
    let named: Vec<_> = std::fs::read_dir("/dev/shm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name())
        .collect();
    assert!(
        !named.iter().any(|name| is_left(&name.to_string_lossy())),
        "{named:?}"
    );
    ended
}

/// Whether it is the library's, and of no program that runs beside this one.
fn is_left(name: &str) -> bool {
    let mut numbers = name.split('-').filter_map(|part| part.parse().ok());
    name.contains("procession") && !numbers.any(proc::is_alive)
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
    let house = house("wait");
    house.signal(Signal::SIGKILL);
    let ended = is_empty_after(house);
    assert_eq!(ended.code(), 128 + 9);
    assert_eq!(
        byes(&ended),
        [""; 0],
        "a program that is killed stops nothing in order"
    );
}

#[test]
fn a_program_that_aborts_leaves_nothing() {
    let house = house("wait");
    house.signal(Signal::SIGABRT);
    assert_eq!(is_empty_after(house).code(), 128 + 6);
}

#[test]
fn a_program_that_exits_leaves_nothing() {
    let mut house = Program::start(HOUSE, &["exit"]);
    house.line("up");
    let ended = is_empty_after(house);
    assert_eq!(ended.code(), 7);
}

#[test]
fn sigterm_stops_everything_in_reverse_order_with_status_143() {
    let house = house("wait");
    house.signal(Signal::SIGTERM);
    let ended = is_empty_after(house);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 143, "{ended:#?}");
}

#[test]
fn sigint_stops_everything_in_reverse_order_with_status_130() {
    let house = house("wait");
    house.signal_group(Signal::SIGINT);
    let ended = is_empty_after(house);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 130, "{ended:#?}");
}

#[test]
fn a_main_that_panics_over_what_a_signal_stopped_does_not_cut_the_stop_short() {
    let house = house("unwrap");
    house.signal(Signal::SIGTERM);
    let ended = is_empty_after(house);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 143, "{ended:#?}");
}

#[test]
fn ctrl_c_at_a_terminal_reaches_the_host_alone() {
    let terminal = openpty(None, None).expect("a terminal");
    let mut house = Program::start_on(terminal.slave, HOUSE, &["wait"]);
    house.line("up");
    let inside = house.descendants();
    let host = proc::entry(house.pid()).expect("a program that runs");
    assert!(
        inside.iter().all(|entry| entry.group != host.group),
        "{inside:#?}"
    );
    std::fs::File::from(terminal.master)
        .write_all(b"\x03")
        .expect("a key");
    let ended = is_empty_after(house);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 130, "{ended:#?}");
}

#[test]
fn a_second_signal_does_not_wait_for_those_who_will_not_stop_and_the_status_is_that_of_the_first() {
    for (first, second, code) in [
        (Signal::SIGINT, Signal::SIGINT, 130),
        (Signal::SIGTERM, Signal::SIGTERM, 143),
        (Signal::SIGTERM, Signal::SIGINT, 143),
        (Signal::SIGINT, Signal::SIGTERM, 130),
    ] {
        let mut house = house("stubborn");
        house.signal(first);
        house.line("stubborn");
        house.signal(second);
        let ended = is_empty_after(house);
        assert_eq!(ended.code(), code, "{first}, {second}: {ended:#?}");
    }
}

/// Kills a house whose fork server has been sent that, and is not replaced.
fn killed_after(server_hears: Signal, has_heard: fn(u32) -> bool) -> Program {
    let mut house = Program::start(HOUSE, &["wait"]);
    let server: u32 = house.line("guarded by ").parse().expect("a pid");
    house.line("up");
    let inside = house.descendants();
    assert_eq!(
        inside.iter().filter(|entry| entry.name == GRANDCHILD).count(),
        2,
        "{inside:#?}"
    );
    house.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(server as i32), server_hears).expect("a signal to the fork server");
    assert!(blocks_until(PATIENCE, || has_heard(server)), "it goes on");
    house.signal(Signal::SIGKILL);
    house
}

#[test]
fn a_program_that_is_killed_while_its_fork_server_is_stopped_leaves_nothing() {
    let house = killed_after(Signal::SIGSTOP, |server| proc::state(server) == Some('T'));
    is_empty_after(house);
}

#[test]
fn of_a_program_that_is_killed_just_after_its_fork_server_only_what_children_started_is_left() {
    let ended = killed_after(Signal::SIGKILL, |server| !proc::is_alive(server)).end();
    for entry in &ended.running {
        let _ = kill(Pid::from_raw(entry.pid as i32), Signal::SIGKILL);
    }
    let names: Vec<_> = ended.running.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, [GRANDCHILD; 2], "{ended:#?}");
    assert!(ended.left.is_empty(), "{:?}", ended.left);
}

#[test]
fn a_main_that_returns_stops_everything_in_reverse_order() {
    let mut house = Program::start(HOUSE, &["return"]);
    house.line("up");
    let ended = is_empty_after(house);
    assert_eq!(byes(&ended), BYES, "{ended:#?}");
    assert_eq!(ended.code(), 0, "{ended:#?}");
}

#[test]
fn a_main_that_fails_stops_everything_in_reverse_order_and_says_why() {
    let mut house = Program::start(HOUSE, &["fail"]);
    house.line("up");
    let ended = is_empty_after(house);
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
    let ended = is_empty_after(house);
    assert_eq!(ended.code(), 101, "{ended:#?}");
    assert!(
        ended.err.iter().any(|line| line.contains("as asked")),
        "{ended:#?}"
    );
}

#[test]
fn a_thread_of_a_program_with_its_own_main_that_overflows_its_stack_is_told_from_other_faults() {
    let mut house = Program::start(HOUSE, &["overflow"]);
    let reason = house.line("reason ");
    assert!(reason.starts_with("overflowed its stack"), "{reason}");
    assert_eq!(house.end().code(), 0);
}
