use std::sync::Mutex;

use proptest::prelude::*;
use tracing::dispatcher::with_default;
use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, field, info, info_span, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::super::testing::{Sink, printer, printing_host, records_of};
use super::*;

/// What a host that prints down to `most` prints, of a child of pid 7 that logs `body`.
fn printed(most: LevelFilter, body: impl FnOnce()) -> String {
    let records = records_of("trace", body);
    let (host, sink) = printing_host(most);
    with_default(&host, || {
        let mut replay = Replay::new();
        records.iter().for_each(|record| replay.replay(7, record));
    });
    sink.text()
}

#[test]
fn an_event_is_printed_with_its_spans_and_fields_and_whose_it_is() {
    let text = printed(LevelFilter::TRACE, || {
        let _outer = info_span!("outer", a = 1).entered();
        let _inner = info_span!("inner", b = "two").entered();
        warn!(target: "bank", amount = 5, name = %"Ada", "low");
    });
    let expected = " WARN outer{a=1}:inner{b=\"two\"}: bank: low amount=5 name=Ada child=ledger pid=7\n";
    assert_eq!(text, expected);
}

#[test]
fn a_field_that_is_recorded_later_is_printed_from_then_on() {
    let text = printed(LevelFilter::TRACE, || {
        let span = info_span!("span", id = field::Empty);
        span.in_scope(|| info!("before"));
        span.record("id", 42);
        span.in_scope(|| info!("after"));
    });
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains(" span: "), "{text}");
    assert!(lines[1].contains(" span{id=42}: "), "{text}");
}

#[test]
fn an_explicit_parent_is_the_one_that_is_printed() {
    let text = printed(LevelFilter::TRACE, || {
        let other = info_span!("other");
        let _around = info_span!("around").entered();
        info!(parent: &other, "a");
        info!(parent: None, "b");
    });
    assert!(text.contains("INFO other: "), "{text}");
    assert!(!text.contains("around"), "{text}");
}

#[test]
fn the_hosts_filter_drops_events_and_spans() {
    let text = printed(LevelFilter::INFO, || {
        let _shown = info_span!("shown").entered();
        let _hidden = tracing::debug_span!("hidden").entered();
        info!("kept");
        debug!("dropped");
    });
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains(" shown: "), "{text}");
}

#[test]
fn the_place_in_the_source_is_the_childs() {
    let records = records_of("info", || info!("here"));
    let seen = Seen::default();
    let line = line!() - 2;
    replay_to(&seen, &records);
    let event = &seen.events.lock().unwrap()[0];
    assert_eq!((event.file.as_str(), event.line), (file!(), line));
    assert_eq!(
        (event.level, event.target.as_str()),
        (Level::INFO, module_path!())
    );
}

#[test]
fn every_kind_of_value_arrives_as_that_kind() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::fmt::Error);

    let bytes: &[u8] = &[1, 2, 255];
    let error: &(dyn std::error::Error + 'static) = &Outer(std::fmt::Error);
    let records = records_of("info", || {
        info!(
            i64 = i64::MIN,
            u64 = u64::MAX,
            i128 = i128::MIN,
            u128 = u128::MAX,
            f64 = -0.5,
            bool = true,
            str = "a\nb",
            bytes,
            debug = ?Some(1),
            display = %"text",
            error,
            "message {}", 1
        );
    });
    let seen = Seen::default();
    replay_to(&seen, &records);
    let again = seen.events.lock().unwrap().pop().unwrap().values;
    let Record::Event(sent) = record::decode(&records[0]).unwrap() else {
        panic!("an event")
    };
    let sent: Vec<_> = sent.values.iter().map(|(_, value)| value.clone()).collect();
    assert_eq!(sent.len(), 12);
    assert_eq!(again[..sent.len()], sent);
}

#[test]
fn the_childs_own_fields_named_child_and_pid_stay_its_own() {
    let text = printed(LevelFilter::TRACE, || info!(child = "mine", pid = 1, "x"));
    assert!(
        text.contains("child=\"mine\" pid=1 child.name=ledger child.pid=7"),
        "{text}"
    );
}

#[test]
fn the_host_sees_one_span_for_one_span_and_its_end() {
    let records = records_of("info", || {
        let _span = info_span!("span").entered();
        info!("one");
        info!("two");
    });
    let seen = Seen::default();
    replay_to(&seen, &records);
    assert_eq!(*seen.spans.lock().unwrap(), ["new span", "close span"]);
}

#[test]
fn what_a_process_left_open_closes_when_it_is_forgotten() {
    let mut records = records_of("info", || {
        let _outer = info_span!("outer").entered();
        let _inner = info_span!("inner").entered();
        info!("last");
    });
    records.truncate(1);
    let seen = Seen::default();
    with_default(&seen.host(), || {
        let mut replay = Replay::new();
        replay.replay(7, &records[0]);
        assert_eq!(seen.spans.lock().unwrap().len(), 2);
        replay.forget(7);
    });
    assert_eq!(seen.spans.lock().unwrap().len(), 4);
}

