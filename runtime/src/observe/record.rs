//! What travels from a child's subscriber to the host's: one [`Record`] for each event.
//!
//! An event is *whole*: it brings its callsite, its values and all the spans around it, with their
//! present values. So a record can be read without the ones before it; a host that has seen nothing
//! of this child yet loses nothing. A span's id serves one purpose more: two events which name the same
//! id are in the same span, until [`Record::Closed`] says that it ended.
//!
//! Values keep their kind, so that a subscriber that tells an integer from a string still can. What only
//! implements `Debug` or `Display` travels as its text, an error as the texts of its chain. Two things
//! do not travel: the time, which no subscriber takes from outside, and `follows_from`.
//!
//! [`encode`] and [`decode`] are the only places which know the codec. Decoding refuses what is
//! inconsistent, so the host may index fields by the records' numbers. Neither function panics.

use crate::wire::codec::{self, CodecError};
use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

/// A text beyond this many bytes is cut, and says so at its end.
const LONGEST_TEXT: usize = 1 << 20;
/// The sources of an error that travel; a chain may be endless.
const LONGEST_CHAIN: usize = 32;
const MOST_SPANS: usize = 256;
const MOST_FIELDS: usize = 256;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record<'a> {
    #[serde(borrow)]
    Event(Event<'a>),
    /// A span that an event has named before is closed.
    Closed { span: u64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Event<'a> {
    pub(super) child: &'a str,
    /// Outermost first.
    #[serde(borrow)]
    pub(super) spans: Vec<Span<'a>>,
    #[serde(borrow)]
    pub(super) callsite: Callsite<'a>,
    pub(super) values: Values,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Span<'a> {
    pub(super) id: u64,
    #[serde(borrow)]
    pub(super) callsite: Callsite<'a>,
    pub(super) values: Values,
}

/// A `Metadata` in words. Whether of an event or of a span is known from where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Callsite<'a> {
    pub(super) name: &'a str,
    pub(super) target: &'a str,
    /// 1 is an error, 5 a trace.
    pub(super) level: u8,
    pub(super) module: Option<&'a str>,
    pub(super) file: Option<&'a str>,
    pub(super) line: Option<u32>,
    #[serde(borrow)]
    pub(super) fields: Vec<&'a str>,
}

