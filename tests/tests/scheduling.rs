//! How the scheduler treats the user's code: as it would treat the program.

use procession::prelude::*;
use std::fs;
use tests::within;

/// That of the calling thread, where the kernel says it.
#[task]
fn slice() -> Option<String> {
    let all = fs::read_to_string("/proc/thread-self/sched").ok()?;
    all.lines()
        .find(|line| line.starts_with("se.slice"))
        .map(str::to_owned)
}

#[procession::test]
async fn a_process_has_the_slice_of_the_program_however_it_was_started() {
    // The first is cloned when it is asked for, one that follows was the spare.
    for _ in 0..5 {
        let process = within("spawn", Process::spawn(slice, ()))
            .await
            .expect("a process");
        assert_eq!(within("join", process.join()).await, Ok(slice()));
    }
}
