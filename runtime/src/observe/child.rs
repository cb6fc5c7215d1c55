//! The subscriber of a child process: every event goes to the host at once.
//!
//! An event is encoded and written before the macro that made it returns, so that a crash in the very next
//! instruction loses nothing; this takes the socket to be a blocking one. Records are written one at a
//! time, each with one call, from whichever thread made it.
//!
//! Spans are followed here and cost nothing until an event happens inside: a span that holds none is
//! never spoken of. What the host's filter would drop is not made in the first place.
//!
//! A program that sets a subscriber of its own in the child has its own from then on, by
//! [`stand_in`](super::stand_in); the host then hears nothing more.
//!
//! The values' own `Debug` may log: no lock is held while it runs. What `write` itself logs is dropped.

use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, SpanRef};
use tracing_subscriber::{Layer, Registry, filter::Targets};

use super::record::{self, Callsite, Record, Values};
use super::stand_in;

/// Sends what this process logs to `write`, one whole record for each call. `filter` is what the host's
/// [`setup::filter`](super::setup::filter) said.
///
/// Covers the calling thread and those that [`setup::adopt_thread`](super::setup::adopt_thread) is called
/// on. Leaves everything alone if the program has set a subscriber already.
pub(crate) fn install(filter: &str, name: &str, write: impl Fn(&[u8]) + Send + Sync + 'static) {
    stand_in::install(|| subscriber(filter, name, write));
}

/// A registry that waits for its process: it takes 32 KiB, which children share until they open spans.
static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// To be called once, in the process that children are forked from.
pub(crate) fn prepare() {
    *REGISTRY.lock().unwrap_or_else(PoisonError::into_inner) = Some(tracing_subscriber::registry());
    stand_in::prepare();
}

fn registry() -> Registry {
    let prepared = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner).take();
    prepared.unwrap_or_else(tracing_subscriber::registry)
}

pub(super) fn subscriber(
    filter: &str,
    name: &str,
    write: impl Fn(&[u8]) + Send + Sync + 'static,
) -> Dispatch {
    let targets: Targets = filter.parse().unwrap_or_default();
    let ship = Ship {
        name: name.to_owned(),
        write: Mutex::new(write),
    };
    Dispatch::new(registry().with(ship).with(targets))
}

struct Ship<W> {
    name: String,
    write: Mutex<W>,
}

/// What is kept with each open span.
struct Open {
    values: Values,
    told: bool,
}

impl<W: Fn(&[u8])> Ship<W> {
    fn send(&self, record: &Record<'_>) {
        thread_local!(static WRITING: Cell<bool> = const { Cell::new(false) });
        let Some(bytes) = record::encode(record) else {
            return;
        };
        if WRITING.replace(true) {
            return;
        }
        let write = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        write(&bytes);
        WRITING.set(false);
    }
}

impl<S, W> Layer<S> for Ship<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&[u8]) + Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let values = Values::take(|visitor| attributes.record(visitor));
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(Open { values, told: false });
        }
    }

    fn on_record(&self, id: &Id, newer: &tracing::span::Record<'_>, context: Context<'_, S>) {
        let newer = Values::take(|visitor| newer.record(visitor));
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            open.values.merge(newer);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let values = Values::take(|visitor| event.record(visitor));
        let scope = context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root());
        self.send(&Record::Event(record::Event {
            child: &self.name,
            spans: scope.filter_map(|span| tell(&span)).collect(),
            callsite: Callsite::of(event.metadata()),
            values,
        }));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let told = |span: SpanRef<'_, S>| span.extensions().get::<Open>().is_some_and(|open| open.told);
        if context.span(&id).is_some_and(told) {
            self.send(&Record::Closed { span: id.into_u64() });
        }
    }
}

fn tell<S: for<'a> LookupSpan<'a>>(span: &SpanRef<'_, S>) -> Option<record::Span<'static>> {
    let mut extensions = span.extensions_mut();
    let open = extensions.get_mut::<Open>()?;
    open.told = true;
    Some(record::Span {
        id: span.id().into_u64(),
        callsite: Callsite::of(span.metadata()),
        values: open.values.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use tracing::{Level, info};

    use super::super::record::{Value, decode};
    use super::super::testing::{records_of, run_scene};
    use super::*;

    #[test]
    fn a_span_that_holds_no_event_is_never_spoken_of() {
        let records = records_of("info", || {
            let _silent = tracing::info_span!("silent", a = 1).entered();
        });
        assert!(records.is_empty());
    }

    #[test]
    fn a_span_that_held_an_event_says_that_it_closed_after_its_last_event() {
        let records = records_of("info", || {
            let _loud = tracing::info_span!("loud").entered();
            info!("one");
            info!("two");
        });
        assert_eq!(records.len(), 3);
        let Record::Event(event) = decode(&records[1]).unwrap() else {
            panic!("an event")
        };
        assert_eq!(
            decode(&records[2]).unwrap(),
            Record::Closed {
                span: event.spans[0].id
            }
        );
    }

    #[test]
    fn what_the_hosts_filter_drops_is_not_made() {
        struct Untouchable;
        impl fmt::Debug for Untouchable {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("nobody reads this")
            }
        }
        let records = records_of("warn,loud=debug", || {
            tracing::info!(value = ?Untouchable, "dropped");
            tracing::event!(target: "loud", Level::DEBUG, "kept");
            tracing::event!(target: "loud", Level::TRACE, value = ?Untouchable, "dropped");
        });
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn a_filter_that_is_off_sends_nothing() {
        assert!(records_of("off", || tracing::error!("lost")).is_empty());
    }

    #[test]
    fn a_value_whose_debug_logs_does_not_lock_up() {
        struct Chatty;
        impl fmt::Debug for Chatty {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                info!("inside");
                out.write_str("chatty")
            }
        }
        let records = records_of("info", || {
            let span = tracing::info_span!("span", value = ?Chatty, later = tracing::field::Empty);
            let _in = span.enter();
            span.record("later", tracing::field::debug(Chatty));
            info!(value = ?Chatty, "outside");
        });
        let Record::Event(event) = decode(&records[records.len() - 2]).unwrap() else {
            panic!("an event")
        };
        let chatty = Value::Debug("chatty".into());
        assert!(event.values.iter().any(|(_, value)| *value == chatty));
    }

    #[test]
    fn what_the_writer_logs_itself_is_dropped() {
        let records = super::super::testing::Sink::default();
        let to = records.clone();
        let child = subscriber("info", "ledger", move |record| {
            info!("from the writer");
            to.push(record);
        });
        tracing::dispatcher::with_default(&child, || info!("once"));
        assert_eq!(records.take().len(), 1);
    }

    #[test]
    fn a_record_is_out_before_the_next_line_aborts() {
        let output = run_scene(
            "child::tests::a_record_is_out_before_the_next_line_aborts",
            &[],
            || {
                install("info", "ledger", |record| {
                    let Record::Event(event) = decode(record).unwrap() else {
                        return;
                    };
                    eprintln!("{} logged {} values", event.child, event.values.iter().count());
                });
                info!(a = 1, "last words");
                std::process::abort();
            },
        );
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("ledger logged 2 values"));
    }
}
