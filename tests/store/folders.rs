//! What lies in the folder of a store, and another process that has one.

use std::path::{Path, PathBuf};

/// A log's segments, oldest first: their paths without what tells an open one from a closed one.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = segments_as(dir, &["open", "segment"]);
    let mut segments: Vec<_> = paths.into_iter().map(|path| path.with_extension("")).collect();
    segments.dedup();
    segments
}

/// A log's segments that are open, or closed, or either, oldest first.
pub(crate) fn segments_as(dir: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut paths = listing(&dir.join("log"));
    paths.retain(|path| {
        let extension = path.extension().unwrap_or_default();
        path.file_stem().unwrap().to_str().unwrap().parse::<u32>().is_ok()
            && extensions.contains(&extension.to_str().unwrap())
    });
    paths
}

/// What is in a folder, sorted.
pub(crate) fn listing(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Copies a folder: the state first, so that the log is never behind it.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut entries = listing(from);
    entries.sort_by_key(|path| path.file_name().is_some_and(|name| name == "log"));
    for path in entries {
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            // sled's temporary files come and go.
            let _ = std::fs::copy(&path, &copied);
        }
    }
}

/// Starts this test binary as a child that runs one test with something to tell it.
pub(crate) fn child(test: &str, variable: &str, value: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(variable, value);
    command
}
