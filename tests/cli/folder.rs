//! `tidings fsck` and `tidings backup`: real servers, real folders.
//!
//! # Invariants
//!
//! * What was acknowledged before a backup began is in it, whatever goes on meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidings::client::{Client, ConnectOptions, OpenOptions, Outgoing, Trust};

use crate::harness::{Running, run, serve, text};

/// Where nothing answers.
const NOBODY: &str = "http://127.0.0.1:9";

/// A server with its API; its address, its certificate's fingerprint and its URL.
pub(crate) fn serve_with_api(home: &TempDir, more: &[&str]) -> (Running, String, String, String) {
    let args = [&["--http-listen", "127.0.0.1:0"], more].concat();
    let (mut server, address, fingerprint) = serve(home, &args);
    let line = server.hears("http: listening on ");
    let url = line.rsplit_once(' ').unwrap().1.to_owned();
    (server, address, fingerprint, url)
}

/// The exit code of a command, and what it says.
fn says(home: &TempDir, args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(home, args);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn fsck(home: &TempDir, data: &str) -> (Option<i32>, Value) {
    let (code, said, errors) = says(home, &["fsck", "--data", data, "--json"]);
    (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{errors}")))
}

/// Peers that send, each one message after the other, until they are told to stop; what was
/// acknowledged.
pub(crate) struct Load {
    acknowledged: Arc<Mutex<BTreeMap<String, u32>>>,
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    /// Peers whose messages are so many bytes long at the least.
    pub(crate) fn start(address: &str, fingerprint: &str, bytes: usize) -> Self {
        let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let trust = Trust::Fingerprint(fingerprint.parse().unwrap());
        let options = ConnectOptions::new(address).trust(trust);
        let (kept, over) = (acknowledged.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let client = Client::connect(options).await.unwrap();
                let talk =
                    |number| talk(client.clone(), (number, bytes), kept.clone(), over.clone());
                tokio::join!(talk(0), talk(1), talk(2), talk(3));
                client.close().await;
            });
        });
        Self { acknowledged, is_over, thread }
    }

    fn so_far(&self) -> BTreeMap<String, u32> {
        self.acknowledged.lock().unwrap().clone()
    }

    fn until(&self, count: usize) {
        let start = Instant::now();
        while self.so_far().len() < count {
            assert!(start.elapsed() < Duration::from_secs(60), "only {}", self.so_far().len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn stop(self) -> BTreeMap<String, u32> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        Arc::into_inner(self.acknowledged).unwrap().into_inner().unwrap()
    }
}

async fn talk(
    client: Client,
    (number, bytes): (usize, usize),
    acknowledged: Arc<Mutex<BTreeMap<String, u32>>>,
    is_over: Arc<AtomicBool>,
) {
    let own = format!("sender-{number}").parse().unwrap();
    let (session, _incoming) = client.open(OpenOptions::new(own)).await.unwrap();
    let to = format!("reader-{number}").parse().unwrap();
    for count in 0.. {
        let body = format!("{number}-{count}-{}", "x".repeat(bytes));
        let sending = session.send(Outgoing::to(&to, body.clone()));
        tokio::pin!(sending);
        loop {
            // A server that has failed answers no more.
            match tokio::time::timeout(Duration::from_millis(50), &mut sending).await {
                Ok(sent) => {
                    acknowledged.lock().unwrap().insert(body, sent.unwrap().sequence);
                    break;
                }
                Err(_) if is_over.load(Ordering::Relaxed) => return,
                Err(_) => {}
            }
        }
        if is_over.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// The bodies of all messages that a server has, and their numbers.
pub(crate) fn history(home: &TempDir, url: &str, data: &str) -> BTreeMap<String, u32> {
    let args = ["admin", "--url", url, "--data", data, "history", "--export"];
    let (code, said, errors) = says(home, &args);
    assert_eq!(code, Some(0), "{errors}");
    let mut found = BTreeMap::new();
    for line in said.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        let Some(body) = message["body"].as_str() else { continue };
        let sequence = message["sequence"].as_u64().unwrap() as u32;
        assert_eq!(found.insert(body.to_owned(), sequence), None, "{body} is there twice");
    }
    found
}

#[test]
fn a_backup_under_load_has_all_that_was_acknowledged_before_it_began() {
    let home = TempDir::new().unwrap();
    let (server, ..) = serve_with_api(&home, &[]);
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    let (server, address, fingerprint, url) = serve_with_api(&home, &[]);
    let load = Load::start(&address, &fingerprint, 0);
    load.until(200);
    for round in 0..3 {
        let (before, copy) = (load.so_far(), format!("copy-{round}"));
        let (code, said, errors) = says(&home, &["backup", &copy, "--url", &url]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
        assert!(said.contains("is a complete backup"), "{said}");
        load.until(before.len() + 100);
        let (code, found) = fsck(&home, &copy);
        assert_eq!((code, &found["sound"]), (Some(0), &Value::Bool(true)), "{found:#}");
        assert_eq!(found["backup"], "complete");
        let keys = home.path().join(&copy).join("keys");
        assert!(!keys.join("connections").exists() && keys.join("secret").exists());

        let (copied, _, of_copy, copy_url) = serve_with_api(&home, &["--data", &copy]);
        assert_eq!(of_copy, fingerprint, "the certificate is in it");
        let there = history(&home, &copy_url, &copy);
        for (body, sequence) in &before {
            assert_eq!(there.get(body), Some(sequence), "{body}, of {} before", before.len());
        }
        assert_eq!(copied.stop("TERM").0.code(), Some(0));
        let (code, found) = fsck(&home, &copy);
        assert_eq!((code, &found["backup"]), (Some(0), &Value::Null), "{found:#}");
    }
    let sent = load.stop();
    assert_eq!(history(&home, &url, "tidings-data"), sent, "the server itself lost nothing");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    assert_eq!(fsck(&home, "tidings-data").0, Some(0));
}

#[test]
fn a_folder_of_a_server_that_stopped_is_looked_at_and_copied_and_not_changed() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    for words in ["one", "two"] {
        let args = ["send", "--from", "ann", "--to", "bob", words, "--server", &address];
        assert_eq!(run(&home, &args).status.code(), Some(0));
    }
    let (code, said, errors) = says(&home, &["fsck"]);
    assert_eq!((code, said.as_str()), (Some(70), ""));
    assert!(errors.contains("a server is using the data folder"), "{errors}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));

    let before = content(&home.path().join("tidings-data"));
    let (code, said, errors) = says(&home, &["fsck"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    for words in ["segment: log/0000000001.open, open", "2 messages", "state: state-1, in force"] {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
    assert!(said.ends_with("\nsound\n"), "{said}");
    let (code, said, errors) = says(&home, &["backup", "copy", "--url", NOBODY]);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("/tidings-data, which no server uses"), "{said}");
    assert_eq!(content(&home.path().join("tidings-data")), before, "a byte was changed");
    let (code, _, errors) = says(&home, &["backup", "copy", "--url", NOBODY]);
    assert_eq!(code, Some(64));
    assert!(errors.contains("is not empty"), "{errors}");
    let (code, _, errors) = says(&home, &["backup", "tidings-data/copy", "--url", NOBODY]);
    assert_eq!(code, Some(64));
    assert!(errors.contains("is in the data folder"), "{errors}");

    std::fs::rename(home.path().join("copy/BACKUP"), home.path().join("copy/BACKUP-INCOMPLETE"))
        .unwrap();
    let (code, said, _) = says(&home, &["fsck", "--data", "copy"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("a backup that was cut"), "{said}");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data", "copy"];
    let (code, _, errors) = says(&home, &args);
    assert_eq!(code, Some(70));
    assert!(errors.contains("is a backup that was cut"), "{errors}");
    let (code, _, errors) = says(&home, &["fsck", "--data", "nowhere"]);
    assert_eq!(code, Some(70));
    assert!(errors.contains("nowhere is not a data folder"), "{errors}");
}

#[test]
fn a_folder_that_stopped_is_not_taken_for_that_of_the_server_that_answers() {
    let home = TempDir::new().unwrap();
    let (server, ..) = serve(&home, &[]);
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    let (server, _, _, url) = serve_with_api(&home, &["--data", "elsewhere"]);
    let (code, said, errors) = says(&home, &["backup", "copy", "--url", &url]);
    assert_ne!(code, Some(0), "{said}{errors}");
    assert!(!home.path().join("copy").exists(), "{said}{errors}");
    let args = ["backup", "copy", "--url", &url, "--data", "elsewhere"];
    let (code, said, errors) = says(&home, &args);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{said}");
    let of = format!("a complete backup of the server at {url}, with the keys and endpoints");
    assert!(said.contains(&of) && said.contains("/elsewhere: "), "{said}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn what_is_damaged_is_named_with_what_is_lost_before_and_after_a_start() {
    let home = TempDir::new().unwrap();
    let (server, address, _) = serve(&home, &[]);
    for words in ["one", "the one that is hit", "three"] {
        let args = ["send", "--from", "ann", "--to", "bob", words, "--server", &address];
        assert_eq!(run(&home, &args).status.code(), Some(0));
    }
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    let segment = home.path().join("tidings-data/log/0000000001.open");
    let mut bytes = std::fs::read(&segment).unwrap();
    let words = b"the one that is hit";
    let at = bytes.windows(words.len()).position(|window| window == words).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();

    let (code, found) = fsck(&home, "tidings-data");
    assert_eq!((code, &found["sound"]), (Some(1), &Value::Bool(false)), "{found:#}");
    assert_eq!(found["damage"].as_array().unwrap().len(), 1, "{found:#}");
    assert_eq!(found["damage"][0]["file"], "log/0000000001.open");
    let lost = found["lost"].as_array().unwrap().clone();
    assert_eq!((lost.len(), &lost[0]["told"]), (1, &Value::Bool(false)), "{found:#}");
    assert_eq!(found["log"]["messages"], 2);

    let (server, ..) = serve(&home, &[]);
    assert_eq!(server.stop("TERM").0.code(), Some(0));
    let (code, found) = fsck(&home, "tidings-data");
    assert_eq!(code, Some(0), "{found:#}");
    let told = &found["lost"][0];
    assert_eq!((&told["after"], &told["before"]), (&lost[0]["after"], &lost[0]["before"]));
    assert_eq!(told["told"], Value::Bool(true));
    let left = found["leftovers"].as_array().unwrap();
    assert!(left.iter().any(|left| left["file"] == "log/damaged-0000000001.open"), "{found:#}");
}

/// Every file of a folder, with what is in it.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    found
}
