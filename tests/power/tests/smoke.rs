//! A few cuts, so that neither the server nor the rig rots: all is there after ten of them, and a
//! server without `sync_data` is caught.
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

#[test]
fn nothing_is_lost_in_ten_cuts_and_a_missing_sync_is_noticed() {
    let output = rig(&["--cuts", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = rig(&["--cuts", "20", "--break", "sync-data", "--forget"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
}
