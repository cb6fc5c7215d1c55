//! A call without a deadline of its own: bounded by the program's. The setting is the whole program's, so this is one.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procession::Config;
use procession::prelude::*;
use std::time::{Duration, Instant};
use tests::within;

#[derive(Default)]
struct Sleeper;

#[actor]
impl Sleeper {
    fn process(&self) -> u32 {
        std::process::id()
    }
}

#[procession::test]
async fn a_call_to_a_process_that_is_stopped_ends_with_the_default_deadline() {
    let deadline = Duration::from_millis(500);
    Config::new()
        .call_timeout(deadline)
        .init()
        .expect("settings before anything is started");
    let sleeper = within("spawn", Sleeper::spawn()).await.expect("an actor");
    let pid = within("a call", sleeper.process()).await.expect("a pid");
    let pid = Pid::from_raw(pid as i32);
    kill(pid, Signal::SIGSTOP).expect("a stop");
    let begin = Instant::now();
    assert_eq!(within("a call", sleeper.process()).await, Err(CallError::Timeout));
    assert!(begin.elapsed() >= deadline, "{:?}", begin.elapsed());
    kill(pid, Signal::SIGCONT).expect("a start");
    assert_eq!(within("a call", sleeper.process()).await, Ok(pid.as_raw() as u32));
}
