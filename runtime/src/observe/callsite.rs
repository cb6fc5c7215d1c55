//! `'static` metadata made at run time, from what a child said of its callsite.
//!
//! Subscribers keep metadata for ever, so each distinct callsite is leaked, once, and registered like
//! one that the compiler placed. A child that makes up callsites without end would leak without end:
//! beyond [`MOST_CALLSITES`], or [`MOST_BYTES`] of their text, a *plain* callsite stands in, one for
//! each level and kind, which has the values as text. No event is lost to the bound.

use std::collections::HashMap;
use std::sync::OnceLock;

use tracing::callsite::Identifier;
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};

use super::record::{self, Callsite};

const MOST_CALLSITES: usize = 4096;
const MOST_BYTES: usize = 4 << 20;

/// Fields of a plain callsite, before those that every event of a child has.
pub(super) const PLAIN_FIELDS: [&str; 3] = ["message", "origin", "fields"];

/// Metadata for one callsite of a child.
#[derive(Clone, Copy, Debug)]
pub(super) enum Site {
    /// The child's own fields come first, in their order; for an event, then the child's name and pid.
    Own(&'static Metadata<'static>),
    /// [`PLAIN_FIELDS`] come first; for an event, then the child's name and pid.
    Plain(&'static Metadata<'static>),
}

impl Site {
    pub(super) fn metadata(self) -> &'static Metadata<'static> {
        match self {
            Self::Own(metadata) | Self::Plain(metadata) => metadata,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shape {
    Event,
    Span,
}

#[derive(Debug)]
pub(super) struct Interner {
    /// By shape.
    own: [HashMap<Callsite<'static>, &'static Metadata<'static>>; 2],
    plain: HashMap<(Shape, Level), &'static Metadata<'static>>,
    n_free: usize,
    bytes_free: usize,
}

impl Interner {
    pub(super) fn new() -> Self {
        Self::bounded(MOST_CALLSITES, MOST_BYTES)
    }

    pub(super) fn bounded(n_free: usize, bytes_free: usize) -> Self {
        Self {
            own: Default::default(),
            plain: HashMap::new(),
            n_free,
            bytes_free,
        }
    }

    /// Not to be called from within a subscriber: registering asks the subscribers.
    pub(super) fn site(&mut self, shape: Shape, callsite: &Callsite<'_>) -> Site {
        // A map is covariant in its keys, so one of `'static` keys can be asked for a shorter one.
        let own: &HashMap<Callsite<'_>, _> = &self.own[shape as usize];
        if let Some(metadata) = own.get(callsite) {
            return Site::Own(metadata);
        }
        let n_bytes = callsite.n_bytes();
        if self.n_free == 0 || self.bytes_free < n_bytes {
            return Site::Plain(self.plain(shape, callsite.level()));
        }
        self.n_free -= 1;
        self.bytes_free -= n_bytes;
        let callsite = callsite.leaked();
        let metadata = register(shape, &callsite);
        self.own[shape as usize].insert(callsite, metadata);
        Site::Own(metadata)
    }

    fn plain(&mut self, shape: Shape, level: Level) -> &'static Metadata<'static> {
        self.plain.entry((shape, level)).or_insert_with(|| {
            let callsite = Callsite {
                name: "child",
                target: "procession::child",
                level: record::number_of(level),
                module: None,
                file: None,
                line: None,
                fields: PLAIN_FIELDS.to_vec(),
            };
            register(shape, &callsite)
        })
    }
}

/// A callsite whose metadata is complete before anybody can see it.
#[derive(Debug)]
struct Made(OnceLock<Metadata<'static>>);

impl tracing::Callsite for Made {
    /// Each record asks the host's subscriber anew, so that a changed filter counts at once.
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0
            .get()
            .expect("metadata is set before the callsite is shared")
    }
}

fn register(shape: Shape, callsite: &Callsite<'static>) -> &'static Metadata<'static> {
    let made: &'static Made = Box::leak(Box::new(Made(OnceLock::new())));
    let mut names = callsite.fields.clone();
    let kind = match shape {
        Shape::Event => {
            names.extend(added_fields(&callsite.fields));
            Kind::EVENT
        }
        Shape::Span => Kind::SPAN,
    };
    let metadata = made.0.get_or_init(|| {
        Metadata::new(
            callsite.name,
            callsite.target,
            callsite.level(),
            callsite.file,
            callsite.line,
            callsite.module,
            FieldSet::new(names.leak(), Identifier(made)),
            kind,
        )
    });
    tracing::callsite::register(made);
    metadata
}

/// The names under which an event has the child's name and pid: `child` and `pid`, unless it has fields of
/// those names itself.
fn added_fields(own: &[&str]) -> [&'static str; 2] {
    let free = |names: [&'static str; 2]| {
        if own.contains(&names[0]) {
            names[1]
        } else {
            names[0]
        }
    };
    [free(["child", "child.name"]), free(["pid", "child.pid"])]
}

impl Callsite<'_> {
    fn n_bytes(&self) -> usize {
        let texts = [Some(self.name), Some(self.target), self.module, self.file];
        let texts = texts.into_iter().flatten().chain(self.fields.iter().copied());
        texts.map(|text| text.len() + size_of::<&str>()).sum()
    }

    fn leaked(&self) -> Callsite<'static> {
        let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
        Callsite {
            name: leak(self.name),
            target: leak(self.target),
            level: self.level,
            module: self.module.map(leak),
            file: self.file.map(leak),
            line: self.line,
            fields: self.fields.iter().copied().map(leak).collect(),
        }
    }
}
