//! The example `words`: its counts are those of one process, whoever kills its workers and their fork server.

use super::program::{Running, Seen, Way, Written, n_runs, run, ways};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The time from one kill to the next.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn words_are_counted_as_by_one_process() {
    let library = Library::write("plain", 400);
    for &way in ways() {
        for way in [way, Way { pinned: true, ..way }] {
            let skipped = library.check(&run("words", way, &[&library.folder]));
            assert_eq!(skipped, library.unreadable, "{way:?}");
        }
    }
}

#[test]
fn words_are_counted_as_by_one_process_while_workers_and_their_fork_server_are_killed() {
    let library = Library::write("killed", 4000);
    let mut chance = Chance::new();
    for &way in ways() {
        // Killed twice on one file is killed too often: such a file is named and skipped, like an unreadable one.
        for _ in 0..n_runs().min(5) {
            let (written, n_kills) = run_under_fire(way, &library.folder, &mut chance);
            let skipped = library.check(&written);
            assert!(n_kills > 2, "{way:?}: {n_kills} kills");
            assert!(skipped.is_superset(&library.unreadable), "{way:?}: {skipped:?}");
            assert!(
                skipped.len() <= library.unreadable.len() + n_kills / 2,
                "{way:?}: {n_kills} kills, {skipped:?}"
            );
        }
    }
}

/// Runs it, and kills a worker at random again and again, and the fork server once. Says how often it killed.
fn run_under_fire(way: Way, folder: &Path, chance: &mut Chance) -> (Written, usize) {
    let mut running = Running::start("words", way, &[folder]);
    let (mut workers, mut n_kills, mut next) = (Vec::new(), 0, None::<Instant>);
    loop {
        match running.see(PAUSE / 4) {
            Seen::Started(pid) => workers.push(pid),
            Seen::End => return (running.finish(), n_kills),
            // The first files are those that cannot be read: the pool is up, and at work.
            Seen::Warning => drop(next.get_or_insert_with(Instant::now)),
            Seen::Other | Seen::Nothing => {}
        }
        workers.retain(|&worker| parent(worker) == Some(running.pid()));
        if workers.is_empty() || next.is_none_or(|next| Instant::now() < next) {
            continue;
        }
        next = Some(Instant::now() + PAUSE);
        n_kills += 1;
        let victim = match n_kills {
            // The first process that a host starts.
            2 => children(running.pid()).into_iter().min(),
            _ => Some(workers.swap_remove(chance.below(workers.len()))),
        };
        let victim = victim.filter(|&victim| parent(victim) == Some(running.pid()));
        if victim.is_some_and(|victim| kill(Pid::from_raw(victim), Signal::SIGKILL).is_err()) {
            n_kills -= 1;
        }
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut after_name = stat.rsplit_once(") ")?.1.split(' ');
    match after_name.next()? {
        "Z" => None,
        _ => after_name.next()?.parse().ok(),
    }
}

fn children(pid: i32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A folder of texts, with the counts of each.
struct Library {
    folder: PathBuf,
    /// By the path as it is shown.
    counts: BTreeMap<String, Counts>,
    /// What no process can read.
    unreadable: BTreeSet<String>,
}

type Counts = BTreeMap<String, u64>;

impl Library {
    fn write(name: &str, n_files: usize) -> Library {
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("words-{name}-{}", std::process::id()));
        let mut library = Library {
            folder,
            counts: BTreeMap::new(),
            unreadable: BTreeSet::new(),
        };
        let mut chance = Chance(7);
        for i in 0..n_files {
            let path = library.folder.join(format!("{}/{}/{i}.txt", i % 7, i % 3));
            let n_words = 2 * chance.below(400);
            let text: String = (0..n_words).map(|_| chance.word()).collect();
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
            library.counts.insert(path.display().to_string(), count(&text));
        }
        let bad = library.folder.join("not-text");
        fs::write(&bad, [b'a', 0xff, b'b']).unwrap();
        library.unreadable.insert(bad.display().to_string());
        library.add_odd_name();
        library
    }

    /// A name that is no text does not travel, so its file is skipped.
    fn add_odd_name(&mut self) {
        let odd = self.folder.join(OsString::from_vec(b"odd-\xff.txt".to_vec()));
        fs::write(&odd, "odd odd odd").unwrap();
        self.unreadable.insert(odd.display().to_string());
    }

    /// Compares what was written with the counts of all files but those that were named as skipped. Gives these.
    fn check(&self, written: &Written) -> BTreeSet<String> {
        let skipped: BTreeSet<_> = written.stderr.iter().filter_map(|line| skipped(line)).collect();
        let named = written
            .stderr
            .iter()
            .filter(|line| line.contains(" skipped "))
            .count();
        assert_eq!(
            skipped.len(),
            named,
            "a file was named twice: {:#?}",
            written.stderr
        );
        let mut total = Counts::new();
        for (_, counts) in self.counts.iter().filter(|(path, _)| !skipped.contains(*path)) {
            counts
                .iter()
                .for_each(|(word, n)| *total.entry(word.clone()).or_default() += n);
        }
        let mut top: Vec<_> = total.into_iter().collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let lines = top.iter().take(10).map(|(word, n)| format!("{n:>10}  {word}\n"));
        let expected: String = lines
            .chain([format!("{} files skipped\n", skipped.len())])
            .collect();
        assert_eq!(written.stdout, expected, "{:#?}", written.stderr);
        skipped
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

fn count(text: &str) -> Counts {
    let mut counts = Counts::new();
    for word in text
        .split(|c: char| !c.is_alphabetic())
        .filter(|word| !word.is_empty())
    {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    counts
}

/// The file that the line names as skipped.
fn skipped(line: &str) -> Option<String> {
    let (_, rest) = line.split_once(" skipped path=")?;
    Some(
        rest.split_once(" error=")
            .map_or(rest, |(path, _)| path)
            .to_owned(),
    )
}

/// Numbers that are the same for the same seed.
struct Chance(u64);

impl Chance {
    /// The seed is printed, for whoever wants the same kills again.
    fn new() -> Chance {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap();
        println!("seed {}", now.as_nanos() as u64 | 1);
        Chance(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// A word and what parts it from the next. Some are much more frequent than others.
    fn word(&mut self) -> String {
        let words = [
            "the",
            "Process",
            "ruft",
            "naïve",
            "Łódź",
            "ends",
            "well",
            "ΣΟΦΌΣ",
            "and",
            "Who",
            "begins",
            "ein",
        ];
        let n = self.below(words.len());
        let word = words[self.below(n + 1)];
        let sign = [" ", ", ", "\n", "-2-", ". ", "; "][self.below(6)];
        format!("{word}{sign}")
    }
}
