//! All rounds, and the table.

use crate::kernel::Ticks;
use crate::record::Record;
use crate::section::{Options, Section};
use crate::{ours, raw};
use std::process::{Command, Stdio};

/// What is compared with what, and how the comparison is read.
#[derive(Debug)]
struct Row {
    what: &'static str,
    metric: &'static str,
    unit: &'static str,
    ours: &'static str,
    raw: &'static str,
}

const fn row(what: &'static str, metric: &'static str, unit: &'static str) -> Row {
    Row {
        what,
        metric,
        unit,
        ours: ours::PEER,
        raw: raw::PEER,
    }
}

const fn exec(what: &'static str, metric: &'static str, unit: &'static str) -> Row {
    Row {
        ours: ours::EXEC,
        raw: raw::EXEC,
        ..row(what, metric, unit)
    }
}

const ROWS: &[Row] = &[
    row("call and reply, median", "rtt_p50_us", "µs"),
    row("call and reply, 99th percentile", "rtt_p99_us", "µs"),
    row("64 calls outstanding", "pipe_msgs_s", "/s"),
    row("one-way messages of 64 B", "cast_msgs_s", "/s"),
    row("1 MiB and acknowledge, as `Vec<u8>`", "pay_1m_gbs", "GB/s"),
    row("1 MiB and acknowledge, as `Bytes`", "pay_1m_gbs_as_bytes", "GB/s"),
    row("64 MiB and acknowledge, as `Vec<u8>`", "pay_64m_gbs", "GB/s"),
    row(
        "64 MiB and acknowledge, as `Bytes`",
        "pay_64m_gbs_as_bytes",
        "GB/s",
    ),
    row("call and reply from sleep; raw: eventfds", "sleep_rtt_us", "µs"),
    row(
        "1 MiB as `SharedBytes`, made before and kept",
        "shared_1m_gbs",
        "GB/s",
    ),
    row(
        "1 MiB as `SharedBytes`, made each time",
        "shared_1m_fresh_gbs",
        "GB/s",
    ),
    row(
        "1 MiB as `SharedBytes`, sent again",
        "shared_1m_again_gbs",
        "GB/s",
    ),
    row("64 MiB as `SharedBytes`, sent again", "shared_64m_again_us", "µs"),
    row(
        "64 MiB as `SharedBytes`, made each time; raw: made, not sent",
        "shared_64m_fresh_gbs",
        "GB/s",
    ),
    row("memory of an idle link", "link_idle_kib", "KiB"),
    row(
        "memory of an idle link whose ring has wrapped",
        "link_wrapped_kib",
        "KiB",
    ),
    row("the kernel's memory for it, estimated", "link_kernel_kib", "KiB"),
    row("wake-ups of all with idle links", "link_wakeups_s", "/s"),
    row("start to first reply, fork server; raw: fork", "spawn_ms", "ms"),
    row("memory of an idle child, PSS; raw: forked", "pss_mib", "MiB"),
    row("memory of an idle child, USS; raw: forked", "uss_mib", "MiB"),
    row("the kernel's memory for it, estimated", "kernel_mib", "MiB"),
    exec(
        "start to first reply, exec; raw: std's `Command`",
        "spawn_ms",
        "ms",
    ),
    exec("memory of an idle child, PSS, exec", "pss_mib", "MiB"),
    exec("memory of an idle child, USS, exec", "uss_mib", "MiB"),
    row(
        "SIGKILL to the caller's error; raw: end of file",
        "detect_ms",
        "ms",
    ),
    row(
        "SIGKILL to the next incarnation's answer; raw: fork",
        "recover_ms",
        "ms",
    ),
    row("one item by `Pool::run`, 2 workers", "pool_run_us", "µs"),
    row("map of `cube`, own chunks, 2 workers", "map_def_items_s", "/s"),
    row("map of `cube`, chunks of 1, 2 workers", "map_c1_items_s", "/s"),
];

pub(crate) fn main(options: Options) {
    let ticks = Ticks::now();
    let mut records = Vec::new();
    for _ in 0..options.rounds {
        for section in [
            Section::Raw,
            Section::CurrentThread,
            Section::MultiThread,
            Section::Exec,
        ] {
            records.extend(start(section, &options));
        }
    }
    let pairs = start(Section::Pairs, &options);
    if options.json {
        return;
    }
    println!("| workload | procession, one thread | default runtime | raw limit | one thread to raw |");
    println!("| --- | --- | --- | --- | --- |");
    ROWS.iter().for_each(|row| println!("{}", row.to_line(&records)));
    println!(
        "\nMedian (least to most) of {} rounds; ratios are taken within a round.\n",
        options.rounds
    );
    println!("{}", about_pairs(&pairs));
    println!(
        "\nOf the time that processors were wanted, {:.1} % was stolen.",
        ticks.stolen()
    );
}

/// Starts this program for a section of a round.
fn start(section: Section, options: &Options) -> Vec<Record> {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command
        .args(["--section", section.name()])
        .args(options.brief.then_some("--brief"));
    // Deaths are part of the work, and not worth a warning each.
    let output = command
        .env("RUST_LOG", "error")
        .stderr(Stdio::inherit())
        .output()
        .expect("this program can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "section {}: {}\n{text}",
        section.name(),
        output.status
    );
    if options.json {
        print!("{text}");
    }
    text.lines().filter_map(Record::parse).collect()
}

impl Row {
    fn to_line(&self, records: &[Record]) -> String {
        let of = |peer: &str| values(records, peer, self.metric);
        let (ours, raw) = (of(self.ours), of(self.raw));
        let ratios = ours.iter().zip(&raw).map(|(ours, raw)| ours / raw).collect();
        let multi = if self.ours == ours::PEER {
            cell(of(ours::MULTI), self.unit)
        } else {
            String::new()
        };
        let (what, unit) = (self.what, self.unit);
        format!(
            "| {what} | {} | {multi} | {} | {} |",
            cell(ours, unit),
            cell(raw, unit),
            cell(ratios, "x")
        )
    }
}

fn about_pairs(pairs: &[Record]) -> String {
    let of = |peer, metric, unit| cell(values(pairs, peer, metric), unit);
    let ours = |metric, unit| of(ours::MULTI, metric, unit);
    format!(
        "CPU-bound items (5 ms each where the workload was defined) on 2 workers: {} of two raw forked processes over the same items ({} beside {}), of {} pairs in turn. \
         The host took {} of processor time, the workers {}; stolen: {}.",
        ours("cpu_of_raw_pct", "%"),
        ours("cpu_s", "s"),
        of("raw", "cpu_s", "s"),
        values(pairs, "raw", "cpu_s").len(),
        ours("cpu_host_s", "s"),
        ours("cpu_workers_s", "s"),
        ours("steal_pct", "%"),
    )
}

fn values(records: &[Record], peer: &str, metric: &str) -> Vec<f64> {
    records
        .iter()
        .filter(|record| record.peer == peer && record.metric == metric)
        .map(|record| record.value)
        .collect()
}

/// The median, with the least and the most.
fn cell(mut values: Vec<f64>, unit: &str) -> String {
    values.sort_by(f64::total_cmp);
    match values[..] {
        [] => String::new(),
        [only] => format!("{} {unit}", number(only)),
        [least, .., most] => format!(
            "{} {unit} ({} to {})",
            number(values[values.len() / 2]),
            number(least),
            number(most)
        ),
    }
}

/// Three digits.
fn number(value: f64) -> String {
    match value.abs() {
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.0} k", value / 1e3),
        1e3.. => format!("{:.1} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