/// Values by the number of their field, at most one for each, in the order in which they were recorded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Values(Vec<(u32, Value)>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Value {
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Bool(bool),
    Str(String),
    Bytes(#[serde(with = "block")] Vec<u8>),
    /// The text that `Debug` (for `%value`, `Display`) made.
    Debug(String),
    /// An error and its sources, outermost first.
    Error(Vec<ErrorText>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ErrorText {
    pub(super) display: String,
    pub(super) debug: String,
}

/// Why bytes from a child are no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum Malformed {
    #[error("{0}")]
    Codec(#[from] CodecError),
    #[error("level {0} is not one of 1 to 5")]
    Level(u8),
    #[error("more than {MOST_FIELDS} fields, or a field twice")]
    Fields,
    #[error("a value for field {0}, which the callsite does not have")]
    Field(u32),
    #[error("more than {MOST_SPANS} spans, or a span inside itself")]
    Spans,
    #[error("an error without a text, or with more than {LONGEST_CHAIN} sources")]
    Chain,
}

pub(super) fn encode(record: &Record<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    codec::encode(record, &mut out).ok().map(|()| out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let record = codec::decode(bytes)?;
    if let Record::Event(event) = &record {
        event.check()?;
    }
    Ok(record)
}

impl Event<'_> {
    fn check(&self) -> Result<(), Malformed> {
        self.callsite.check(&self.values)?;
        if self.spans.len() > MOST_SPANS || !all_differ(self.spans.iter().map(|span| span.id)) {
            return Err(Malformed::Spans);
        }
        self.spans
            .iter()
            .try_for_each(|span| span.callsite.check(&span.values))
    }
}

impl<'a> Callsite<'a> {
    pub(super) fn of(metadata: &'a Metadata<'static>) -> Self {
        Self {
            name: metadata.name(),
            target: metadata.target(),
            level: number_of(*metadata.level()),
            module: metadata.module_path(),
            file: metadata.file(),
            line: metadata.line(),
            fields: metadata
                .fields()
                .iter()
                .take(MOST_FIELDS)
                .map(|field| field.name())
                .collect(),
        }
    }

    pub(super) fn level(&self) -> Level {
        level_of(self.level).unwrap_or(Level::TRACE)
    }

    fn check(&self, values: &Values) -> Result<(), Malformed> {
        level_of(self.level).ok_or(Malformed::Level(self.level))?;
        if self.fields.len() > MOST_FIELDS || !all_differ(self.fields.iter()) {
            return Err(Malformed::Fields);
        }
        values.check(self.fields.len())
    }
}

impl Values {
    /// Takes the values out of an event, a span's attributes or a later `record`, through the visitor
    /// that each of these accepts. This runs the program's own `Debug`, so hold no lock meanwhile.
    pub(super) fn take(accept: impl FnOnce(&mut dyn Visit)) -> Self {
        let mut values = Self::default();
        accept(&mut values);
        values
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.0.iter().map(|(field, value)| (*field as usize, value))
    }

    pub(super) fn merge(&mut self, newer: Self) {
        for (field, value) in newer.0 {
            self.set(field, value);
        }
    }

    /// What of `newer` differs from these.
    pub(super) fn changes(&self, newer: &Self) -> Self {
        let differs = |entry: &&(u32, Value)| !self.0.contains(*entry);
        Self(newer.0.iter().filter(differs).cloned().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set(&mut self, field: u32, value: Value) {
        match self.0.iter_mut().find(|(known, _)| *known == field) {
            Some(entry) => entry.1 = value,
            None => self.0.push((field, value)),
        }
    }

    fn put(&mut self, field: &Field, value: Value) {
        if field.index() < MOST_FIELDS {
            self.set(field.index() as u32, value);
        }
    }

    fn check(&self, n_fields: usize) -> Result<(), Malformed> {
        if !all_differ(self.0.iter().map(|(field, _)| field)) {
            return Err(Malformed::Fields);
        }
        for (field, value) in &self.0 {
            if *field as usize >= n_fields {
                return Err(Malformed::Field(*field));
            }
            value.check()?;
        }
        Ok(())
    }
}

impl Visit for Values {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::F64(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::I64(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::U64(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, Value::I128(value));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, Value::U128(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Str(cut(value.to_owned())));
    }

    fn record_bytes(&mut self, field: &Field, value: &[u8]) {
        let end = value.len().min(LONGEST_TEXT);
        self.put(field, Value::Bytes(value[..end].to_vec()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn StdError + 'static)) {
        self.put(field, Value::Error(chain(value)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::Debug(cut(format!("{value:?}"))));
    }
}

fn chain(error: &(dyn StdError + 'static)) -> Vec<ErrorText> {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next.filter(|_| texts.len() < LONGEST_CHAIN) {
        texts.push(ErrorText::of(error));
        next = error.source();
    }
    texts
}

impl Value {
    fn check(&self) -> Result<(), Malformed> {
        match self {
            Self::Error(chain) if chain.is_empty() || chain.len() > LONGEST_CHAIN => Err(Malformed::Chain),
            _ => Ok(()),
        }
    }
}

impl ErrorText {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        Self {
            display: cut(error.to_string()),
            debug: cut(format!("{error:?}")),
        }
    }
}

pub(super) fn number_of(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn level_of(number: u8) -> Option<Level> {
    match number {
        1 => Some(Level::ERROR),
        2 => Some(Level::WARN),
        3 => Some(Level::INFO),
        4 => Some(Level::DEBUG),
        5 => Some(Level::TRACE),
        _ => None,
    }
}

fn all_differ<T: Eq + std::hash::Hash>(items: impl Iterator<Item = T>) -> bool {
    let mut seen = std::collections::HashSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

fn cut(mut text: String) -> String {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    let end = (0..=LONGEST_TEXT)
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    let rest = text.len() - end;
    text.truncate(end);
    text.push_str(&format!("… ({rest} more bytes)"));
    text
}

/// Bytes as one block, not as a sequence of numbers.
mod block {
    use std::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Block;
        impl Visitor<'_> for Block {
            type Value = Vec<u8>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a block of bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        from.deserialize_byte_buf(Block)
    }
}
