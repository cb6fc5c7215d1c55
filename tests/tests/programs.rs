//! Misuse that a whole program has to be risked for: its limits, its signals, its executable, its environment.

use std::path::{Path, PathBuf};
use std::process::Command;
use tests::misuse::{
    Printed, Talking, finish, limit_processes, on_terminal, program, refuse_clone3, refuse_kept_statuses,
    refuse_mappings, refuse_memory_files, refuse_seals, refuse_sisters, succeed,
};

const SCENARIOS: &str = env!("CARGO_BIN_EXE_scenarios");
const TOKIO_MAIN: &str = env!("CARGO_BIN_EXE_tokio_main");
const PLAIN_MAIN: &str = env!("CARGO_BIN_EXE_plain_main");

fn play(scenario: &str) -> Printed {
    let printed = succeed(program(SCENARIOS).arg(scenario));
    assert!(
        printed.stdout.ends_with(&format!("played {scenario}\n")),
        "{printed}"
    );
    printed
}

#[test]
fn out_of_descriptors_a_spawn_fails_and_names_the_limit_and_with_more_all_works_again() {
    play("descriptors");
}

#[test]
fn out_of_processes_a_spawn_fails_and_names_the_limit_and_with_more_all_works_again() {
    for (user, start) in [(61_001, "fork-server"), (61_002, "exec")] {
        let mut command = program(SCENARIOS);
        command.arg("processes").env("PROCESSION_START", start);
        succeed(limit_processes(&mut command, user, 25));
    }
}

#[test]
fn where_the_system_refuses_shared_memory_links_are_sockets_and_that_is_said_once() {
    // A page of words, and 256 KiB for each direction.
    let ring = 4096 + 2 * (256 << 10);
    let mut command = program(SCENARIOS);
    command
        .arg("no-rings")
        .env_remove("PROCESSION_LINK")
        .env("PROCESSION_START", "fork-server");
    let printed = succeed(refuse_mappings(&mut command, ring));
    let warned = printed.stderr.matches("refuses the shared memory of rings");
    assert_eq!(warned.count(), 1, "{printed}");
}

/// Plays without rings in every start mode, whether they were asked for or not.
fn play_without_rings(refuse: fn(&mut Command) -> &mut Command) {
    for start in ["fork-server", "exec"] {
        for link in [None, Some("ring")] {
            let mut command = program(SCENARIOS);
            command
                .arg("no-rings")
                .env_remove("PROCESSION_LINK")
                .envs(link.map(|link| ("PROCESSION_LINK", link)))
                .env("PROCESSION_START", start);
            let printed = succeed(refuse(&mut command));
            let warned = printed.stderr.matches("refuses the shared memory of rings");
            assert_eq!(warned.count(), 1, "{printed}");
        }
    }
}

#[test]
fn where_the_system_makes_no_memory_files_at_all_there_are_children_too() {
    play_without_rings(refuse_memory_files);
}

#[test]
fn where_the_system_seals_no_memory_links_are_sockets_and_that_is_said_once() {
    play_without_rings(refuse_seals);
}

#[test]
fn settings_take_effect_and_the_environment_wins_over_them() {
    let settings = |set: [&str; 2], start: Option<&str>, link: Option<&str>| {
        let mut command = program(SCENARIOS);
        command.arg("settings").args(set);
        command.args([start.unwrap_or(set[0]), link.unwrap_or(set[1])]);
        command
            .env_remove("PROCESSION_START")
            .env_remove("PROCESSION_LINK");
        command.envs(start.map(|start| ("PROCESSION_START", start)));
        command.envs(link.map(|link| ("PROCESSION_LINK", link)));
        let printed = succeed(&mut command);
        assert!(printed.stdout.ends_with("played settings\n"), "{printed}");
    };
    for start in ["fork-server", "exec"] {
        for link in ["ring", "socket", "pipe"] {
            settings([start, link], None, None);
            settings(["exec", "pipe"], Some(start), Some(link));
        }
    }
    settings(["exec", "socket"], Some("fork-server"), None);
    settings(["exec", "socket"], None, Some("ring"));
}

#[test]
fn a_child_sees_the_hosts_current_directory_and_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    succeed(program(SCENARIOS).arg("moves").arg(path));
}

#[test]
fn statics_that_main_set_are_not_set_in_children() {
    play("statics");
}

