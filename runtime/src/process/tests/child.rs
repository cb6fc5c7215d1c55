//! What a child does in these tests: its first message says.

use super::super::entry::Newborn;
use super::Line;
use crate::os::passing::{self, Wait};
use crate::os::procfs;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::process::{Command, exit};

pub(crate) fn child(newborn: Newborn) -> ! {
    let (mut first, mut fds) = (vec![0; 64 * 1024], Vec::new());
    let mut wait = [PollFd::new(newborn.control.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, PollTimeout::NONE).unwrap();
    let received = passing::receive(newborn.control.as_fd(), &mut first, &mut fds, Wait::No).unwrap();
    let first = String::from_utf8(first[..received.bytes].to_vec()).unwrap();
    let (verb, rest) = first.split_once(' ').unwrap_or((&first, ""));
    act(verb, rest, newborn, fds);
    exit(0)
}

fn act(verb: &str, rest: &str, newborn: Newborn, mut fds: Vec<std::os::fd::OwnedFd>) {
    match verb {
        // Nobody said anything: the host is gone, or gave up this start.
        "" => exit(0),
        "exit" => exit(rest.parse().unwrap()),
        "abort" => std::process::abort(),
        "raise" => drop(nix::sys::signal::raise(
            nix::sys::signal::Signal::try_from(number(rest)).unwrap(),
        )),
        "kill-own-thread" => crate::os::testing::kill_own_thread(number(rest)),
        "fault" => crate::os::testing::fault(),
        "overflow" => drop(overflow(0)),
        "panic" => panic!("{rest}"),
        "panic-with" => std::panic::panic_any(7_u32),
        "throw" => std::panic::resume_unwind(Box::new(rest.to_owned())),
        "caught-then-exit" => {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            exit(101)
        }
        "caught-then-abort" => {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            std::process::abort()
        }
        "caught-then-panic" => {
            let _ = std::panic::catch_unwind(|| panic!("caught"));
            let _ = std::thread::spawn(|| panic!("elsewhere")).join();
            std::panic::resume_unwind(Box::new("boom"))
        }
        "no-unwind" => no_unwind(),
        "panic-in-drop" => {
            let _bomb = Bomb;
            panic!("first")
        }
        "wait" => drop(line(&newborn).read()),
        "hello" => {
            let mut line = line(&newborn);
            line.write("hello");
            line.read();
        }
        "ask" => answer(rest, newborn),
        "pass" => {
            let fd = fds.pop().expect("a descriptor came with the first message");
            std::fs::File::from(fd).write_all(b"passed").unwrap();
        }
        "grandchild" => {
            let mut grandchild = Command::new("sleep").arg("1000").spawn().unwrap();
            line(&newborn).write(&grandchild.id().to_string());
            let _ = grandchild.wait();
        }
        "print" => print(rest),
        "print-then-abort" => {
            print(rest);
            std::process::abort();
        }
        "write" => std::io::stdout()
            .write_all(rest.as_bytes())
            .and_then(|()| std::io::stdout().flush())
            .unwrap(),
        "by-shell" => drop(Command::new("sh").args(["-c", rest]).status()),
        "log" => {
            for record in rest.split(' ') {
                let mut framed = (record.len() as u32).to_le_bytes().to_vec();
                framed.extend_from_slice(record.as_bytes());
                nix::unistd::write(&newborn.log, &framed).unwrap();
            }
        }
        other => panic!("a test asked for `{other}`"),
    }
}

fn line(newborn: &Newborn) -> Line {
    Line::new(newborn.control.try_clone().unwrap())
}

/// Says on its control socket what it finds.
fn answer(what: &str, newborn: Newborn) {
    let text = match what {
        "cwd" => std::env::current_dir().unwrap().display().to_string(),
        "umask" => format!("{:o}", procfs::Umask::open().unwrap().get().unwrap()),
        "fds" => {
            // The copy that `line` makes would be listed too.
            let mut fds = procfs::descriptors();
            fds.sort_unstable();
            format!("{fds:?}")
        }
        "stdin" => std::fs::read_link("/proc/self/fd/0")
            .unwrap()
            .display()
            .to_string(),
        "group" => format!("{}", nix::unistd::getpgrp()),
        "pid" => std::process::id().to_string(),
        "thread" => format!("{}", nix::unistd::gettid()),
        "args" => format!("{:?}", std::env::args_os().collect::<Vec<_>>()),
        "trigger" => format!("{:?}", std::env::var_os(super::super::entry::TRIGGER)),
        "mode" => newborn.mode.to_string(),
        "trace" => {
            let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
            drop(b);
            format!("{:?}", (&a).write(b"x").map_err(|e| e.kind()))
        }
        variable => std::env::var(variable).unwrap_or_else(|_| "none".to_owned()),
    };
    line(&newborn).write(&text);
}

fn print(n: &str) {
    for i in 0..number(n) {
        println!("{} out {i}", std::process::id());
        eprintln!("{} err {i}", std::process::id());
    }
}

fn number(text: &str) -> i32 {
    text.parse().unwrap()
}

#[allow(unconditional_recursion)]
fn overflow(n: u64) -> [u64; 64] {
    let frame = std::hint::black_box([n; 64]);
    let mut below = overflow(n + 1);
    below[0] += frame[1];
    std::hint::black_box(below)
}

extern "C" fn no_unwind() {
    panic!("from c");
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("second");
    }
}
