//! A figure, and the line that it is written as.

use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One figure of one round.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) peer: String,
    pub(crate) metric: String,
    pub(crate) value: f64,
}

impl Record {
    pub(crate) fn parse(line: &str) -> Option<Record> {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Record {
            peer: value["peer"].as_str()?.to_owned(),
            metric: value["metric"].as_str()?.to_owned(),
            value: value["value"].as_f64()?,
        })
    }

    pub(crate) fn to_line(&self) -> String {
        json!({"peer": self.peer, "metric": self.metric, "value": self.value}).to_string()
    }
}

/// Says a figure on standard output.
pub(crate) fn emit(peer: &str, metric: &str, value: f64) {
    let record = Record {
        peer: peer.to_owned(),
        metric: metric.to_owned(),
        value,
    };
    println!("{}", record.to_line());
}

/// Says how many there were in a second.
pub(crate) fn emit_rate(peer: &str, metric: &str, n: u64, since: Instant) {
    emit(peer, metric, n as f64 / since.elapsed().as_secs_f64());
}

/// Says how many gigabytes went in a second.
pub(crate) fn emit_bytes(peer: &str, metric: &str, n: usize, since: Instant) {
    emit(peer, metric, n as f64 / since.elapsed().as_secs_f64() / 1e9);
}

/// Says the median and the 99th percentile of calls.
pub(crate) fn emit_calls(peer: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let micros = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    emit(peer, "rtt_p50_us", micros(0.50));
    emit(peer, "rtt_p99_us", micros(0.99));
}

/// Says the median in microseconds.
pub(crate) fn emit_micros(peer: &str, metric: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    emit(peer, metric, times[times.len() / 2].as_secs_f64() * 1e6);
}

/// Says the median in milliseconds.
pub(crate) fn emit_millis(peer: &str, metric: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    emit(peer, metric, times[times.len() / 2].as_secs_f64() * 1e3);
}
