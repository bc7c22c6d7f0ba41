//! A disk that fails, as who runs the server sees it: the process ends with one printed chain of
//! causes, and what was acknowledged is there after the next start.

use std::process::Command;

use tempfile::TempDir;

use crate::folder::{Load, history, serve_with_api};
use crate::harness::{Running, in_time, tidings};

/// A server whose disk fails under load: how it ends, what it says, what it acknowledged.
fn fails_under_load(home: &TempDir, mut command: Command, bytes: usize) -> String {
    command.stderr(std::fs::File::create(home.path().join("said")).unwrap());
    let mut server = Running::start(command);
    let line = server.line();
    let ready = line.strip_prefix("ready: listening on ").expect(&line);
    let (address, fingerprint) = ready.split_once(", fingerprint ").expect(&line);
    let load = Load::start(address, fingerprint, bytes);
    let (status, _) = in_time("the end of the server", move || server.end());
    let acknowledged = load.stop();
    assert_eq!(status.code(), Some(70), "{status}");
    assert!(!acknowledged.is_empty(), "it failed before the first answer");
    let said = std::fs::read_to_string(home.path().join("said")).unwrap();
    let printed: Vec<&str> = said.lines().filter(|line| line.starts_with("tidings: ")).collect();
    let [printed] = printed[..] else { panic!("not one chain: {said}") };

    let (server, _, _, url) = serve_with_api(home, &[]);
    let there = history(home, &url, "tidings-data");
    for (body, sequence) in &acknowledged {
        assert_eq!(there.get(body), Some(sequence), "{body:.20} was acknowledged");
    }
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    printed.to_owned()
}

fn serve_that_fails(home: &TempDir, failpoints: &str) -> Command {
    let mut command = tidings(home, &["serve", "--listen", "127.0.0.1:0"]);
    command.env("FAILPOINTS", failpoints);
    command
}

#[test]
fn one_failed_sync_ends_the_process_though_the_next_would_go_well() {
    let home = TempDir::new().unwrap();
    let command = serve_that_fails(&home, "store-sync=30*off->1*return->off");
    let printed = fails_under_load(&home, command, 0);
    assert!(printed.contains("cannot sync") && printed.contains("injected failure"), "{printed}");
}

#[test]
fn one_failed_write_ends_the_process_though_the_next_would_go_well() {
    let home = TempDir::new().unwrap();
    let command = serve_that_fails(&home, "store-write=30*off->1*return->off");
    let printed = fails_under_load(&home, command, 0);
    assert!(printed.contains("cannot write"), "{printed}");
}

#[test]
fn a_file_that_cannot_grow_ends_the_process_and_costs_nothing_that_was_acknowledged() {
    let home = TempDir::new().unwrap();
    // What cannot be written to a file of 2 MiB is an error, and no signal.
    let limited = "trap '' XFSZ; ulimit -f 2048; exec \"$@\"";
    let mut command = tidings(&home, &[]);
    let server = command.get_program().to_owned();
    let mut limits = Command::new("bash");
    limits.args(["-c", limited, "bash"]).arg(server).args(["serve", "--listen", "127.0.0.1:0"]);
    limits.current_dir(home.path()).stdin(std::process::Stdio::null());
    limits.stdout(std::process::Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limits.env(name, value),
            None => limits.env_remove(name),
        };
    }
    command = limits;
    let printed = fails_under_load(&home, command, 4_000);
    assert!(printed.contains("cannot write"), "{printed}");
}

#[test]
fn a_data_folder_that_cannot_be_one_is_refused_with_one_sentence() {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("file"), b"not a folder").unwrap();
    let output =
        crate::harness::run(&home, &["serve", "--listen", "127.0.0.1:0", "--data", "file"]);
    assert_eq!(output.status.code(), Some(70));
    let said = crate::harness::text(&output.stderr);
    let printed: Vec<&str> = said.lines().filter(|line| line.starts_with("tidings: ")).collect();
    assert!(printed.len() == 1 && printed[0].contains("file"), "{said}");
}