#[test]
fn a_host_that_ignores_the_end_of_children_still_learns_of_it() {
    play("ignores-children");
}

#[test]
fn a_host_with_a_thread_that_takes_every_wait_status_does_not_hang() {
    play("foreign-wait");
}

#[test]
fn where_the_kernel_keeps_no_status_a_reason_that_somebody_else_took_is_unknown_and_says_who_could_have() {
    for scenario in ["never-learns", "may-not-learn"] {
        succeed(refuse_kept_statuses(program(SCENARIOS).arg(scenario)));
    }
}

#[test]
fn where_the_kernel_has_no_clone3_the_fork_server_does_with_clone() {
    let mut command = program(SCENARIOS);
    command.arg("start-mode").env("PROCESSION_START", "fork-server");
    let printed = succeed(refuse_clone3(&mut command));
    assert!(printed.stdout.contains("started by fork-server\n"), "{printed}");
    assert_eq!(printed.stderr, "");
}

#[test]
fn where_the_fork_server_may_not_clone_at_all_processes_are_started_by_exec_which_is_said_once() {
    let mut command = program(SCENARIOS);
    command.arg("start-mode").env("PROCESSION_START", "fork-server");
    let printed = succeed(refuse_sisters(refuse_clone3(&mut command)));
    assert!(printed.stdout.contains("started by exec\n"), "{printed}");
    let said = printed.stderr.matches("clone fails there").count();
    assert_eq!(said, 1, "{printed}");
    assert_eq!(printed.stderr.lines().count(), 1, "{printed}");
}

#[test]
fn a_map_shows_how_far_it_is_on_a_terminal_and_not_a_byte_of_it_elsewhere() {
    let shown = on_terminal(program(SCENARIOS).arg("progress"));
    assert!(
        shown.contains("doubling away") && shown.contains("100/100"),
        "{shown:?}"
    );
    let printed = play("progress");
    assert_eq!(printed.stdout, "played progress\n");
    assert_eq!(printed.stderr, "");
}

#[test]
fn why_an_init_failed_after_a_restart_is_said_to_who_watches_and_in_the_log() {
    let printed = play("init-fails");
    let died = |reason: &str| {
        let is_it = |line: &&str| line.contains("died child=\"tenant\"") && line.ends_with(reason);
        printed.stderr.lines().filter(is_it).count()
    };
    assert_eq!(died("reason=init failed: the lease is up"), 1, "{printed}");
    assert_eq!(died("reason=exited with code 3"), 1, "{printed}");
}

#[test]
fn a_call_without_a_deadline_ends_at_the_one_that_is_set_for_all() {
    play("default-deadline");
}

#[test]
fn a_map_over_two_million_items_needs_no_more_memory_than_one_over_few() {
    play("flat-memory");
}

/// A copy of the program that may be replaced or deleted.
fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("program");
    std::fs::copy(SCENARIOS, &path).unwrap();
    path
}

#[test]
fn a_program_whose_executable_is_replaced_goes_on_with_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let mut running = Talking::with(program(&path).arg("rebuilt"));
    running.says("started");
    let other = folder.path().join("other");
    std::fs::copy("/bin/false", &other).unwrap();
    std::fs::rename(other, path).unwrap();
    assert!(running.dismiss().ends_with("played rebuilt\n"));
}

#[test]
fn a_program_whose_executable_is_deleted_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let mut running = Talking::with(program(&path).arg("rebuilt"));
    running.says("started");
    std::fs::remove_file(path).unwrap();
    assert!(running.dismiss().ends_with("played rebuilt\n"));
}

#[test]
fn what_has_begun_begins_once_though_the_fork_server_dies_before_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    std::fs::write(&count, "").unwrap();
    let stop = format!("Cloned,fork server,1,{},SIGSTOP", count.display());
    let printed = succeed(
        program(SCENARIOS)
            .arg("stopped-server")
            .env("PROCESSION_CRASH", stop),
    );
    assert!(printed.stdout.ends_with("played stopped-server\n"), "{printed}");
}

#[test]
fn a_program_that_is_process_1_works_and_reaps_orphans() {
    let unshare = ["--pid", "--fork", "--mount-proc"];
    if !Command::new("unshare")
        .args(unshare)
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("this user may not make a namespace of processes");
        return;
    }
    let printed = succeed(program("unshare").args(unshare).args([SCENARIOS, "process-1"]));
    assert!(printed.stdout.ends_with("played process-1\n"), "{printed}");
}

