//! Any text as a configuration file.
//!
//! # Invariants
//!
//! * What is shown of a configuration that is in force is one that is taken, and shown the same.
//!   (Secrets are not shown, and what needs one is not taken without.)

#![no_main]

use std::cell::LazyCell;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use tidings::config::{Config, Sources};

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| TempDir::new_in("/dev/shm").unwrap());
}

fuzz_target!(|input: &[u8]| {
    // A setting may name a file, which is opened to see whether it can be: not a device or a pipe.
    if input.windows(2).any(|part| matches!(part, b"\"/" | b"'/" | b"..")) {
        return;
    }
    let path = FOLDER.with(|folder| folder.path().join("tidings.toml"));
    let Some(shown) = show(&path, input) else { return };
    if shown.contains("is set, and not shown") {
        return;
    }
    assert_eq!(show(&path, shown.as_bytes()), Some(shown));
});

/// The configuration that a file is, as it is shown.
fn show(path: &PathBuf, text: &[u8]) -> Option<String> {
    std::fs::write(path, text).unwrap();
    let sources = Sources { file: Some(path.clone()), ..Sources::default() };
    match Config::load(&sources) {
        Ok(config) => Some(config.to_toml()),
        Err(mistakes) => {
            assert!(!mistakes.to_string().is_empty());
            None
        }
    }
}
