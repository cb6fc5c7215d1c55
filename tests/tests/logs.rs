//! What children log and write, as it arrives: in the host's subscriber, and on its stderr.

use std::collections::BTreeMap;
use tests::misuse::{program, succeed};

const LISTENER: &str = env!("CARGO_BIN_EXE_listener");
const SCENARIOS: &str = env!("CARGO_BIN_EXE_scenarios");

#[test]
fn a_subscriber_of_the_programs_own_hears_all_of_an_event_of_a_child_and_whose_it_is() {
    let printed = succeed(program(LISTENER).arg("own").env_remove("RUST_LOG"));
    let pid = printed
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("pid "))
        .expect("a pid");
    let expected = format!(
        "heard WARN kitchen child=waiter cups=2 hot=true message=poured tea pid={pid} price=-1.5 in shop order \
         number=7 in shop tray of=\"silver\""
    );
    let heard: Vec<_> = printed
        .stdout
        .lines()
        .filter(|line| line.contains("poured"))
        .collect();
    assert_eq!(heard, [expected], "{printed}");
}

#[test]
fn rust_log_says_what_a_child_makes_and_what_is_heard_of_it() {
    let printed = succeed(
        program(LISTENER)
            .arg("library")
            .env("RUST_LOG", "warn,kitchen=debug"),
    );
    assert_eq!(printed.stdout, "is heard [true, false, true]\n", "{printed}");
    let lines: Vec<_> = printed.stderr.lines().collect();
    let [detail, warning] = lines[..] else {
        panic!("{printed}")
    };
    for (line, parts) in [
        (detail, ["DEBUG", "kitchen", "a detail of the kitchen"]),
        (warning, ["WARN", "shop", "a warning of the shop"]),
    ] {
        assert!(parts.into_iter().all(|part| line.contains(part)), "{printed}");
        assert!(
            line.contains("child=is_heard-") && line.contains("pid="),
            "{printed}"
        );
    }
}

/// Many times, as a line was torn where one died just when the output of another was brought to its end.
#[test]
fn what_children_write_to_stderr_comes_in_whole_lines_and_in_order_to_the_last_before_an_abort() {
    (0..20).for_each(|_| complaints_come_whole());
}

fn complaints_come_whole() {
    let printed = succeed(program(SCENARIOS).arg("complaints").env("RUST_LOG", "off"));
    let mut said: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // An unfinished line is written as it is, so what comes next follows it at once.
    let stderr = printed.stderr.replace("says the last", "says the last\n");
    for line in stderr.lines().filter(|line| !line.is_empty()) {
        let (pid, rest) = line.split_once(" says ").expect("a whole line");
        said.entry(pid).or_default().push(rest);
    }
    let mut expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    expected.push("the last".to_owned());
    assert_eq!(said.len(), 8, "{printed}");
    for (pid, said) in said {
        assert_eq!(said, expected, "{pid}");
    }
}
