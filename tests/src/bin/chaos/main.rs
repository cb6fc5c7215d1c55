//! Thirty actors under load from each other and from the host, while their processes are killed, stopped and made to
//! crash, and the fork server with them. At the end an oracle in shared memory says what became of every message.
//!
//! ```text
//! cargo run --release -p tests --bin chaos -- --seconds 20 --seed 7
//! ```
//!
//! `PROCESSION_START` and `PROCESSION_LINK` say how. The seed makes the plan of faults and what each sender sends; the
//! machine's own timing is no part of it. Exits with 1 where a promise of `docs/delivery.md` is broken:
//!
//! - no message is handled twice, but for what may run again, and none out of its sender's order;
//! - none is lost but those that had begun, and of each of these its caller or a dead letter tells;
//! - what a caller hears is so;
//! - every call ends before its deadline;
//! - links are what was asked for;
//! - no descriptor, process, thread or mapping is left, and the host does not grow.

mod faults;
mod load;
mod node;
mod report;

use procession::LinkKind;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};
use tests::oracle::Oracle;
use tests::{Counts, within};

use node::{N_NODES, Node, NodeRef, STOPPING};
use report::{Letters, Outcome, Report};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    seconds: u64,
    seed: u64,
    link: LinkKind,
}

impl Asked {
    fn read() -> Result<Asked, String> {
        let link = std::env::var("PROCESSION_LINK").map(|kind| kind.parse::<LinkKind>());
        let mut asked = Asked {
            seconds: 20,
            seed: 1,
            link: link.map_or(Ok(LinkKind::default()), |kind| {
                kind.map_err(|error| error.to_string())
            })?,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().and_then(|value| value.parse().ok());
            let value = value.ok_or_else(|| format!("{name} without a number"))?;
            match name.as_str() {
                "--seconds" => asked.seconds = value,
                "--seed" => asked.seed = value,
                _ => return Err(format!("{name}: there is --seconds and --seed")),
            }
        }
        Ok(asked)
    }
}

#[procession::main]
async fn main() -> procession::Result<()> {
    let letters = Letters::listen();
    let asked = Asked::read().map_err(procession::Error::msg)?;
    let before = warm_up().await?;
    let begin = Instant::now();
    let report = play(asked, letters).await?;
    let used = procession::in_use().await?;
    report.print(asked, begin.elapsed(), &used);
    // Panics with what is left, if anything is.
    before.return_to().await;
    println!("left behind: nothing");
    match report.is_clean(asked, &used) {
        true => Ok(()),
        false => Err(procession::Error::msg("a promise is broken")),
    }
}

/// What is held by a host that has started something and has nothing left of it.
async fn warm_up() -> procession::Result<Counts> {
    let (oracle, path) = Oracle::create()?;
    oracle.word(STOPPING).store(1, SeqCst);
    let node = Node::spec(path, 0, 0).name("first").spawn().await?;
    node.stop().await?;
    let before = Counts::now();
    Ok(Counts {
        // The oracle of the play itself, and its descriptor.
        descriptors: before.descriptors + 1,
        ..before
    })
}

async fn play(asked: Asked, letters: Letters) -> procession::Result<Report> {
    let (oracle, path) = Oracle::create()?;
    let mut nodes: Vec<NodeRef> = Vec::new();
    for number in 0..N_NODES {
        let spec = Node::spec(path.clone(), number, asked.seed)
            .name(node::name(number))
            .backoff(procession::Backoff::none())
            .intensity(1_000_000, Duration::from_secs(1));
        nodes.push(spec.spawn().await?);
    }
    let load = load::start(oracle, &path, &nodes, asked.seed);
    let warm = tokio::spawn(async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        private_kib()
    });
    let faults = faults::inject(asked, &nodes).await;
    oracle.word(STOPPING).store(1, SeqCst);
    let hung = load.end().await;
    let outcome = settle(oracle, &letters).await;
    let memory_kib = (warm.await.unwrap_or_default(), private_kib());
    for node in &nodes {
        within("the end of a node", node.stop()).await?;
    }
    Ok(Report {
        faults,
        outcome,
        hung,
        memory_kib,
    })
}

fn private_kib() -> usize {
    tests::proc::private_kib(std::process::id())
}

/// What became of every message, once that is known of each; after a deadline whatever is known.
async fn settle(oracle: Oracle, letters: &Letters) -> Outcome {
    let mut outcome = Outcome::of(oracle, letters);
    let known = || {
        outcome = Outcome::of(oracle, letters);
        outcome.n_untold() == 0
    };
    tests::deadline::holds_within(Duration::from_secs(15), known).await;
    outcome
}