#[test]
fn two_processes_with_equal_span_ids_have_spans_of_their_own() {
    let records = records_of("info", || info_span!("span").in_scope(|| info!("one")));
    let seen = Seen::default();
    with_default(&seen.host(), || {
        let mut replay = Replay::new();
        replay.replay(7, &records[0]);
        replay.replay(8, &records[0]);
    });
    let opened = seen
        .spans
        .lock()
        .unwrap()
        .iter()
        .filter(|line| line.starts_with("new"))
        .count();
    assert_eq!(opened, 2);
}

#[test]
fn what_is_no_record_is_ignored_with_one_warning_for_each_process() {
    let good = records_of("info", || info!("good"));
    let (host, sink) = printing_host(LevelFilter::INFO);
    with_default(&host, || {
        let mut replay = Replay::new();
        replay.replay(7, b"garbage");
        replay.replay(7, &[]);
        replay.replay(8, &[0xc1]);
        replay.replay(7, &good[0]);
    });
    let text = sink.text();
    assert_eq!(text.matches("WARN").count(), 2, "{text}");
    assert!(text.contains("good child=ledger pid=7"), "{text}");
}

#[test]
fn a_subscriber_that_panics_costs_one_event() {
    struct Picky;
    impl<S: tracing::Subscriber> Layer<S> for Picky {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if event.metadata().target() == "bad" {
                panic!("as the test wants");
            }
        }
    }
    let records = records_of("info", || {
        let _span = info_span!("span").entered();
        info!(target: "bad", "a");
        info!(target: "good", "b");
    });
    let sink = Sink::default();
    let host = Dispatch::new(printer(sink.clone()).with(Picky));
    with_default(&host, || {
        let mut replay = Replay::new();
        records.iter().for_each(|record| replay.replay(7, record));
    });
    assert!(sink.text().contains("span: good: b"));
}

#[test]
fn an_event_of_a_callsite_too_many_is_printed_as_text() {
    let records = records_of("info", || {
        let _span = info_span!("span", a = 1).entered();
        info!(target: "bank", amount = 5, name = %"Ada", "low");
    });
    let (host, sink) = printing_host(LevelFilter::INFO);
    with_default(&host, || {
        let mut replay = Replay {
            interner: Interner::bounded(0, 0),
            ..Replay::new()
        };
        replay.replay(7, &records[0]);
    });
    let text = sink.text();
    let event = "procession::child: low origin=bank fields=amount=5 name=Ada child=ledger pid=7";
    assert!(text.contains(event), "{text}");
    assert!(text.contains("child{span origin="), "{text}");
}

#[test]
fn callsites_and_their_text_are_bounded() {
    let callsite = |name| Callsite {
        name,
        target: "t",
        level: 3,
        module: None,
        file: None,
        line: None,
        fields: vec![],
    };
    let mut interner = Interner::bounded(2, 1000);
    let own = |site| matches!(site, Site::Own(_));
    let long = "x".repeat(1000);
    assert!(own(interner.site(Shape::Event, &callsite("a"))));
    assert!(!own(interner.site(Shape::Event, &callsite(&long))));
    assert!(own(interner.site(Shape::Span, &callsite("a"))));
    assert!(!own(interner.site(Shape::Event, &callsite("c"))));
    assert!(own(interner.site(Shape::Event, &callsite("a"))));
}

proptest! {
    #[test]
    fn no_bytes_make_the_host_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // Past `replay`, which would catch a panic.
        let _ = Replay::new().read(7, &bytes);
    }

    #[test]
    fn no_damage_to_a_record_makes_the_host_panic(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut record = records_of("info", || {
            let _span = info_span!("span", a = 1, b = "x").entered();
            warn!(u128 = 1u128, f64 = 0.5, debug = ?"x", "low");
        }).swap_remove(0);
        let at = at.index(record.len());
        record[at] = byte;
        let (host, _sink) = printing_host(LevelFilter::TRACE);
        with_default(&host, || {
            let mut replay = Replay::new();
            let _ = replay.read(7, &record);
            let _ = replay.read(7, &record[..keep.index(record.len())]);
        });
    }
}

/// A subscriber that keeps what it sees.
#[derive(Clone, Default)]
struct Seen {
    events: Arc<Mutex<Vec<SeenEvent>>>,
    spans: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct SeenEvent {
    level: Level,
    target: String,
    file: String,
    line: u32,
    values: Vec<record::Value>,
}

impl Seen {
    fn host(&self) -> Dispatch {
        Dispatch::new(tracing_subscriber::registry().with(self.clone()))
    }
}

impl<S> Layer<S> for Seen
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.spans
            .lock()
            .unwrap()
            .push(format!("new {}", attributes.metadata().name()));
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let name = context.span(&id).unwrap().name();
        self.spans.lock().unwrap().push(format!("close {name}"));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let values = Values::take(|visitor| event.record(visitor));
        self.events.lock().unwrap().push(SeenEvent {
            level: *metadata.level(),
            target: metadata.target().into(),
            file: metadata.file().unwrap().into(),
            line: metadata.line().unwrap(),
            values: values.iter().map(|(_, value)| value.clone()).collect(),
        });
    }
}

fn replay_to(seen: &Seen, records: &[Vec<u8>]) {
    with_default(&seen.host(), || {
        let mut replay = Replay::new();
        records.iter().for_each(|record| replay.replay(7, record));
    });
}
