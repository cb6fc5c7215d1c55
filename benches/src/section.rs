//! One start of this program.

use crate::workload::Workload;
use crate::{ours, pairs, raw, table};
use std::str::FromStr;

/// What one start measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Raw,
    CurrentThread,
    MultiThread,
    Exec,
    /// 200 items of 5 ms, with the library and without, in turn.
    Pairs,
    /// The same items on two raw processes, once: started by `Pairs`.
    RawPair,
}

/// What the command line says.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) brief: bool,
    pub(crate) json: bool,
    pub(crate) rounds: usize,
    section: Option<Section>,
    only: Option<String>,
}

pub(crate) fn main() {
    let options = Options::get();
    let workload = Workload::chosen();
    match options.section {
        None => table::main(options),
        Some(Section::Raw) => raw::main(workload),
        Some(Section::CurrentThread) => ours::current_thread(),
        Some(Section::MultiThread) => ours::multi_thread(),
        Some(Section::Exec) => ours::exec(),
        Some(Section::Pairs) => pairs::main(),
        Some(Section::RawPair) => pairs::raw(workload),
    }
}

impl Options {
    /// Those of this process.
    pub(crate) fn get() -> Options {
        Options::read(std::env::args().skip(1))
    }

    /// What is not known is passed over: `cargo bench` adds words of its own.
    fn read(mut words: impl Iterator<Item = String>) -> Options {
        let mut options = Options {
            brief: false,
            json: false,
            rounds: 0,
            section: None,
            only: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--brief" => options.brief = true,
                "--json" => options.json = true,
                "--rounds" => {
                    options.rounds = words
                        .next()
                        .and_then(|n| n.parse().ok())
                        .expect("a number of rounds")
                }
                "--only" => options.only = words.next(),
                "--section" => options.section = words.next().and_then(|name| name.parse().ok()),
                _ => {}
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.brief || options.json { 1 } else { 5 };
        }
        options
    }
}

/// Whether a step is asked for: all are, unless the command line names some, with commas, which is for profiles.
pub(crate) fn wants(step: &str) -> bool {
    Options::get()
        .only
        .is_none_or(|only| only.split(',').any(|named| named == step))
}

impl Section {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Section::Raw => "raw",
            Section::CurrentThread => "current-thread",
            Section::MultiThread => "multi-thread",
            Section::Exec => "exec",
            Section::Pairs => "pairs",
            Section::RawPair => "raw-pair",
        }
    }
}

impl FromStr for Section {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        use Section::{CurrentThread, Exec, MultiThread, Pairs, Raw, RawPair};
        let all = [Raw, CurrentThread, MultiThread, Exec, Pairs, RawPair];
        all.into_iter().find(|section| section.name() == name).ok_or(())
    }
}
