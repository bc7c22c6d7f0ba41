//! A few cuts, so that neither the server nor the rig rots: all is there after ten of them, and a
//! server from which any part of the promise is taken out is caught.
//!
//! # Invariants
//!
//! * The rig builds what it runs: the server of this source, and no other.

#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn rig(arguments: &[&str]) -> Output {
    let mut rig = Command::new(env!("CARGO_BIN_EXE_power"));
    rig.args(["--seed", "7", "--folder", env!("CARGO_TARGET_TMPDIR")]).args(arguments);
    rig.output().expect("the rig was built before its test")
}

fn said(output: &Output) -> String {
    let told = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&told).into_owned()
}

/// How much the rig says was lost, came out of order, or has an id that was used twice.
fn broken(said: &str) -> usize {
    let line = said.lines().find(|line| line.starts_with("acknowledged ")).unwrap_or_default();
    let counts = line.split(", ").filter_map(|part| {
        let names = ["lost ", "out of order ", "ids reused "];
        names.iter().find_map(|name| part.strip_prefix(name)?.parse::<usize>().ok())
    });
    counts.sum()
}

#[test]
fn nothing_is_lost_in_ten_cuts() {
    let output = rig(&["--cuts", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("cuts under load 10, "), "{}", said(&output));
}

#[test]
fn whatever_of_the_promise_is_taken_out_is_missed() {
    for what in ["sync-data", "folder-sync", "early-answer", "checkpoint"] {
        let output = rig(&["--cuts", "60", "--break", what, "--forget"]);
        assert_eq!(output.status.code(), Some(1), "{what}: {}", said(&output));
        // The rig's own failures end it with the same code.
        assert!(broken(&said(&output)) > 0, "{what}: {}", said(&output));
    }
}
