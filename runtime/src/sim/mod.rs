//! Whole conversations on a clock that is not the machine's, with faults that the seed decides.
//!
//! Each seed is a run of the library's own code: the books of senders and their links, the life of a child and what serves
//! its links, frames, credit, cancels and deadlines. What is not its own: processes are sets of tasks in one thread
//! (`kernel`), links are memory through which bytes come late and in pieces (`line`), and the control plane only starts,
//! introduces and buries (`plane`). Several processes talk to several actors (`script`, `subject`), each side dies at any
//! step, is paused, or is stopped in order (`world`), and who only watches (`oracle`) holds what came of each message
//! against `docs/delivery.md`.
//!
//! The seed decides everything: who runs next, what is late, what is cut, who dies. So a seed that fails, fails again:
//!
//! ```text
//! PROCESSION_SIM_SEED=4711 cargo test -p procession --lib sim:: -- --nocapture
//! ```

mod kernel;
mod line;
mod oracle;
mod plane;
mod rng;
mod script;
mod subject;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use world::{Outcome, run};

/// How many seeds are run where `PROCESSION_SIM_SEEDS` says nothing.
const SEEDS: u64 = 100;

/// What each run must at least have had to be one.
const LEAST_SENT: u64 = 1000;
const LEAST_FAULTS: u64 = 5;

fn asked(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

fn fault(outcome: &Outcome) -> Option<String> {
    let Outcome {
        wrong, sent, faults, ..
    } = outcome;
    match wrong {
        Some(wrong) => Some(wrong.clone()),
        None if *sent < LEAST_SENT => Some(format!("only {sent} messages were sent")),
        None if *faults < LEAST_FAULTS => Some(format!("only {faults} faults happened")),
        None => None,
    }
}

#[test]
fn conversations_keep_what_is_promised_whatever_goes_wrong() {
    if let Some(seed) = asked("PROCESSION_SIM_SEED") {
        let outcome = run(seed, true);
        outcome.log.iter().for_each(|line| println!("{line}"));
        assert_eq!(fault(&outcome), None, "seed {seed}");
        return;
    }
    let (first, n) = (
        asked("PROCESSION_SIM_FIRST").unwrap_or(0),
        asked("PROCESSION_SIM_SEEDS").unwrap_or(SEEDS),
    );
    let (next, began) = (AtomicU64::new(first), Instant::now());
    let (sent, died) = (AtomicU64::new(0), AtomicU64::new(0));
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + n {
                    return None;
                }
                let outcome = run(seed, false);
                sent.fetch_add(outcome.sent, Ordering::Relaxed);
                died.fetch_add(outcome.died, Ordering::Relaxed);
                if let Some(fault) = fault(&outcome) {
                    next.store(first + n, Ordering::Relaxed);
                    return Some((seed, fault));
                }
            }
        };
        let threads: Vec<_> = (0..n_threads).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("a seed panicked"))
            .min()
    });
    if let Some((seed, fault)) = failed {
        panic!(
            "seed {seed}: {fault}\nto see it again: PROCESSION_SIM_SEED={seed} cargo test -p procession --lib sim:: -- --nocapture"
        );
    }
    println!(
        "{n} seeds, {} messages, {} deaths in {:.1} s",
        sent.into_inner(),
        died.into_inner(),
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn a_seed_decides_everything() {
    for seed in 0..10 {
        assert_eq!(run(seed, false), run(seed, false), "seed {seed}");
    }
}
