//! What the documents say is held by tests: those that they name are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all tests in the sources of the workspace's crates.
fn tests() -> BTreeSet<String> {
    let house = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = BTreeSet::new();
    let mut folders: Vec<_> = ["runtime", "macros", "tests"]
        .map(|crate_| house.join(crate_))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                names.extend(tests_in(&fs::read_to_string(path).expect("a file")));
            }
        }
    }
    names
}

/// Those that a run of the tests runs: what is no test, or is left out, holds nothing.
fn tests_in(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut attributes = String::new();
    for line in source.lines().map(str::trim) {
        match line.split_once("fn ") {
            _ if line.starts_with("//") => {}
            _ if line.starts_with("#[") => attributes.push_str(line),
            Some((_, rest)) => {
                let is_test = TESTS.iter().any(|test| attributes.contains(test));
                let name = rest.split(['(', '<']).next();
                let run = is_test && !attributes.contains("#[ignore");
                names.extend(name.filter(|_| run).map(str::to_owned));
                attributes.clear();
            }
            None if line.is_empty() || line.ends_with(['{', '}', ';']) => attributes.clear(),
            None => {}
        }
    }
    names
}

/// What makes a function a test.
const TESTS: [&str; 3] = ["#[test]", "#[tokio::test", "#[procession::test"];

#[test]
fn what_is_no_test_or_is_left_out_holds_nothing() {
    let source = r#"
        #[test]
        #[should_panic(
            expected = "this"
        )]
        fn one() {}
        #[procession::test(flavor = "multi_thread")]
        async fn two() {}
        #[test]
        #[ignore = "slow"]
        fn left_out() {}
        #[derive(Debug)]
        struct Test;
        /// #[test]
        fn no_test() {}
    "#;
    let names: Vec<_> = tests_in(source).into_iter().collect();
    assert_eq!(names, ["one", "two"]);
}

/// What stands in the last brackets of a sentence, each in backquotes.
fn tests_of(sentence: &str) -> Vec<&str> {
    let brackets = sentence
        .rsplit_once(" (")
        .filter(|(_, brackets)| brackets.ends_with(')'));
    let names = brackets.map_or("", |(_, brackets)| brackets).split('`');
    names.skip(1).step_by(2).collect()
}

#[test]
fn each_sentence_on_delivery_names_tests_that_exist() {
    let there_are = tests();
    let document = include_str!("../../docs/delivery.md");
    let sentences: Vec<_> = document.lines().filter(|line| line.starts_with("- ")).collect();
    assert!(sentences.len() > 30, "{}", sentences.len());
    for sentence in sentences {
        let tests = tests_of(sentence);
        assert!(!tests.is_empty(), "no test holds: {sentence}");
        for test in tests {
            assert!(
                there_are.contains(test),
                "there is no test `{test}` that holds: {sentence}"
            );
        }
    }
}
