//! Each test is a process of its own: the global default is one for each.

use std::sync::mpsc;

use tracing::level_filters::LevelFilter;
use tracing::{debug, info, info_span};
use tracing_subscriber::Registry;

use super::super::replay::Replay;
use super::super::testing::{Sink, printing_host, records_of, scene as in_process};
use super::super::{child, setup};
use super::*;

/// Runs `body` with a subscriber of the program's, not yet set, and what that will print. Returns what
/// the library's printed.
fn scene(test: &str, body: impl FnOnce(Dispatch, Sink)) -> String {
    in_process(&format!("stand_in::tests::{test}"), &[], || {
        setup::init();
        // As late as in a program that has its own: this makes the doubt.
        let (program, sink) = printing_host(LevelFilter::DEBUG);
        body(program, sink);
    })
}

fn set(program: Dispatch) {
    dispatcher::set_global_default(program).unwrap();
}

/// What `sink` was printed, without what comes before the target.
fn messages(sink: &Sink) -> Vec<String> {
    let text = sink.text();
    text.lines()
        .map(|line| line.split("tests: ").last().unwrap().to_owned())
        .collect()
}

#[test]
fn the_programs_subscriber_hears_all_from_the_moment_it_is_set() {
    let ours = scene(
        "the_programs_subscriber_hears_all_from_the_moment_it_is_set",
        |program, sink| {
            info!("early");
            set(program);
            info!("late");
            debug!("fine");
            assert_eq!(messages(&sink), ["late", "fine"]);
        },
    );
    assert!(ours.contains("early") && !ours.contains("late"), "{ours}");
}

#[test]
fn init_in_main_does_not_fail_and_is_obeyed() {
    let test = "stand_in::tests::init_in_main_does_not_fail_and_is_obeyed";
    let text = in_process(test, &[], || {
        setup::init();
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .without_time()
            .compact()
            .init();
        info!(a = 1, "once");
    });
    assert_eq!(text.matches("once").count(), 1, "{text}");
    assert!(
        !text.contains("T1") && !text.contains("202"),
        "no time is printed: {text}"
    );
}

#[test]
fn a_subscriber_that_was_set_before_is_left_alone() {
    let test = "stand_in::tests::a_subscriber_that_was_set_before_is_left_alone";
    let ours = in_process(test, &[], || {
        let (program, sink) = printing_host(LevelFilter::INFO);
        set(program);
        setup::init();
        setup::adopt_thread();
        assert!(INSTALLED.get().is_none());
        info!("heard");
        assert_eq!(messages(&sink), ["heard"]);
    });
    assert_eq!(ours, "");
}

#[test]
fn an_adopted_thread_is_heard_by_whoever_is_current() {
    let ours = scene(
        "an_adopted_thread_is_heard_by_whoever_is_current",
        |program, sink| {
            let (go, gone) = mpsc::channel::<()>();
            let (said, hear) = mpsc::channel::<()>();
            let worker = thread::spawn(move || {
                adopt_thread();
                for turn in 1..3 {
                    gone.recv().unwrap();
                    info_span!("work", turn).in_scope(|| info!(turn, "working"));
                    said.send(()).unwrap();
                }
            });
            go.send(()).unwrap();
            hear.recv().unwrap();
            set(program);
            go.send(()).unwrap();
            worker.join().unwrap();
            let text = sink.text();
            assert!(
                text.contains("work{turn=2}: ") && !text.contains("turn=1"),
                "{text}"
            );
        },
    );
    assert!(ours.contains("turn=1") && !ours.contains("turn=2"), "{ours}");
}

#[test]
fn the_workers_of_a_runtime_are_heard() {
    let ours = scene("the_workers_of_a_runtime_are_heard", |program, sink| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(adopt_thread)
            .on_thread_park(step_aside)
            .build()
            .unwrap();
        let log = |text: &'static str| {
            runtime.block_on(async {
                tokio::spawn(async move { info!(text, "from a worker") })
                    .await
                    .unwrap();
                tokio::task::spawn_blocking(move || info!(text, "blocking"))
                    .await
                    .unwrap();
            });
        };
        log("early");
        set(program);
        log("late");
        let text = sink.text();
        assert!(
            text.matches("late").count() == 2 && !text.contains("early"),
            "{text}"
        );
    });
    assert!(
        ours.matches("early").count() == 2 && !ours.contains("late"),
        "{ours}"
    );
}

#[test]
fn spans_stay_with_the_subscriber_that_they_began_in() {
    let ours = scene(
        "spans_stay_with_the_subscriber_that_they_began_in",
        |program, sink| {
            let old = info_span!("old", step = tracing::field::Empty);
            let entered = old.clone().entered();
            info!("before");
            set(program);
            let new = info_span!("new");
            new.in_scope(|| info!("amid"));
            old.record("step", 1);
            new.follows_from(&old);
            info!(parent: &old, "child of old");
            drop((entered, old));
            let _in = new.entered();
            info!("after");
            let text = sink.text();
            assert!(text.contains("new: ") && !text.contains("old: "), "{text}");
            assert!(
                text.lines()
                    .all(|line| line.contains("child of old") != line.contains("new: ")),
                "{text}"
            );
        },
    );
    assert!(
        ours.contains("old: ") && ours.contains("before") && !ours.contains("amid"),
        "{ours}"
    );
}

#[test]
fn explicit_parents_and_the_current_span_are_known_under_the_stand_in() {
    let ours = scene(
        "explicit_parents_and_the_current_span_are_known_under_the_stand_in",
        |_, _| {
            let outer = info_span!("outer");
            let inner = info_span!(parent: &outer, "inner");
            info!(parent: &inner, a = 1, "explicit");
            outer.in_scope(|| {
                assert_eq!(tracing::Span::current(), outer);
                info_span!(parent: None, "alone").in_scope(|| info!("rootless"));
            });
            assert!(tracing::Span::current().is_none());
        },
    );
    assert!(
        ours.contains("outer:inner: ") && ours.contains("explicit a=1"),
        "{ours}"
    );
    assert!(ours.contains("INFO alone: "), "{ours}");
}

