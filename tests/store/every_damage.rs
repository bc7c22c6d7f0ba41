//! Every damage of a sample folder, one at a time: a bit of it changes, a file ends early, a page
//! is overwritten.
//!
//! Without being asked, a few of each kind are tried for each file, spread over it.
//! `TIDINGS_DAMAGES` says how many; a great number is every byte, which takes hours:
//!
//! ```sh
//! TIDINGS_DAMAGES=1000000000 cargo test --release -p tidings --test store every_damage
//! ```
//!
//! `TIDINGS_ONE_DAMAGE` with what a complaint begins with, such as `log/0000000001.segment
//! Page(0)`, tries that one alone.
//!
//! # Invariants
//!
//! * A message has a record of its own, so that what one damage may cost is known.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tempfile::TempDir;
use tidings::id::MessageId;
use tidings::store::{HistoryOf, Options};

use super::folders::{listing, segments_as};
use super::harness::{Running, Sent, conversation, copy, ids};

/// How long a store may take that is neither fast nor stuck.
const PATIENCE: Duration = Duration::from_secs(300);
const PAGE: u64 = 4096;

/// A folder with closed segments, an open one and a state, and what was stored in it.
struct Sample {
    _folder: TempDir,
    options: Options,
    sent: Vec<Sent>,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let mut running = Running::new();
        let mut sent = Vec::new();
        running.create_group(&["alice", "dan"]);
        for run in 0..3 {
            running.open("erin", "phone");
            for index in 0..8 {
                sent.push(running.send("alice", "bob", &format!("run {run}, message {index}")));
            }
            running.settle();
            if run < 2 {
                running = running.restart();
                running.until_closed();
            }
        }
        sent.push(running.send("alice", "bob", "the last one that the state is told of"));
        // A value of kind 8 and version 1: how far the log was on the disk.
        let told = [&[8, 1][..], &sent.last().unwrap().id.0.to_le_bytes()].concat();
        running.until("the state was told how far the log is", |running| {
            let state = fs::read(running.dir().join("state-1/db")).unwrap();
            state.windows(told.len()).any(|window| window == told)
        });
        sent.push(running.send("alice", "bob", "the last one"));
        let (folder, options) = running.crashed();
        Sample { _folder: folder, options, sent }
    })
}

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip(u64),
    Cut(u64),
    Page(u64),
}

impl Harm {
    fn happen(self, path: &Path) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        match self {
            Self::Flip(at) => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at).unwrap();
            }
            Self::Cut(at) => file.set_len(at).unwrap(),
            Self::Page(at) => {
                let left = file.metadata().unwrap().len() - at;
                let garbage = vec![0x5A; left.min(PAGE) as usize];
                file.write_all_at(&garbage, at).unwrap();
            }
        }
    }

    /// All of them, or some that are spread evenly.
    fn of(path: &Path, count: u64) -> Vec<Self> {
        let content = fs::read(path).unwrap();
        let used = content.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        let wanted = std::env::var("TIDINGS_DAMAGES").ok().and_then(|count| count.parse().ok());
        let count = wanted.unwrap_or(count);
        let step = |of: u64| (of / count).max(1) as usize;
        let flips = (0..used).step_by(step(used)).map(Self::Flip);
        let cuts = (0..used).step_by(step(used)).map(Self::Cut);
        let pages = (0..used.div_ceil(PAGE)).step_by(step(used / PAGE));
        flips.chain(cuts).chain(pages.map(|page| Self::Page(page * PAGE))).collect()
    }
}

/// What a store makes of a damaged folder.
struct Outcome {
    /// Messages that history has no more.
    lost: Vec<MessageId>,
    /// Messages that wait no more for whom they were for.
    left: Vec<MessageId>,
    /// It says that something is damaged, in words or by its figures.
    is_told: bool,
    damage: Vec<String>,
}

/// Damages a file of the folder, and has a store start on it, twice.
fn outcome(file: &Path, harm: Harm) -> Outcome {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    copy(&sample.options.dir, &dir);
    harm.happen(&dir.join(file));
    let options = Options { dir, ..sample.options.clone() };
    let (tx, rx) = channel();
    let thread = std::thread::spawn(move || tx.send(run(&options, &sample.sent)));
    match rx.recv_timeout(PATIENCE) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => panic!("{} {harm:?}: it is stuck", file.display()),
        Err(RecvTimeoutError::Disconnected) => {
            let _ = thread.join();
            panic!("{} {harm:?}: it panicked", file.display());
        }
    }
}