/// A library that starts a thread when it is loaded, as agents do.
const AGENT: &str = r"
#include <pthread.h>
#include <unistd.h>
static void *rest(void *unused) { for (;;) pause(); return unused; }
__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, rest, NULL);
}
";

/// A library that ends the first three fork servers: each image of the program but the first, until then.
const STILLBIRTH: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((constructor)) static void end(void) {
    struct stat births;
    int file = open(getenv("BIRTHS"), O_WRONLY | O_APPEND);
    if (file < 0 || !getenv("PROCESSION_ENTER")) return;
    fstat(file, &births);
    if (births.st_size < 3 && write(file, ".", 1) == 1) _exit(1);
    close(file);
}
"#;

#[test]
fn after_three_fork_servers_that_end_by_themselves_processes_are_started_by_exec_which_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let (library, births) = (folder.path().join("stillbirth.so"), folder.path().join("births"));
    std::fs::write(&births, "").unwrap();
    if !compile(STILLBIRTH, &library) {
        return;
    }
    let printed = succeed(
        program(SCENARIOS)
            .arg("quick")
            .env("LD_PRELOAD", &library)
            .env("BIRTHS", &births)
            .env("PROCESSION_START", "fork-server"),
    );
    let said = printed.stderr.matches("it ends before it says a word").count();
    assert_eq!(said, 1, "{printed}");
    assert_eq!(std::fs::read(births).unwrap(), b"...");
}

/// Makes a library of a source; `false`, and said: there is nothing here to do it with.
fn compile(source: &str, library: &Path) -> bool {
    let file = library.with_extension("c");
    std::fs::write(&file, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-pthread", "-o"])
        .arg(library)
        .arg(&file)
        .status();
    let is_made = compiled.is_ok_and(|status| status.success());
    if !is_made {
        eprintln!("there is no C compiler");
    }
    is_made
}

#[test]
fn with_a_preloaded_agent_that_starts_threads_processes_are_started_by_exec_which_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("agent.so");
    if !compile(AGENT, &library) {
        return;
    }
    for path in [SCENARIOS, PLAIN_MAIN, TOKIO_MAIN] {
        let mut command = program(path);
        command
            .arg("quick")
            .env("LD_PRELOAD", &library)
            .env("PROCESSION_START", "fork-server");
        let printed = succeed(&mut command);
        let said = printed.stderr.matches("started by exec").count();
        assert_eq!(said, usize::from(path == SCENARIOS), "{printed}");
    }
}

#[test]
fn a_program_with_tokios_main_works_and_its_main_runs_once() {
    assert_eq!(succeed(&mut program(TOKIO_MAIN)).stdout, "done once\n");
}

#[test]
fn a_program_with_a_plain_main_works_and_its_main_runs_once() {
    assert_eq!(succeed(&mut program(PLAIN_MAIN)).stdout, "done once\n");
}

#[test]
fn a_trigger_that_was_set_by_hand_is_refused_at_once() {
    for path in [SCENARIOS, TOKIO_MAIN, PLAIN_MAIN] {
        for trigger in ["main", "init", "1", ""] {
            let printed = finish(program(path).arg("quick").env("PROCESSION_ENTER", trigger));
            assert_eq!(printed.code, Some(70), "{printed}");
            assert!(printed.stderr.contains("PROCESSION_ENTER"), "{printed}");
            assert_eq!(printed.stdout, "");
        }
    }
}

#[test]
fn a_setting_in_the_environment_that_means_nothing_is_an_error_that_names_what_does() {
    for (variable, value, wanted) in [
        ("PROCESSION_START", "fork", "write `fork-server` or `exec`"),
        ("PROCESSION_START", "", "write `fork-server` or `exec`"),
        ("PROCESSION_LINK", "tcp", "`socket` or `pipe`"),
        ("PROCESSION_LINK", "memory", "`socket` or `pipe`"),
    ] {
        for path in [SCENARIOS, TOKIO_MAIN, PLAIN_MAIN] {
            let printed = finish(program(path).arg("quick").env(variable, value));
            assert_eq!(printed.code, Some(1), "{variable}={value}: {printed}");
            assert!(printed.stderr.contains(variable), "{variable}={value}: {printed}");
            assert!(printed.stderr.contains(wanted), "{variable}={value}: {printed}");
        }
    }
}
