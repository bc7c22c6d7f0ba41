//! The sample folder whose files are damaged one at a time, and what a store makes of it then.
//!
//! # Invariants
//!
//! * A message has a record of its own, so that what one damage may cost is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::Duration;

use tidings::id::{Alias, EndpointId, MessageId};
use tidings::store::{
    AliasChange, EndpointChange, Findings, HistoryOf, Journal, Letter, Options, Outcome as Answer,
    Position, Request, fsck,
};

use super::folders::{copy, listing, segments_as};
use super::harms::{Content, Harm, Stored};
use super::harness::{Running, Sent, conversation, device, ids, peer};

/// Says where a sample lies that another process has made.
pub(crate) const SAMPLE: &str = "TIDINGS_SAMPLE";
/// How long a store may take that is neither fast nor stuck.
const PATIENCE: Duration = Duration::from_secs(300);
/// `fsck` is asked about the changed bytes and the cuts at every so many bytes of a file.
const LOOKED_AT: u64 = 16;
/// How far the clock is stepped while a sample is made, and further.
const STEPPED_MS: i64 = 10_000;

/// A folder with closed segments, an open one and a state, and what was stored in it.
pub(crate) struct Sample {
    pub(crate) files: Vec<(PathBuf, Content)>,
    pub(crate) sent: Vec<Sent>,
}

/// The one that the environment names, or else one of its own.
pub(crate) fn sample() -> &'static Sample {
    static MADE: OnceLock<Sample> = OnceLock::new();
    MADE.get_or_init(|| match std::env::var_os(SAMPLE) {
        Some(folder) => Sample::read(Path::new(&folder)),
        None => {
            let folder = tempfile::tempdir().unwrap();
            make(folder.path());
            Sample::read(folder.path())
        }
    })
}

/// Makes one in a folder, beside a list of what was stored in it.
pub(crate) fn make(folder: &Path) {
    let mut running = Running::new();
    let mut sent = Vec::new();
    keep(&mut running);
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
    let (_crashed, options) = running.crashed();
    copy(&options.dir, &folder.join("data"));
    let lines = sent.iter().map(|sent| format!("{} {}\n", sent.id.0, sent.sequence));
    fs::write(folder.join("sent"), lines.collect::<String>()).unwrap();
}

/// Stores one of each other thing that has a row of its own in the state.
fn keep(running: &mut Running) {
    running.create_group(&["alice", "dan"]);
    running.open("erin", "phone");
    let change = AliasChange::Bind { alias: Alias::new("red").unwrap(), device: device("phone") };
    let bound = running.outcome(Request::Alias { change, by: None });
    assert!(matches!(bound, Answer::Noted { .. }), "{bound:?}");
    let recalled = running.send("carol", "dan", "taken back");
    running.recall("carol", recalled.id);
    running.send("carol", "dan", "read");
    running.read("dan", conversation("carol", "dan"), 2);
    let letter = letter(recalled.id);
    for change in [EndpointChange::Began { after: MessageId::NONE }, EndpointChange::Kept(letter)] {
        running.block_on(running.store.note(shop(), change)).unwrap();
    }
}

/// Asserts that what [`keep`] has stored is there. It is in the state and in a closed segment.
fn assert_kept(running: &Running) {
    assert_eq!(running.members(), ["alice", "dan"], "who is in the group");
    let routes = running.block_on(running.store.alias(&Alias::new("red").unwrap())).unwrap();
    let devices: Vec<_> = routes.into_iter().map(|route| route.device).collect();
    assert_eq!(devices, [device("phone")], "who has the alias");
    let past = running.past(&HistoryOf::Sender(peer("carol")), 10);
    let mut of_carol = past.iter().map(|past| (past.message.sequence, past.recalled));
    assert!(of_carol.all(|found| [(1, true), (2, false)].contains(&found)), "what is recalled");
    let part = running.part("dan", conversation("carol", "dan"));
    assert_eq!(part.map(|part| part.read()), Some(2), "what dan has read");
    assert!(running.block_on(running.store.endpoint(shop())).unwrap().is_some(), "an endpoint");
    let (letters, _) = running.block_on(running.store.letters(shop(), None, 2)).unwrap();
    let of = |letter: &Letter| (letter.event.clone(), letter.body.len());
    assert_eq!(letters.iter().map(of).collect::<Vec<_>>(), [("event".to_owned(), 100)]);
}

fn shop() -> EndpointId {
    EndpointId::new("shop").unwrap()
}

fn letter(entry: MessageId) -> Letter {
    Letter {
        position: Position { entry, part: 0 },
        event: "event".to_owned(),
        kind: "message.sent".to_owned(),
        at_ms: tidings::clock::Clock::system().now_ms(),
        status: 400,
        why: "refused".to_owned(),
        tries: 1,
        request: "request".to_owned(),
        query: String::new(),
        body: vec![b'x'; 100].into(),
    }
}

