//! A host that hears what its children log. Its argument says by whom: a subscriber of its `own`, or the `library`'s.
//! `tests/logs.rs` runs it.

use procession::prelude::*;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

#[task]
fn pours() {
    let _order = tracing::info_span!(target: "shop", "order", number = 7_u64).entered();
    let _tray = tracing::debug_span!(target: "shop", "tray", of = "silver").entered();
    tracing::warn!(target: "kitchen", cups = 2_u64, hot = true, price = -1.5, "poured {}", "tea");
}

/// What is worth making here, as the host hears it.
#[task]
fn is_heard() -> [bool; 3] {
    tracing::debug!(target: "kitchen", "a detail of the kitchen");
    tracing::info!(target: "shop", "a word of the shop");
    tracing::warn!(target: "shop", "a warning of the shop");
    [
        tracing::enabled!(target: "kitchen", Level::DEBUG),
        tracing::enabled!(target: "shop", Level::INFO),
        tracing::enabled!(target: "shop", Level::WARN),
    ]
}

/// Prints every event, with all that is known of it.
struct Listener;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = context.span(id).expect("a span that was just made");
        span.extensions_mut().insert(fields);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (event.metadata().level(), event.metadata().target());
        let mut line = format!("heard {level} {target} {fields}");
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            let fields = extensions.get::<Fields>().expect("its fields");
            line += &format!(" in {} {} {fields}", span.metadata().target(), span.name());
        }
        println!("{line}");
    }
}

/// By their names.
#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        f.write_str(&fields.join(" "))
    }
}

#[procession::main]
async fn main() -> procession::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("own") {
        tracing_subscriber::registry().with(Listener).init();
        let waiter = Process::builder(pours, ()).name("waiter").spawn().await?;
        println!("pid {}", waiter.pid());
        waiter.join().await?;
    } else {
        println!("is heard {:?}", Process::spawn(is_heard, ()).await?.join().await?);
    }
    Ok(())
}
