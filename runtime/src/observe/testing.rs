//! Help for this floor's tests: a child and a host in one process, and scenes in processes of their own.

use std::io;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;

use super::child;

/// What was written, by whomever holds a clone.
#[derive(Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<Vec<u8>>>>);

impl Sink {
    pub(super) fn push(&self, bytes: &[u8]) {
        self.0.lock().unwrap().push(bytes.to_vec());
    }

    pub(super) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.take().concat()).unwrap()
    }
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Sink;

    fn make_writer(&'a self) -> Sink {
        self.clone()
    }
}

/// The records of what `body` logs as a child.
pub(super) fn records_of(filter: &str, body: impl FnOnce()) -> Vec<Vec<u8>> {
    let sink = Sink::default();
    let to = sink.clone();
    let child = child::subscriber(filter, "ledger", move |record| to.push(record));
    tracing::dispatcher::with_default(&child, body);
    sink.take()
}

/// A host that prints as `fmt` does, without times and colours.
pub(super) fn printing_host(most: LevelFilter) -> (Dispatch, Sink) {
    let sink = Sink::default();
    (
        Dispatch::new(printer(sink.clone()).with(Targets::new().with_default(most))),
        sink,
    )
}

pub(super) fn printer(
    sink: Sink,
) -> impl tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a> {
    tracing_subscriber::registry().with(fmt::layer().without_time().with_ansi(false).with_writer(sink))
}

/// How a scene exits whose body ran to its end; no test at that path would exit with 0.
const TO_ITS_END: i32 = 17;

/// Runs `body` in a process of its own, as the test of this path; returns what it wrote, once it succeeded.
pub(super) fn scene(test: &str, env: &[(&str, &str)], body: impl FnOnce()) -> String {
    let output = run_scene(test, env, body);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(TO_ITS_END), "{test}: {text}");
    text
}

/// Like [`scene`], for a process that may end in any way.
pub(super) fn run_scene(test: &str, env: &[(&str, &str)], body: impl FnOnce()) -> Output {
    const IN_SCENE: &str = "PROCESSION_TEST_SCENE";
    if std::env::var_os(IN_SCENE).is_some() {
        body();
        std::process::exit(TO_ITS_END);
    }
    Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("observe::{test}"),
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env_remove("RUST_LOG")
        .env(IN_SCENE, "1")
        .envs(env.iter().copied())
        .output()
        .unwrap()
}
