//! The floors of the library: a file names only what is on its own floor or below, and `unsafe` stays on the ground.
//!
//! Files are read as tokens, so what macros are given counts too, and comments and strings do not. Each path that
//! begins with `crate`, `self` or `super` is followed to the module that it leads into.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. What shares a floor does not know of each other.
const FLOORS: &[&[&str]] = &[
    &["os"],
    &["wire"],
    &["link"],
    &["process"],
    &["actor"],
    &["supervise"],
    &["task", "pool", "shared", "channel"],
    &["observe"],
    &["app"],
];

/// Words that every floor may use. They themselves use the ground floor alone.
const VOCABULARY: &[&str] = &["backtrace", "crash", "error", "exit", "local"];

/// Where floors are wired together, and what users see: above all floors.
const ROOT: &[&str] = &["lib", "prelude", "private", "sim"];

/// The way in: what a process becomes is decided above it. Each calls a function of `private::wiring`.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("process::control", "private::wiring"),
    ("process::entry", "private"),
    ("process::server", "private"),
];

/// Where `unsafe` may stand.
const UNSAFE: &str = "os";

/// A path that a file names, from the root of the crate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    path: Vec<String>,
    line: usize,
}

/// One file of the library.
struct Source {
    file: PathBuf,
    /// From the root of the crate.
    module: Vec<String>,
    tokens: TokenStream,
}

#[test]
fn no_file_imports_from_a_floor_above_its_own() {
    let exports = exports();
    let mut faults = Vec::new();
    for source in library() {
        for named in named(&source) {
            let path = match exports.get(&named.path[0]) {
                Some(path) if !is_module(&named.path[0]) => path.clone(),
                _ => named.path,
            };
            if !may_name(&source.module, &path) {
                faults.push(format!(
                    "{}:{} names `{}`",
                    source.file.display(),
                    named.line,
                    path.join("::")
                ));
            }
        }
    }
    assert!(faults.is_empty(), "against the floors:\n{}", faults.join("\n"));
}

#[test]
fn unsafe_code_stands_on_the_ground_floor_only() {
    let mut faults = Vec::new();
    for source in library().iter().filter(|source| source.module[0] != UNSAFE) {
        let lines = lines_of("unsafe", source.tokens.clone());
        faults.extend(
            lines
                .iter()
                .map(|line| format!("{}:{line}", source.file.display())),
        );
    }
    assert!(
        faults.is_empty(),
        "`unsafe` outside `{UNSAFE}`:\n{}",
        faults.join("\n")
    );
}

#[test]
fn every_module_has_its_place() {
    for source in library() {
        let top = &source.module[0];
        assert!(
            is_module(top),
            "{} is on no floor: give `{top}` one here",
            source.file.display()
        );
    }
}

#[test]
fn the_code_map_shows_every_file() {
    let text = fs::read_to_string(root().join("../../docs/architecture.md")).unwrap();
    let (_, map) = text.split_once("## Code map").unwrap();
    let (map, _) = map.split_once("## ").unwrap();
    for source in library()
        .iter()
        .filter(|source| source.module.last().is_some_and(|name| name != "tests"))
    {
        let inside_tests = source.module.iter().any(|name| name == "tests");
        let name = format!("`{}`", source.module.last().unwrap());
        let floor = format!("`{}/`", source.module[0]);
        let shown = map.contains(&name) || map.contains(&floor) && source.module.len() == 1;
        assert!(
            shown || inside_tests,
            "{} is not in the code map",
            source.file.display()
        );
    }
}

#[test]
fn an_import_is_found_however_it_is_written() {
    let text = "use crate::{os::{map::Map, fifo}, error::Error as E};\n\
                mod tests { use super::super::sibling; fn f() { m!(super::g(), crate::app::main()) } }\n\
                pub(in crate::a) fn h(self, _: self::x::Y) {} // crate::comment";
    let source = Source {
        file: PathBuf::new(),
        module: vec!["link".into(), "mod".into()],
        tokens: text.parse().unwrap(),
    };
    let found: Vec<_> = named(&source)
        .iter()
        .map(|named| format!("{} {}", named.line, named.path.join("::")))
        .collect();
    let expected = [
        "1 os::map::Map",
        "1 os::fifo",
        "1 error::Error",
        "2 link::sibling",
        "2 link::mod::g",
        "2 app::main",
        "3 a",
        "3 link::mod::x::Y",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_import_from_above_is_refused() {
    let may = |from: &str, to: &str| {
        let split = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
        may_name(&split(from), &split(to))
    };
    assert!(
        may("actor::call", "link::Sender") && may("actor::call", "actor::conn") && may("os::map", "error")
    );
    assert!(
        !may("link::port", "actor::call")
            && !may("task", "pool::Pool")
            && !may("observe::setup", "app::main")
    );
    assert!(
        !may("exit", "link::Sender") && !may("link::port", "private::Wiring") && !may("wire::frame", "lib")
    );
}

/// Whether a module may name what this path leads to.
fn may_name(module: &[String], path: &[String]) -> bool {
    let (from, to) = (module[0].as_str(), path[0].as_str());
    if from == to || ROOT.contains(&from) || (VOCABULARY.contains(&to)) {
        return true;
    }
    match (floor(from), floor(to)) {
        (Some(own), Some(other)) => other < own,
        (None, Some(other)) => VOCABULARY.contains(&from) && other == 0,
        (_, None) => {
            let (module, path) = (module.join("::"), path.join("::"));
            EXCEPTIONS
                .iter()
                .any(|(from, to)| module == *from && path.starts_with(to))
        }
    }
}

fn is_module(top: &str) -> bool {
    floor(top).is_some() || VOCABULARY.contains(&top) || ROOT.contains(&top)
}

fn floor(top: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&top))
}

