//! Damaged files of a data folder, as who runs the server sees it: it starts, and says what is
//! lost; or, where it cannot do without, it refuses with one sentence. It never panics.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::folder::serve_with_api;
use crate::harness::{Running, in_time, run, tidings};

/// A data folder with some messages, keys and an endpoint.
fn made() -> TempDir {
    let home = TempDir::new().unwrap();
    for words in ["one", "two", "three"] {
        // What an endpoint is told in is kept in a file.
        let told = ["--webhook-url", "http://127.0.0.1:9/", "--webhook-networks", "127.0.0.0/8"];
        let (server, address, ..) = serve_with_api(&home, &told);
        let args = ["send", "--from", "ann", "--to", "bob", words, "--server", &address];
        assert_eq!(run(&home, &args).status.code(), Some(0));
        assert_eq!(server.stop("TERM").0.code(), Some(0));
    }
    home
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to)
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Files below a folder, from it on.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// What can happen to a file: a bit changes, it ends early, it is overwritten, it is no file, it
/// is gone.
const HARMS: [&str; 6] = ["a bit", "its end", "all of it", "nothing in it", "a folder", "gone"];

fn harm(path: &Path, how: &str) {
    let mut bytes = fs::read(path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    match how {
        "a bit" => bytes[used / 2] ^= 4,
        "its end" => bytes.truncate(used / 2),
        "all of it" => bytes.fill(0x5A),
        "nothing in it" => bytes.clear(),
        _ => {
            fs::remove_file(path).unwrap();
            if how == "a folder" {
                fs::create_dir(path).unwrap();
            }
            return;
        }
    }
    fs::write(path, bytes).unwrap();
}

/// What a start on a damaged folder comes to: whether it starts, and all that it says.
fn start(home: &TempDir, what: &str) -> (bool, String) {
    let said = home.path().join("said");
    let args = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let mut command = tidings(home, &args);
    command.stderr(fs::File::create(&said).unwrap());
    let mut server = Running::start(command);
    let is_ready = server.line().starts_with("ready: ");
    if is_ready {
        server.signal("TERM");
    }
    let (status, _) = in_time("the end of a server", move || server.end());
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(status.code(), Some(if is_ready { 0 } else { 70 }), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    let printed = said.lines().filter(|line| line.starts_with("tidings: ")).count();
    assert_eq!(printed, usize::from(!is_ready), "{what}: {said}");
    (is_ready, said)
}

/// Harms every file whose name from the data folder on has one of these words.
fn harm_all(words: &[&str], judge: impl Fn(&str, &str, bool, &str)) {
    let made = made();
    let data = made.path().join("tidings-data");
    let mut unhurt = words.to_vec();
    for file in files(&data) {
        let name = file.strip_prefix(&data).unwrap().display().to_string();
        if !words.iter().any(|word| name.contains(word)) {
            continue;
        }
        for how in HARMS {
            let home = TempDir::new().unwrap();
            copy(&data, &home.path().join("tidings-data"));
            harm(&home.path().join("tidings-data").join(&name), how);
            let (is_ready, said) = start(&home, &format!("{name}, {how}"));
            judge(&name, how, is_ready, &said);
        }
        unhurt.retain(|word| !name.contains(word));
    }
    assert_eq!(unhurt, [""; 0], "there is no such file");
}

#[test]
fn a_start_on_damaged_data_always_comes_up_and_says_what_is_lost() {
    harm_all(&["log/", "state-", "CURRENT"], |name, how, is_ready, said| {
        assert!(is_ready, "{name}, {how}: {said}");
    });
}

#[test]
fn a_start_on_damaged_keys_comes_up_or_names_the_file_in_one_sentence() {
    harm_all(&["keys/", "webhooks/"], |name, how, is_ready, said| {
        let printed = said.lines().find(|line| line.starts_with("tidings: "));
        let file = name.rsplit_once('/').unwrap().1;
        let names = printed.is_some_and(|line| line.contains(file) || line.contains("certificate"));
        assert!(is_ready || names, "{name}, {how}: {said}");
    });
}