fn run(options: &Options, sent: &[Sent]) -> Outcome {
    let mut running = Running::open_in(options.clone());
    let damage = running.store.report().damage.clone();
    let of = HistoryOf::Conversation(conversation("alice", "bob"));
    let first: Vec<MessageId> = running.history(&of, 50).iter().map(|found| found.id).collect();
    // The very last one may be one that was never finished.
    let is_whole = sent[..sent.len() - 1].iter().all(|sent| first.contains(&sent.id));
    if !is_whole && damage.is_empty() {
        until_mended(&mut running);
    }
    let history = running.history(&HistoryOf::App, 50);
    assert_eq!(running.history(&of, 50).len(), history.len());
    let found: Vec<MessageId> = history.iter().map(|message| message.id).collect();
    let waiting = running.waiting_ids("bob");
    let all = ids(sent);
    assert!(found.iter().chain(&waiting).all(|id| all.contains(id)), "it makes messages up");
    let missing = |from: &[MessageId]| {
        all.iter().copied().filter(|id| !from.contains(id)).collect::<Vec<_>>()
    };
    let (lost, left) = (missing(&found), missing(&waiting));
    let next = running.send("alice", "bob", "on");
    let last = sent.last().unwrap();
    assert!(next.id > last.id, "an id was given twice");
    let is_reused = next.sequence <= last.sequence && !(lost.contains(&last.id));
    assert!(!is_reused, "a number was given twice: {}", next.sequence);
    let is_told = !damage.is_empty() || running.metrics.damaged_records.get() > 0;
    running.store.close();
    drop(running);
    let mut running = Running::open_in(options.clone());
    assert_eq!(running.store.report().damage, [""; 0], "it is told once");
    assert_eq!(running.send("alice", "bob", "and on").sequence, next.sequence + 1);
    running.store.close();
    Outcome { lost, left, is_told, damage }
}

/// Waits until what was found damaged in a closed segment has been written anew, if it was in one.
fn until_mended(running: &mut Running) {
    let closed = segments_as(running.dir(), &["segment"]);
    running.until("what is left is written anew", |running| {
        let is_whole = |path: &PathBuf| path.exists() && !path.with_extension("open").exists();
        running.metrics.damaged_records.get() > 0 && closed.iter().all(is_whole)
    });
}

/// The files in a part of the sample, from its folder on.
fn files(of: &str) -> Vec<PathBuf> {
    let dir = &sample().options.dir;
    let mut found = Vec::new();
    for path in listing(dir) {
        let inner = if path.is_dir() { listing(&path) } else { vec![path] };
        found.extend(inner.into_iter().filter(|path| path.is_file()));
    }
    let relative = found.iter().map(|path| path.strip_prefix(dir).unwrap().to_owned());
    relative.filter(|path| path.display().to_string().contains(of)).collect()
}

/// Tries the damages of these files; `judge` says what is wrong about what came of one.
fn try_all(of: &str, count: u64, judge: impl Fn(Harm, &Outcome) -> Option<String>) {
    let files = files(of);
    assert!(!files.is_empty());
    let mut complaints = Vec::new();
    let one = std::env::var("TIDINGS_ONE_DAMAGE").ok();
    for file in files {
        for harm in Harm::of(&sample().options.dir.join(&file), count) {
            let name = format!("{} {harm:?}", file.display());
            if one.as_ref().is_some_and(|one| *one != name) {
                continue;
            }
            let outcome = outcome(&file, harm);
            if let Some(complaint) = judge(harm, &outcome) {
                let Outcome { damage, .. } = outcome;
                complaints.push(format!("{name}: {complaint} {damage:?}"));
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Messages that a page can hold, with a record of its own each.
const PAGE_MESSAGES: usize = 16;

#[test]
fn a_damage_of_the_open_segment_costs_what_it_hits() {
    try_all(".open", 8, |harm, Outcome { lost, is_told, .. }| {
        let max = match harm {
            Harm::Flip(_) => 1,
            Harm::Page(_) => PAGE_MESSAGES,
            Harm::Cut(_) => usize::MAX,
        };
        // The very last one may be one that was never finished.
        let last = sample().sent.last().unwrap().id;
        let is_silent = !is_told && lost.iter().any(|id| *id != last);
        (lost.len() > max || is_silent).then(|| format!("lost {lost:?}, told: {is_told}"))
    });
}

#[test]
fn a_damage_of_a_closed_segment_costs_what_it_hits() {
    try_all(".segment", 6, |harm, Outcome { lost, left, is_told, .. }| {
        let max = match harm {
            Harm::Flip(_) => 1,
            Harm::Page(_) => PAGE_MESSAGES,
            Harm::Cut(_) => usize::MAX,
        };
        let is_silent = !is_told && !lost.is_empty();
        // What waits is in the state, too.
        (lost.len() > max || is_silent || !left.is_empty())
            .then(|| format!("lost {lost:?}, left {left:?}, told: {is_told}"))
    });
}

#[test]
fn a_damage_of_the_state_costs_nothing_that_the_log_has() {
    try_all("state-", 8, |_, Outcome { lost, left, .. }| {
        (!lost.is_empty() || !left.is_empty()).then(|| format!("lost {lost:?}, left {left:?}"))
    });
}

#[test]
fn a_damage_of_a_small_file_costs_nothing() {
    try_all("CURRENT", 4, |_, Outcome { lost, left, .. }| {
        (!lost.is_empty() || !left.is_empty()).then(|| format!("lost {lost:?}, left {left:?}"))
    });
}
