//! The binary as people run it: what it prints, how it exits.
//!
//! # Invariants
//!
//! * Each test has a folder and servers of its own.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod admin;
mod certificates;
mod chat;
mod damage;
mod disk;
mod folder;
mod harness;
mod secrets;
mod webhook;

use std::path::Path;
use std::process::ExitStatus;

use tempfile::TempDir;

use crate::harness::{Running, in_time, run, serve, text, tidings};

#[test]
fn check_config_reports_all_mistakes_at_once() {
    let home = TempDir::new().unwrap();
    std::fs::write(home.path().join("t.toml"), "window_age = \"soon\"\nspeed = 11\n").unwrap();
    let args = ["check-config", "--config", "t.toml", "--listen", "here", "--shards", "3"];
    let child = tidings(&home, &args).env("TIDINGS_AWAY_AFTER", "7").spawn().unwrap();
    let output = in_time("check-config", move || child.wait_with_output().unwrap());
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    for mistake in [
        "5 mistakes",
        "t.toml:1: window_age: \"soon\"",
        "t.toml:2: speed is not a setting",
        "TIDINGS_AWAY_AFTER: \"7\"",
        "--listen: \"here\"",
        "--shards: 3",
    ] {
        assert!(said.contains(mistake), "no {mistake:?} in\n{said}");
    }
}