/// Where the names lead that `lib.rs` gives out.
fn exports() -> BTreeMap<String, Vec<String>> {
    let source = source(&root(), &root().join("lib.rs"));
    let tokens: Vec<_> = source.tokens.into_iter().collect();
    let mut exports = BTreeMap::new();
    for (i, _) in tokens.iter().enumerate().filter(|(_, token)| is(token, "use")) {
        let mut paths = Vec::new();
        follow(&tokens[i + 1..], &[], &mut paths);
        exports.extend(
            paths
                .into_iter()
                .filter_map(|named| Some((named.path.last()?.clone(), named.path))),
        );
    }
    exports
}

/// Every path in a file that begins at the root of the crate, or at the file's own module.
fn named(source: &Source) -> Vec<Named> {
    let mut found = Vec::new();
    walk(source.tokens.clone(), &source.module, &mut found);
    found.retain(|named| !named.path.is_empty());
    found
}

fn walk(tokens: TokenStream, module: &[String], found: &mut Vec<Named>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut i = 0;
    while i < tokens.len() {
        let inner = match &tokens[i..] {
            [a, TokenTree::Ident(name), TokenTree::Group(body), ..] if is(a, "mod") => {
                walk(body.stream(), &[module, &[name.to_string()]].concat(), found);
                i += 3;
                continue;
            }
            [TokenTree::Group(group), ..] => Some(group.stream()),
            _ => None,
        };
        if let Some(inner) = inner {
            walk(inner, module, found);
        }
        // A path that goes on from another (`$crate::x`, `foo::self`) is not one of its own.
        let goes_on = i > 1 && colons(&tokens[i - 2..]) || i > 0 && is_punct(&tokens[i - 1], '$');
        if !goes_on && let Some((base, length)) = base(&tokens[i..], module) {
            follow(&tokens[i + length..], &base, found);
            i += length;
            continue;
        }
        i += 1;
    }
}

/// The module at which a path begins, and how many tokens say so, the colons behind it included.
fn base(tokens: &[TokenTree], module: &[String]) -> Option<(Vec<String>, usize)> {
    let mut base = match tokens.first()? {
        first if is(first, "crate") => Vec::new(),
        first if is(first, "self") => module.to_vec(),
        first if is(first, "super") => module[..module.len() - 1].to_vec(),
        _ => return None,
    };
    let mut length = 1;
    while colons(&tokens[length..]) {
        length += 2;
        match tokens.get(length) {
            Some(next) if is(next, "super") => drop(base.pop()),
            _ => return Some((base, length)),
        }
        length += 1;
    }
    // `pub(in crate)` and the receiver `self` name nothing.
    (length > 1).then_some((base, length))
}

/// The paths that go on from `base`: one, or those of a group.
fn follow(tokens: &[TokenTree], base: &[String], found: &mut Vec<Named>) {
    match tokens {
        [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => {
            let inner: Vec<_> = group.stream().into_iter().collect();
            inner
                .split(|token| is_punct(token, ','))
                .for_each(|part| follow(part, base, found));
        }
        [TokenTree::Ident(name), rest @ ..] => {
            let path = [base, &[name.to_string()]].concat();
            match colons(rest) && !is_punct_at(rest, 2, '<') {
                true => follow(&rest[2..], &path, found),
                false => found.push(Named {
                    path,
                    line: name.span().start().line,
                }),
            }
        }
        [first, ..] => found.push(Named {
            path: base.to_vec(),
            line: first.span().start().line,
        }),
        [] => {}
    }
}

fn lines_of(word: &str, tokens: TokenStream) -> Vec<usize> {
    let mut lines = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines.extend(lines_of(word, group.stream())),
            token if is(&token, word) => lines.push(token.span().start().line),
            _ => {}
        }
    }
    lines
}

fn is(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_punct_at(tokens: &[TokenTree], at: usize, sign: char) -> bool {
    tokens.get(at).is_some_and(|token| is_punct(token, sign))
}

fn colons(tokens: &[TokenTree]) -> bool {
    is_punct_at(tokens, 0, ':') && is_punct_at(tokens, 1, ':')
}

fn library() -> Vec<Source> {
    let mut files = Vec::new();
    files_below(&root(), &mut files);
    assert!(files.len() > 50, "the library has {} files", files.len());
    files.iter().map(|file| source(&root(), file)).collect()
}

fn source(root: &Path, file: &Path) -> Source {
    let below = file.strip_prefix(root).unwrap().with_extension("");
    let mut module: Vec<_> = below
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let text = fs::read_to_string(file).unwrap();
    let tokens = text
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Source {
        file: below,
        module,
        tokens,
    }
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/src")
}
