//! Recorded values as the `tracing` crate's own, to be given to a subscriber.

use std::error::Error as StdError;
use std::fmt;

use tracing::Value as Accepted;
use tracing::field::{FieldSet, ValueSet};

use super::record::{Callsite, ErrorText, Value, Values};

/// Values by the index of their field.
pub(super) type Slots<'a> = Vec<(usize, Box<dyn Accepted + 'a>)>;

pub(super) fn slots(values: &Values) -> Slots<'_> {
    values
        .iter()
        .map(|(field, value)| (field, accepted(value)))
        .collect()
}

/// For a callsite with [`PLAIN_FIELDS`](super::callsite::PLAIN_FIELDS).
pub(super) fn plain_slots(callsite: &Callsite<'_>, values: &Values) -> Slots<'static> {
    let mut message = callsite.name.to_owned();
    let mut others = Vec::new();
    for (field, value) in values.iter() {
        match callsite.fields[field] {
            "message" => message = format!("{value}"),
            name => others.push(format!("{name}={value}")),
        }
    }
    let texts = [message, callsite.target.to_owned(), others.join(" ")];
    let boxed = texts.map(|text| Box::new(tracing::field::display(text)) as Box<dyn Accepted>);
    boxed.into_iter().enumerate().collect()
}

/// Calls `then` with a value set of exactly these, for the fields of one callsite.
pub(super) fn with_set<T>(fields: &FieldSet, slots: &Slots<'_>, then: impl FnOnce(&ValueSet<'_>) -> T) -> T {
    let mut row: Vec<Option<&dyn Accepted>> = vec![None; fields.len()];
    for (field, value) in slots {
        row[*field] = Some(value);
    }
    then(&fields.value_set_all(&row))
}

fn accepted(value: &Value) -> Box<dyn Accepted + '_> {
    match value {
        Value::I64(value) => Box::new(*value),
        Value::U64(value) => Box::new(*value),
        Value::I128(value) => Box::new(*value),
        Value::U128(value) => Box::new(*value),
        Value::F64(value) => Box::new(*value),
        Value::Bool(value) => Box::new(*value),
        Value::Str(text) => Box::new(text.as_str()),
        Value::Bytes(bytes) => Box::new(bytes.as_slice()),
        Value::Debug(text) => Box::new(tracing::field::display(text)),
        Value::Error(chain) => Box::new(remote_error(chain)),
    }
}

fn remote_error(chain: &[ErrorText]) -> Option<Box<dyn StdError>> {
    let link = |source, text: &ErrorText| {
        Some(Box::new(RemoteError {
            text: text.clone(),
            source,
        }) as Box<dyn StdError>)
    };
    chain.iter().rev().fold(None, link)
}

/// What is left of an error: its texts.
struct RemoteError {
    text: ErrorText,
    source: Option<Box<dyn StdError>>,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text.display)
    }
}

impl fmt::Debug for RemoteError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text.debug)
    }
}

impl StdError for RemoteError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I64(value) => value.fmt(out),
            Self::U64(value) => value.fmt(out),
            Self::I128(value) => value.fmt(out),
            Self::U128(value) => value.fmt(out),
            Self::F64(value) => value.fmt(out),
            Self::Bool(value) => value.fmt(out),
            Self::Str(text) => fmt::Debug::fmt(text, out),
            Self::Bytes(bytes) => fmt::Debug::fmt(bytes, out),
            Self::Debug(text) => out.write_str(text),
            Self::Error(chain) => out.write_str(chain.first().map_or("", |text| &text.display)),
        }
    }
}
