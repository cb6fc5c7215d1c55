//! What the documents say is held by tests: those that they name are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names of all functions in the sources of the workspace's crates.
fn functions() -> BTreeSet<String> {
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
                names.extend(functions_of(&fs::read_to_string(path).expect("a file")));
            }
        }
    }
    names
}

fn functions_of(source: &str) -> BTreeSet<String> {
    let lines = source.lines().filter_map(|line| line.split_once("fn "));
    let names = lines.filter_map(|(_, rest)| rest.split_once(['(', '<']));
    names.map(|(name, _)| name.trim().to_owned()).collect()
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
    let functions = functions();
    let document = include_str!("../../docs/delivery.md");
    let sentences: Vec<_> = document.lines().filter(|line| line.starts_with("- ")).collect();
    assert!(sentences.len() > 30, "{}", sentences.len());
    for sentence in sentences {
        let tests = tests_of(sentence);
        assert!(!tests.is_empty(), "no test holds: {sentence}");
        for test in tests {
            assert!(
                functions.contains(test),
                "there is no test `{test}` that holds: {sentence}"
            );
        }
    }
}
