//! What it all came to.

use procession::InUse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tests::oracle::{Mode, Oracle, Sum};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Asked;
use super::faults::Done;
use super::node::{HOST, N_NODES, TASKS, life_of};

/// More than this is a leak.
const GROWTH_KIB: usize = 32 << 10;

/// How many dead letters there were, by the actor that they were for and the method.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letters(Arc<Mutex<BTreeMap<(String, String), u64>>>);

impl Letters {
    /// Counts what the library logs from now on.
    pub(crate) fn listen() -> Letters {
        let letters = Letters::default();
        tracing_subscriber::registry().with(letters.clone()).init();
        letters
    }

    fn of(&self, actor: &str) -> u64 {
        let letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let its = letters.iter().filter(|((name, _), _)| name == actor);
        its.map(|(_, n)| n).sum()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Letters {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen::default();
        event.record(&mut seen);
        if seen.get("message") == "a message was not handled" {
            let key = (seen.get("actor").to_owned(), seen.get("method").to_owned());
            *self
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_default() += 1;
        } else if *event.metadata().level() <= tracing::Level::ERROR {
            eprintln!("{:?}", seen.0);
        }
    }
}

#[derive(Default)]
struct Seen(BTreeMap<&'static str, String>);

impl Seen {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

/// What every sender had, and what every receiver lost.
pub(crate) struct Outcome {
    lives: u64,
    /// By what the senders are.
    senders: BTreeMap<String, Sum>,
    /// One-way messages that were lost, by receivers, and dead letters for these.
    lost: Vec<(u64, u64)>,
    /// Requests that were lost without a word.
    silent: u64,
    /// Senders and receivers between which a promise was broken.
    broken: Vec<Sum>,
}

/// The whole play.
pub(crate) struct Report {
    pub faults: Done,
    pub outcome: Outcome,
    /// How many senders did not come to an end.
    pub hung: u64,
    /// What the host held after five seconds, and at the end.
    pub memory_kib: (usize, usize),
}

/// Whether its sender was never killed, or is in the life in which it sent this.
fn is_living(oracle: Oracle, sum: &Sum) -> bool {
    sum.life == 0 || life_of(oracle, sum.sender) == sum.life
}

fn describe(sum: &Sum) -> String {
    match sum.sender {
        number if number >= TASKS => "tasks that end".to_owned(),
        number if number >= HOST => format!("host, sender {}", number - HOST),
        number => format!("{}, {} lives", super::node::name(number), "all"),
    }
}

impl Outcome {
    /// As far as it is known.
    pub(crate) fn of(oracle: Oracle, letters: &Letters) -> Self {
        let mut outcome = Outcome {
            lives: (0..N_NODES).map(|number| life_of(oracle, number)).sum(),
            senders: BTreeMap::new(),
            lost: vec![(0, 0); N_NODES as usize],
            silent: 0,
            broken: Vec::new(),
        };
        for flow in oracle.flows() {
            let killed = !is_living(oracle, &flow.sum_of_sender());
            let sum = flow.sum(killed);
            outcome.lost[sum.receiver as usize].0 += sum.lost[Mode::Tell as usize];
            let silent = sum.lost[1..].iter().sum::<u64>();
            outcome.silent += silent;
            if silent + sum.n_broken() > 0 {
                outcome.broken.push(sum);
            }
            *outcome.senders.entry(describe(&sum)).or_default() += sum;
        }
        for (number, lost) in outcome.lost.iter_mut().enumerate() {
            lost.1 = letters.of(&super::node::name(number as u64));
        }
        outcome
    }

    fn total(&self) -> Sum {
        self.senders.values().fold(Sum::default(), |mut total, sum| {
            total += *sum;
            total
        })
    }

    /// One-way messages that were lost and that no dead letter names.
    fn unnamed(&self) -> u64 {
        self.lost
            .iter()
            .map(|(lost, named)| lost.saturating_sub(*named))
            .sum()
    }

    /// Messages of which nobody knows what became of them.
    pub(crate) fn n_untold(&self) -> u64 {
        self.silent + self.unnamed()
    }
}

impl Report {
    pub(crate) fn is_clean(&self, asked: Asked, used: &InUse) -> bool {
        let total = self.outcome.total();
        let grew = self.memory_kib.1 > self.memory_kib.0 + GROWTH_KIB;
        used.link == asked.link
            && total.n_broken() + self.outcome.n_untold() + self.hung == 0
            && total.handled > 0
            && !grew
    }

    pub(crate) fn print(&self, asked: Asked, took: Duration, used: &InUse) {
        let Done {
            killed,
            crashed,
            paused,
            servers,
            missed,
        } = self.faults;
        println!(
            "seed {}, {} s, links asked for: {}; {used:?}",
            asked.seed, asked.seconds, asked.link
        );
        println!(
            "faults: {killed} SIGKILL, {crashed} SIGSEGV, {paused} SIGSTOP, {servers} of the fork server, {missed} missed; {} lives of {N_NODES} actors",
            self.outcome.lives
        );
        println!(
            "{:24} {:>9} {:>9} {:>6} {:>6} {:>6} {:>7} {:>7} {:>6} {:>6} {:>6} {:>5}",
            "sender",
            "sent",
            "handled",
            "again",
            "lost",
            "died",
            "refused",
            "killed",
            "twice",
            "order",
            "wrong",
            "late"
        );
        let outcome = &self.outcome;
        let total = outcome.total();
        for (name, sum) in &outcome.senders {
            line(name, sum);
        }
        line("all", &total);
        for sum in &outcome.broken {
            println!("broken: {sum:?}");
        }
        let (lost, named) = outcome
            .lost
            .iter()
            .fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        println!(
            "one-way messages lost: {lost}; dead letters: {named}; lost without one: {}",
            outcome.unnamed()
        );
        println!(
            "requests lost without a word: {}; senders that hang: {}",
            outcome.silent, self.hung
        );
        println!(
            "{:.0} messages a second; memory of the host: {} KiB after five seconds, {} KiB at the end",
            total.handled as f64 / took.as_secs_f64(),
            self.memory_kib.0,
            self.memory_kib.1
        );
    }
}

fn line(name: &str, sum: &Sum) {
    println!(
        "{name:24} {:>9} {:>9} {:>6} {:>6} {:>6} {:>7} {:>7} {:>6} {:>6} {:>6} {:>5}",
        sum.sent,
        sum.handled,
        sum.again,
        sum.lost.iter().sum::<u64>(),
        sum.died,
        sum.refused,
        sum.gone_with_sender,
        sum.twice,
        sum.out_of_order,
        sum.wrong,
        sum.late
    );
}
