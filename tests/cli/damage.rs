//! Damaged files of a data folder, as who runs the server sees it: it starts, and says what is
//! lost; or, where it cannot do without, it refuses with one sentence. It never panics.
//!
//! Without being asked, one damage of each kind is tried for each file. Every byte of the keys and
//! of what else is kept beside the log and the state, of which `tests/store/every_damage.rs` tries
//! every byte:
//!
//! ```sh
//! TMPDIR=/dev/shm cargo test --release -p tidings --test cli every_damage -- --ignored --nocapture
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::folder::{history, serve_with_api};
use crate::harness::{Running, in_time, run, text, tidings};

/// What is said in the folder that is damaged.
const WORDS: [&str; 3] = ["one", "two", "three"];

/// A data folder with some messages, keys and an endpoint.
fn made() -> TempDir {
    let home = TempDir::new().unwrap();
    for words in WORDS {
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

/// What can happen to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    /// A bit of the byte here changes.
    Flip(usize),
    /// It ends here.
    Cut(usize),
    Overwritten,
    Folder,
    Gone,
}

impl Harm {
    /// One of each kind.
    fn few(bytes: &[u8]) -> Vec<Self> {
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        // In the middle of a segment that has little is the room between its headers.
        let places = [used / 2, used.saturating_sub(1 + used / 16)];
        let flips = places.into_iter().filter(|_| used > 0).map(Self::Flip);
        let rest = [Self::Cut(used / 2), Self::Cut(0), Self::Overwritten, Self::Folder, Self::Gone];
        flips.chain(rest).collect()
    }

    /// Every byte is changed, and is where the file ends.
    fn all(bytes: &[u8]) -> Vec<Self> {
        let flips = (0..bytes.len()).map(Self::Flip);
        let cuts = (0..bytes.len()).map(Self::Cut);
        flips.chain(cuts).chain([Self::Overwritten, Self::Folder, Self::Gone]).collect()
    }

    fn happen(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        match self {
            Self::Flip(at) => bytes[at] ^= 1 << (at % 8),
            Self::Cut(at) => bytes.truncate(at),
            Self::Overwritten => bytes.fill(0x5A),
            Self::Gone => return fs::remove_file(path).unwrap(),
            Self::Folder => {
                fs::remove_file(path).unwrap();
                return fs::create_dir(path).unwrap();
            }
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What came of a damaged file.
struct Found<'a> {
    /// The file, from the data folder on.
    name: &'a str,
    /// `fsck` found the folder sound before the start, or was not asked: it looks at the log and
    /// the state alone.
    is_sound: bool,
    is_ready: bool,
    /// All messages are there for who looks back. It is asked of the log and the state alone.
    is_whole: bool,
    /// All that the server has said.
    said: String,
}

/// Starts on a damaged folder, looks back at all messages, and stops.
fn start<'a>(home: &TempDir, name: &'a str, what: &str) -> Found<'a> {
    let is_looked_at = ["log/", "state-"].iter().any(|word| name.starts_with(word));
    let is_sound = !is_looked_at || run(home, &["fsck"]).status.success();
    let said = home.path().join("said");
    let args = ["serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let mut command = tidings(home, &args);
    command.stderr(fs::File::create(&said).unwrap());
    let mut server = Running::start(command);
    let is_ready = server.line().starts_with("ready: ");
    let is_whole = is_ready && is_looked_at && {
        let line = server.hears("http: listening on ");
        let there = history(home, line.rsplit_once(' ').unwrap().1, "tidings-data");
        WORDS.iter().all(|words| there.contains_key(*words))
    };
    if is_ready {
        server.signal("TERM");
    }
    let (status, _) = in_time("the end of a server", move || server.end());
    let said = fs::read_to_string(said).unwrap();
    assert_eq!(status.code(), Some(if is_ready { 0 } else { 70 }), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    let printed = said.lines().filter(|line| line.starts_with("tidings: ")).count();
    assert_eq!(printed, usize::from(!is_ready), "{what}: {said}");
    Found { name, is_sound, is_ready, is_whole, said }
}

/// Starts of servers at the same time, when every damage is tried.
const TOGETHER: usize = 6;

/// Harms every file whose name from the data folder on has one of these words; `judge` says
/// whether what came of it is as it should be.
fn harm_all(
    words: &[&str],
    together: usize,
    harms: impl Fn(&[u8]) -> Vec<Harm>,
    judge: impl Fn(&Found<'_>) -> bool + Sync,
) {
    let made = made();
    let data = made.path().join("tidings-data");
    let (mut unhurt, mut todo) = (words.to_vec(), Vec::new());
    for file in files(&data) {
        let name = file.strip_prefix(&data).unwrap().display().to_string();
        if words.iter().any(|word| name.contains(word)) {
            let harms = harms(&fs::read(&file).unwrap());
            todo.extend(harms.into_iter().map(|harm| (name.clone(), harm)));
            unhurt.retain(|word| !name.contains(word));
        }
    }
    assert_eq!(unhurt, [""; 0], "there is no such file");
    let (next, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let complaints = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..together {
            scope.spawn(|| {
                while let Some((name, harm)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let home = TempDir::new().unwrap();
                    copy(&data, &home.path().join("tidings-data"));
                    harm.happen(&home.path().join("tidings-data").join(name));
                    let what = format!("{name}, {harm:?}");
                    let found = start(&home, name, &what);
                    refused.fetch_add(usize::from(!found.is_ready), Ordering::Relaxed);
                    if !judge(&found) {
                        complaints.lock().unwrap().push(format!("{what}: {}", found.said));
                    }
                }
            });
        }
    });
    eprintln!("{} damages, {} starts refused", todo.len(), refused.into_inner());
    let complaints = complaints.into_inner().unwrap();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// It comes up, or says in one sentence which file it cannot do without.
fn is_up_or_names_the_file(found: &Found<'_>) -> bool {
    let printed = found.said.lines().find(|line| line.starts_with("tidings: "));
    let file = found.name.rsplit_once('/').map_or(found.name, |(_, file)| file);
    let names = printed.is_some_and(|line| line.contains(file) || line.contains("certificate"));
    found.is_ready || names
}

/// Whether a line says that something of a file of the log or of the state is damaged.
fn names(line: &str, file: &str) -> bool {
    let words = match file.strip_prefix("log/") {
        Some(segment) => {
            let number: u32 = segment.split('.').next().unwrap().parse().unwrap();
            let as_field = format!("\"number\":{number},");
            // Where nothing stands behind a segment, what is missing is told by its entries.
            [segment.to_owned(), format!("segment {number}"), as_field, "the log ends at ".into()]
        }
        None => ["generation", "the newest state", "the state", "state-"].map(str::to_owned),
    };
    line.contains("damaged") && words.iter().any(|words| line.contains(words))
}

#[test]
fn a_start_on_damaged_data_always_comes_up_and_says_what_is_lost() {
    let told = AtomicUsize::new(0);
    let judge = |found: &Found<'_>| {
        let is_told = found.said.lines().any(|line| names(line, found.name));
        told.fetch_add(usize::from(is_told), Ordering::Relaxed);
        // A segment that had no records is made anew without a word.
        let is_anew = found.is_whole && found.name.ends_with(".open");
        found.is_ready && (is_told || found.is_sound || is_anew)
    };
    harm_all(&["log/", "state-", "CURRENT"], 1, Harm::few, judge);
    assert!(told.into_inner() > 0, "no damage was told");
}

#[test]
fn what_a_start_finds_damaged_is_counted_in_the_metrics() {
    let home = made();
    let of = |bytes: &[u8]| bytes.windows(5).position(|found| found == b"three");
    let mut log = files(&home.path().join("tidings-data/log"));
    log.retain(|file| of(&fs::read(file).unwrap()).is_some());
    let segment = log.last().unwrap();
    Harm::Flip(of(&fs::read(segment).unwrap()).unwrap()).happen(segment);
    let (server, _, _, url) = serve_with_api(&home, &[]);
    let told = text(&run(&home, &["admin", "--url", &url, "metrics"]).stdout);
    let count = told.lines().find_map(|line| line.strip_prefix("tidings_damaged_records_total "));
    assert!(count.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{told}");
    assert_eq!(server.stop("TERM").0.code(), Some(0));
}

#[test]
fn a_start_on_damaged_keys_comes_up_or_names_the_file_in_one_sentence() {
    harm_all(&["keys/", "webhooks/"], 1, Harm::few, is_up_or_names_the_file);
}

#[test]
#[ignore = "it takes many minutes"]
fn every_damage_of_the_keys_comes_up_or_names_the_file_in_one_sentence() {
    harm_all(&["keys/", "webhooks/"], TOGETHER, Harm::all, is_up_or_names_the_file);
}