impl Sample {
    pub(crate) fn read(folder: &Path) -> Self {
        let list = fs::read_to_string(folder.join("sent")).unwrap();
        let one = |line: &str| {
            let (id, sequence) = line.split_once(' ').unwrap();
            Sent { id: MessageId(id.parse().unwrap()), sequence: sequence.parse().unwrap() }
        };
        let sent = list.lines().map(one).collect();
        let data = folder.join("data");
        let inner = listing(&data).into_iter().flat_map(|path| match path.is_dir() {
            true => listing(&path),
            false => vec![path],
        });
        let file = |path: PathBuf| (path.strip_prefix(&data).unwrap().into(), Content::of(&path));
        let files = inner.filter(|path| path.is_file()).map(file).collect();
        Self { files, sent }
    }

    pub(crate) fn content(&self, name: &Path) -> &Content {
        &self.files.iter().find(|(file, _)| file == name).unwrap().1
    }

    pub(crate) fn last(&self) -> MessageId {
        self.sent.last().unwrap().id
    }

    /// The messages whose record in a file is hit.
    pub(crate) fn hit(&self, name: &Path, harm: Harm) -> Vec<MessageId> {
        let records = self.hit_records(name, harm);
        let is_hit = |id: &MessageId| records.iter().any(|record| record.ids.contains(&id.0));
        ids(&self.sent).into_iter().filter(is_hit).collect()
    }

    /// The records of a file that are hit.
    pub(crate) fn hit_records(&self, name: &Path, harm: Harm) -> Vec<Stored> {
        let reach = harm.reach();
        let mut records = self.content(name).records(name);
        records.retain(|record| record.at.start < reach.end && record.at.end > reach.start);
        records
    }

    /// Writes it with one file damaged.
    fn write(&self, dir: &Path, name: &Path, harm: Harm) {
        for (file, content) in &self.files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if file == name {
                let mut content = content.clone();
                harm.happen(&mut content);
                content.write(&path);
            } else {
                content.write(&path);
            }
        }
    }
}

/// What a store makes of a damaged folder.
pub(crate) struct Outcome {
    /// Messages that history has no more.
    pub(crate) lost: Vec<MessageId>,
    /// Messages that wait no more for whom they were for.
    pub(crate) left: Vec<MessageId>,
    /// It says that something is damaged, in words or by its figures.
    pub(crate) is_told: bool,
    pub(crate) damage: Vec<String>,
    /// What `fsck` said before the start, where it was asked.
    pub(crate) seen: Option<Findings>,
}

/// Damages a file of the sample, and has a store start on it, twice; why that failed, if it did.
pub(crate) fn outcome(name: &Path, harm: Harm) -> Result<Outcome, &'static str> {
    let sample = sample();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("data");
    sample.write(&dir, name, harm);
    let options = Options::new(dir);
    options.clock.step_ms(STEPPED_MS);
    let is_looked_at = match harm {
        Harm::Flip(at) | Harm::Cut(at) => at % LOOKED_AT == 0,
        Harm::Page(_) | Harm::Record(..) => true,
    };
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        let seen = is_looked_at.then(|| fsck(&options.dir, &mut |_, _| {}).unwrap());
        // Who waited for it is gone if it took too long.
        let _ = tx.send(Outcome { seen, ..run(&options, &sample.sent) });
    });
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    rx.recv_timeout(PATIENCE).map_err(|error| match error {
        Timeout => "it is stuck",
        Disconnected => "it panicked",
    })
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
    let mut history = running.history(&HistoryOf::App, 50);
    history.retain(|message| message.from == peer("alice"));
    assert_eq!(running.history(&of, 50).len(), history.len());
    let found: Vec<MessageId> = history.iter().map(|message| message.id).collect();
    let waiting = running.waiting_ids("bob");
    let all = ids(sent);
    assert!(found.iter().chain(&waiting).all(|id| all.contains(id)), "it makes messages up");
    let missing = |from: &[MessageId]| {
        all.iter().copied().filter(|id| !from.contains(id)).collect::<Vec<_>>()
    };
    let (lost, left) = (missing(&found), missing(&waiting));
    assert_kept(&running);
    let next = running.send("alice", "bob", "on");
    let last = sent.last().unwrap();
    assert!(next.id > last.id, "an id was given twice");
    let is_reused = next.sequence <= last.sequence && !(lost.contains(&last.id));
    assert!(!is_reused, "a number was given twice: {}", next.sequence);
    let counted = running.metrics.damaged_records.get();
    assert!(counted >= damage.len() as u64, "{counted} of {damage:?} are counted");
    let is_told = !damage.is_empty() || counted > 0;
    running.store.close();
    drop(running);
    let mut running = Running::open_in(options.clone());
    assert_eq!(running.store.report().damage, [""; 0], "it is told once");
    assert_eq!(running.send("alice", "bob", "and on").sequence, next.sequence + 1);
    running.store.close();
    Outcome { lost, left, is_told, damage, seen: None }
}

/// Waits until what was found damaged in a closed segment has been written anew, if it was in one.
fn until_mended(running: &mut Running) {
    let closed = segments_as(running.dir(), &["segment"]);
    running.until("what is left is written anew", |running| {
        let is_whole = |path: &PathBuf| path.exists() && !path.with_extension("open").exists();
        running.metrics.damaged_records.get() > 0 && closed.iter().all(is_whole)
    });
}