#[test]
fn closed_spans_are_not_kept() {
    scene("closed_spans_are_not_kept", |_, _| {
        for _ in 0..1000 {
            let span = info_span!("span");
            drop(span.clone().entered());
        }
        let (_, stand_in) = installed().unwrap();
        assert!(stand_in.spans.iter().all(|shard| lock(shard).is_empty()));
    });
}

#[test]
fn a_doubt_of_more_than_a_second_looks_every_ten_milliseconds() {
    let since = Instant::now();
    let mut doubt = Doubt { since, looked: since };
    let mut looks_at = |millis| doubt.should_look(since + Duration::from_millis(millis));
    assert!(looks_at(0) && looks_at(0) && looks_at(999));
    assert!(!looks_at(1001));
    assert!(looks_at(1009) && !looks_at(1018) && looks_at(1019));
}

#[test]
fn a_subscriber_of_one_scope_is_heard_in_it_alone() {
    let ours = scene(
        "a_subscriber_of_one_scope_is_heard_in_it_alone",
        |program, sink| {
            dispatcher::with_default(&program, || info!("inside"));
            info!("outside");
            assert_eq!(messages(&sink), ["inside"]);
        },
    );
    assert!(ours.contains("outside") && !ours.contains("inside"), "{ours}");
}

#[test]
fn a_thread_of_the_programs_own_is_heard() {
    let test = "stand_in::tests::a_thread_of_the_programs_own_is_heard";
    let ours = in_process(test, &[], || {
        setup::init();
        info!("from main");
        for n in 0..2 {
            thread::spawn(move || info_span!("own").in_scope(|| info!(n, "on its own")))
                .join()
                .unwrap();
        }
        info!("main again");
    });
    assert_eq!(ours.matches("own: ").count(), 2, "{ours}");
    assert!(
        ours.contains("from main") && ours.contains("main again"),
        "{ours}"
    );
}

#[test]
fn a_subscriber_that_is_set_after_such_a_thread_logged_is_refused() {
    let test = "stand_in::tests::a_subscriber_that_is_set_after_such_a_thread_logged_is_refused";
    let ours = in_process(test, &[], || {
        setup::init();
        thread::spawn(|| info!("first")).join().unwrap();
        let (program, _sink) = printing_host(LevelFilter::INFO);
        assert!(dispatcher::set_global_default(program).is_err());
        info!("still here");
    });
    assert!(ours.contains("first") && ours.contains("still here"), "{ours}");
}

#[test]
fn a_subscriber_made_on_another_thread_does_not_take_the_place_from_itself() {
    let test = "stand_in::tests::a_subscriber_made_on_another_thread_does_not_take_the_place_from_itself";
    in_process(test, &[], || {
        setup::init();
        info!("known callsite");
        let sink = thread::spawn(|| {
            let (program, sink) = printing_host(LevelFilter::INFO);
            set(program);
            sink
        });
        let sink = sink.join().unwrap();
        info!("heard");
        assert_eq!(messages(&sink), ["heard"]);
    });
}

#[test]
fn a_thread_that_steps_aside_finds_the_programs_subscriber_by_its_type() {
    scene(
        "a_thread_that_steps_aside_finds_the_programs_subscriber_by_its_type",
        |_, _| {
            step_aside();
            assert!(dispatcher::get_default(|current| current.is::<StandIn>()));
            set(Dispatch::new(tracing_subscriber::registry()));
            step_aside();
            assert!(dispatcher::get_default(|current| current
                .downcast_ref::<Registry>()
                .is_some()));
        },
    );
}

#[test]
fn what_children_logged_goes_to_whoever_is_current() {
    let ours = scene(
        "what_children_logged_goes_to_whoever_is_current",
        |program, sink| {
            let records = records_of("info", || {
                let _span = info_span!("span").entered();
                info!("one");
                info!("two");
            });
            let mut replay = Replay::new();
            replay.replay(7, &records[0]);
            set(program);
            replay.replay(7, &records[1]);
            let text = sink.text();
            assert!(
                text.contains("span: ") && text.contains("two child=ledger pid=7"),
                "{text}"
            );
        },
    );
    assert!(
        ours.contains("one child=ledger pid=7") && !ours.contains("two"),
        "{ours}"
    );
}

#[test]
fn a_child_that_sets_a_subscriber_of_its_own_is_heard_by_that() {
    let test = "stand_in::tests::a_child_that_sets_a_subscriber_of_its_own_is_heard_by_that";
    in_process(test, &[], || {
        let records = Sink::default();
        let to = records.clone();
        child::install("info", "ledger", move |record| to.push(record));
        info!("to the host");
        assert_eq!(records.take().len(), 1);
        tracing_subscriber::fmt().with_writer(std::io::sink).init();
        info!("to its own");
        assert_eq!(records.take().len(), 0);
    });
}

#[test]
fn what_children_need_not_send_follows_whoever_is_current() {
    let test = "stand_in::tests::what_children_need_not_send_follows_whoever_is_current";
    in_process(test, &[("RUST_LOG", "warn,bank=debug")], || {
        assert_eq!(setup::filter(), "off");
        setup::init();
        let mut parts: Vec<_> = setup::filter().split(',').map(str::to_owned).collect();
        parts.sort();
        assert_eq!(parts, ["bank=debug", "warn"]);
        set(Dispatch::new(tracing_subscriber::registry()));
        assert_eq!(setup::filter(), "trace");
    });
}
