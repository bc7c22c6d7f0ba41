//! The programs of the rig: the server and the library that is preloaded into it, built with the
//! profile of the rig itself.
//!
//! # Invariants
//!
//! * They are built by the cargo, and in the target folder, that built the rig.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The library that is preloaded.
///
/// # Errors
///
/// What cargo says.
pub(crate) fn preload() -> Result<PathBuf, String> {
    build(&["build", "-p", "power-preload"], "power_preload", "cdylib")
}

/// The server, with points of failure or without. A rig that is being tested takes the one that
/// `cargo test --workspace` has built already, which has them.
///
/// # Errors
///
/// What cargo says.
pub(crate) fn tidings(with_failpoints: bool) -> Result<PathBuf, String> {
    let wanted: &[&str] = match (cfg!(debug_assertions), with_failpoints) {
        (true, _) => &["test", "--workspace", "--no-run", "--test", "crash"],
        (false, false) => &["build", "-p", "tidings", "--bin", "tidings"],
        (false, true) => &["build", "-p", "tidings", "--bin", "tidings", "-F", "fail/failpoints"],
    };
    build(wanted, "tidings", "bin")
}

/// Has cargo build something; gives the file of the target of that name and kind.
fn build(wanted: &[&str], name: &str, kind: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(wanted).args(["--message-format", "json-render-diagnostics"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if let Some(target) = target() {
        command.arg("--target-dir").arg(target);
    }
    // What cargo said to the rig's own build would have it build things again.
    for (variable, _) in std::env::vars_os() {
        let variable = variable.to_string_lossy();
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "OUT_DIR"];
        if told.iter().any(|prefix| variable.starts_with(prefix)) {
            command.env_remove(&*variable);
        }
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run cargo: {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let artifacts = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_it = |told: &Value| told["target"]["name"] == name && told["target"]["kind"][0] == kind;
    let file = |told: Value| told["filenames"].as_array()?.last()?.as_str().map(PathBuf::from);
    let file = artifacts.filter(is_it).filter_map(file).next_back();
    let file = file.filter(|_| output.status.success());
    file.ok_or_else(|| format!("cargo did not build {name}"))
}

/// The target folder that the rig is in.
fn target() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).map(Path::to_path_buf)
}