#[test]
fn a_server_with_a_mistake_in_its_configuration_touches_nothing() {
    let home = TempDir::new().unwrap();
    let output = run(&home, &["serve", "--data", "data", "--log-bytes-max", "1KiB"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("log_bytes_max: 1KiB is less than"));
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    assert_eq!(run(&home, &["serve", "--no-such-flag"]).status.code(), Some(64));
}

#[test]
fn the_configuration_that_is_printed_is_read_back_as_the_same() {
    let home = TempDir::new().unwrap();
    let output = run(&home, &["serve", "--print-config", "--away-after", "90s", "--shards", "2"]);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    assert!(printed.contains("away_after = \"90s\"\n"), "{printed}");
    assert!(printed.contains("shards = 2\n"), "{printed}");
    std::fs::write(home.path().join("printed.toml"), &printed).unwrap();
    let again = run(&home, &["serve", "--config", "printed.toml", "--print-config"]);
    assert_eq!(text(&again.stdout), printed);
}

#[test]
fn the_demo_shows_each_step_and_leaves_nothing_behind() {
    let home = TempDir::new().unwrap();
    let output = run(&home, &["demo"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", text(&output.stderr));
    for step in [
        "a server listens on 127.0.0.1:",
        "ann to bob: \"hello, bob\" is on disk, number 1",
        "bob to ann: \"hello, ann\" is on disk, number 2",
        "bob leaves",
        "ann to bob, who is away: \"see you tomorrow\" is on disk, number 5",
        "bob opens a session; 3 messages wait",
        "bob has \"are you there?\", number 3",
        "bob has \"see you tomorrow\", number 5",
        "everything was as promised",
    ] {
        assert!(said.contains(step), "no {step:?} in\n{said}");
    }
    for line in said.lines() {
        let (latency, _) = line.split_once(" ms  ").expect(line);
        assert!(latency.trim().parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "something is left");
}

#[test]
fn a_server_says_one_line_when_it_is_ready_and_stops_in_order_when_asked() {
    let home = TempDir::new().unwrap();
    for signal in ["TERM", "INT"] {
        let (server, address, fingerprint) = serve(&home, &[]);
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
        assert_eq!(fingerprint.len(), 64);
        assert!(fingerprint.bytes().all(|digit| digit.is_ascii_hexdigit()), "{fingerprint}");
        let (status, rest) = server.stop(signal);
        assert_eq!((status.code(), rest.as_str()), (Some(0), ""), "after SIG{signal}");
    }
    assert!(home.path().join("tidings-data").is_dir());
}

/// A server, and a client of it that does not react any more.
fn serve_one_that_hangs(home: &TempDir, more: &[&str]) -> (Running, Running) {
    let (server, address, fingerprint) = serve(home, more);
    let args = ["listen", "bob", "--server", &address, "--fingerprint", &fingerprint];
    let mut bob = Running::start(tidings(home, &args));
    bob.await_log("bob listens on device");
    bob.signal("STOP");
    while !is_stopped(bob.child.id()) {
        std::thread::yield_now();
    }
    (server, bob)
}

/// Whether every thread of the process has stopped: its state stands behind its name in brackets.
fn is_stopped(pid: u32) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.starts_with('T')
    })
}

#[test]
fn a_drain_that_has_to_cut_a_session_is_told_by_the_exit_code() {
    let home = TempDir::new().unwrap();
    let (server, bob) = serve_one_that_hangs(&home, &["--drain-timeout", "200ms"]);
    assert_eq!(server.stop("TERM").0.code(), Some(75));
    drop(bob);
}

#[test]
fn a_second_signal_cuts_a_drain_short() {
    let home = TempDir::new().unwrap();
    let (mut server, bob) = serve_one_that_hangs(&home, &["--drain-timeout", "10m"]);
    server.signal("TERM");
    server.await_log("draining");
    assert_eq!(server.stop("TERM").0.code(), Some(75));
    drop(bob);
}

#[test]
fn a_second_server_on_the_same_data_says_who_has_it_and_fails() {
    let home = TempDir::new().unwrap();
    let (server, ..) = serve(&home, &[]);
    let output = run(&home, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(70));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    let error = said.lines().find(|line| line.starts_with("tidings: ")).expect(&said);
    assert!(error.contains("tidings-data") && error.contains("another"), "{error}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_second_server_on_the_same_port_says_so_and_fails() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let output = run(&home, &["serve", "--listen", &address, "--data", "other"]);
    assert_eq!(output.status.code(), Some(70));
    let said = text(&output.stderr);
    let error = said.lines().find(|line| line.starts_with("tidings: ")).expect(&said);
    assert!(error.contains(&address), "{error}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn what_is_sent_to_a_peer_that_is_away_is_printed_once_when_it_listens() {
    let home = TempDir::new().unwrap();
    let (server, address, fingerprint) = serve(&home, &[]);
    let send = |words: &str, trust: &[&str]| {
        let args = ["send", "--from", "ann", "--to", "bob", words, "--server", &address];
        let output = run(&home, &[&args, trust].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let listen = || {
        let args = ["listen", "bob", "--server", &address, "--fingerprint", &fingerprint];
        Running::start(tidings(&home, &args))
    };
    assert!(send("one", &["--fingerprint", &fingerprint]).contains("number 1 of"));
    // On this machine the certificate is found in the data folder.
    assert!(send("two", &[]).contains("number 2 of"));

    let mut bob = listen();
    assert_eq!(bob.line(), "ann: one (waited)");
    assert_eq!(bob.line(), "ann: two (waited)");
    send("three", &[]);
    assert_eq!(bob.line(), "ann: three");
    let device = device_of(home.path());
    assert_eq!(bob.stop("INT").0.code(), Some(0));

    send("four", &[]);
    let mut bob = listen();
    assert_eq!(bob.line(), "ann: four (waited)");
    assert_eq!(bob.stop("INT"), (ExitStatus::default(), String::new()));
    assert_eq!(device_of(home.path()), device, "the device keeps its id");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

/// The id of the device on which bob listens.
fn device_of(home: &Path) -> String {
    let servers = std::fs::read_dir(home.join("user/tidings")).unwrap();
    let folder = servers.map(|entry| entry.unwrap().path()).next().unwrap();
    let kept = std::fs::read_to_string(folder.join("bob-listen")).unwrap();
    kept.trim_end().rsplit_once(' ').unwrap().1.to_owned()
}

#[test]
fn a_server_that_is_not_trusted_is_refused() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    let other = "0".repeat(64);
    let args = ["send", "--from", "a", "--to", "b", "x", "--server", &address];
    let output = run(&home, &[&args[..], &["--fingerprint", &other]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the server is not trusted"));
    let output = run(&home, &[&args[..], &["--data", "nowhere"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("give --fingerprint"), "{}", text(&output.stderr));
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}
