//! The options of `#[procession::main]` and `#[procession::test]`, and what their functions may be.

use super::Entry;
use crate::fault::Faults;
use crate::function::Function;
use crate::options::Options;
use syn::{Lit, Safety};

/// The options, each with how its value looks.
pub(super) const KNOWN: &[(&str, &str)] = &[
    ("flavor", FLAVORS),
    ("worker_threads", "4"),
    ("signals", "false"),
    ("crate", "path"),
];

const FLAVORS: &str = "\"multi_thread\"` or `\"current_thread\"";

/// What the runtime is to be like.
pub(super) struct Config {
    pub(super) current_thread: bool,
    pub(super) worker_threads: Option<usize>,
    pub(super) signals: bool,
}

impl Config {
    pub(super) fn read(entry: Entry, options: &Options, faults: &mut Faults) -> Self {
        let flavor = options.literal("flavor", FLAVORS, faults, flavor);
        let worker_threads = options.literal("worker_threads", "4", faults, at_least_one);
        let signals = options.literal("signals", "false", faults, boolean);
        let current_thread = flavor.unwrap_or(entry == Entry::Test);
        if let (true, Some(threads)) = (current_thread, options.value("worker_threads")) {
            faults.at(
                threads,
                "a runtime of one thread has no worker threads: write `flavor = \"multi_thread\"` too",
            );
        }
        Config {
            current_thread,
            worker_threads,
            signals: signals.unwrap_or(true),
        }
    }
}

/// Reports what the runtime cannot call.
pub(super) fn function(entry: Entry, function: &Function, faults: &mut Faults) {
    let sig = &function.sig;
    let (attribute, name) = (entry.attribute(), &sig.ident);
    if sig.asyncness.is_none() {
        faults.at(
            sig.fn_token,
            format!("`#[{attribute}]` runs an async function: write `async fn {name}`"),
        );
    }
    if !sig.generics.params.is_empty() {
        faults.at(
            &sig.generics,
            format!("`{name}` cannot be generic: nobody names its types"),
        );
    }
    for input in &sig.inputs {
        faults.at(
            input,
            match entry {
                Entry::Main => format!("`{name}` takes no arguments: read them from `std::env::args`"),
                Entry::Test => format!("a test takes no arguments: write `async fn {name}()`"),
            },
        );
    }
    for attr in &function.attrs {
        if entry == Entry::Test && attr.path().is_ident("test") {
            faults.at(
                attr,
                "`#[procession::test]` makes it a test already: leave this out",
            );
        }
    }
    if !matches!(sig.safety, Safety::Default) {
        faults.at(
            &sig.safety,
            format!("`{name}` is called by this library: write a safe function"),
        );
    }
}

/// Whether it names the runtime of one thread.
fn flavor(lit: &Lit) -> Option<bool> {
    match lit {
        Lit::Str(text) if text.value() == "current_thread" => Some(true),
        Lit::Str(text) if text.value() == "multi_thread" => Some(false),
        _ => None,
    }
}

fn at_least_one(lit: &Lit) -> Option<usize> {
    match lit {
        Lit::Int(number) => number.base10_parse().ok().filter(|&threads| threads > 0),
        _ => None,
    }
}

fn boolean(lit: &Lit) -> Option<bool> {
    match lit {
        Lit::Bool(value) => Some(value.value),
        _ => None,
    }
}
