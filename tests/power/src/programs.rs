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
    build(&["-p", "power-preload"], "power_preload")
}

/// The server, with points of failure or without.
///
/// # Errors
///
/// What cargo says.
pub(crate) fn tidings(with_failpoints: bool) -> Result<PathBuf, String> {
    let mut wanted = vec!["-p", "tidings", "--bin", "tidings"];
    if with_failpoints {
        wanted.extend(["--features", "fail/failpoints"]);
    }
    build(&wanted, "tidings")
}

/// Has cargo build something; gives the last file of the target of that name.
fn build(wanted: &[&str], name: &str) -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--message-format", "json-render-diagnostics"]).args(wanted);
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
    let files = artifacts.filter(|told| told["target"]["name"] == name);
    let files = files.filter_map(|told| told["filenames"].as_array()?.last()?.as_str().map(PathBuf::from));
    let file = files.last().filter(|_| output.status.success());
    file.ok_or_else(|| format!("cargo did not build {name}"))
}

/// The target folder that the rig is in.
fn target() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    own.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists()).map(Path::to_path_buf)
}
