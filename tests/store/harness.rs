//! A store on a folder of its own, and what tests do with it.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tidings::clock::Clock;
use tidings::group::Rules;
use tidings::id::{ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId};
use tidings::metrics::Metrics;
use tidings::reason::Reason;
use tidings::store::{
    GroupAction, HistoryOf, Item, Look, Loss, Message, NewMessage, Opened, Opening, Options,
    Outcome, Part, Past, Request, Store,
};
use tokio::runtime::Runtime;

use super::folders::listing;
pub(crate) use super::folders::{child, copy, segments, segments_as};
pub(crate) use super::messages::{conversation, device, new_message, peer, send_number};

/// How long a test waits for what has to come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The longest time between two looks that counts: while all of the process is stopped, nothing
/// can come.
const LOOK_MAX: Duration = Duration::from_millis(500);
pub(crate) const DAY_MS: i64 = 24 * 3600 * 1000;
pub(crate) const MINUTE_MS: i64 = 60_000;
/// The group of the tests, and its conversation.
pub(crate) const GROUP: GroupId = GroupId([7; 12]);
pub(crate) const OF_GROUP: ConversationId = ConversationId::Group(GROUP);

/// What one commit brought, and how many syncs had returned when it was handed out.
pub(crate) struct Batch {
    pub(crate) outcomes: Vec<Outcome<u64>>,
    pub(crate) syncs: u64,
}

/// A store that runs.
pub(crate) struct Running {
    pub(crate) store: Store<u64>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) batches: Receiver<Batch>,
    pub(crate) options: Options,
    runtime: Runtime,
    callers: u64,
    /// Outcomes that nobody asked for.
    pub(crate) unasked: Vec<Outcome<u64>>,
    /// The next send number of each device.
    numbers: HashMap<(PeerId, DeviceId), u64>,
    /// The folder, if it goes with the store.
    folder: Option<TempDir>,
}

/// A message that was acknowledged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sent {
    pub(crate) id: MessageId,
    pub(crate) sequence: u32,
}

/// How long a test has waited.
struct Waiting {
    looked: Instant,
    waited: Duration,
}

impl Waiting {
    fn begin() -> Self {
        Self { looked: Instant::now(), waited: Duration::ZERO }
    }

    /// Whether it has been too long, now that it is looked at once more.
    fn is_in_vain(&mut self) -> bool {
        self.waited += self.looked.elapsed().min(LOOK_MAX);
        self.looked = Instant::now();
        self.waited >= PATIENCE
    }
}

impl Running {
    /// A store on a fresh folder.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// One whose segments close after some commits: as soon as their size is looked at.
    pub(crate) fn with_small_segments() -> Self {
        Self::with(|options| options.segment_bytes_max = 1)
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(folder.path().join("data"));
        change(&mut options);
        Self { folder: Some(folder), ..Self::open_in(options) }
    }

    pub(crate) fn open_in(options: Options) -> Self {
        let metrics = Arc::new(Metrics::new());
        let (batches_tx, batches) = channel();
        let counted = metrics.clone();
        let hand_out = move |outcomes: Vec<Outcome<u64>>, _| {
            let syncs = counted.syncs.get();
            // A test that has ended wants nothing more.
            let _ = batches_tx.send(Batch { outcomes, syncs });
        };
        let mut opening = Waiting::begin();
        let store = loop {
            match Store::open(options.clone(), metrics.clone(), hand_out.clone()) {
                Ok(store) => break store,
                // A store that was dropped stops a little later.
                Err(error) if !opening.is_in_vain() => {
                    assert!(error.to_string().contains("another server"), "{error}");
                    std::thread::yield_now();
                }
                Err(error) => panic!("{error}"),
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (callers, numbers) = (0, HashMap::new());
        let mut running = Self {
            store,
            metrics,
            batches,
            options,
            runtime,
            callers,
            unasked: Vec::new(),
            numbers,
            folder: None,
        };
        // The start is committed, so the clock may be stepped.
        running.commit_something();
        running
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.options.dir
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.options.clock
    }

    /// Steps the clock; what is submitted from now on is taken at the later time.
    pub(crate) fn step(&mut self, ms: i64) {
        self.clock().step_ms(ms);
        // A commit that began before the step may still take what comes.
        self.commit_something();
    }

    /// Stops in good order and starts again.
    pub(crate) fn restart(mut self) -> Self {
        self.store.close();
        let (folder, numbers) = (self.folder.take(), std::mem::take(&mut self.numbers));
        let options = self.options.clone();
        drop(self);
        Self { folder, numbers, ..Self::open_in(options) }
    }

    /// What a crash at this moment leaves.
    pub(crate) fn crashed(&self) -> (TempDir, Options) {
        loop {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("data");
            // A segment that becomes a file meanwhile would be missing: a crash takes one moment.
            let before = listing(&self.dir().join("log"));
            copy(self.dir(), &dir);
            if listing(&self.dir().join("log")) == before {
                return (folder, Options { dir, ..self.options.clone() });
            }
        }
    }

    /// Starts again on what a crash at this moment leaves.
    pub(crate) fn crash(mut self) -> Self {
        let (folder, options) = self.crashed();
        let numbers = std::mem::take(&mut self.numbers);
        Self { folder: Some(folder), numbers, ..Self::open_in(options) }
    }

    pub(crate) fn submit(&mut self, request: Request) -> u64 {
        self.callers += 1;
        let caller = self.callers;
        self.runtime.block_on(self.store.submit(Some(caller), request)).unwrap();
        caller
    }

    pub(crate) fn block_on<R>(&self, future: impl Future<Output = R>) -> R {
        self.runtime.block_on(future)
    }

    /// The outcomes of these callers, in their order.
    pub(crate) fn outcomes(&mut self, callers: &[u64]) -> Vec<Outcome<u64>> {
        let mut found = BTreeMap::new();
        let mut waiting = Waiting::begin();
        while found.len() < callers.len() {
            match self.batches.recv_timeout(LOOK_MAX / 2) {
                Ok(batch) => {
                    for outcome in batch.outcomes {
                        match caller_of(&outcome) {
                            Some(caller) => drop(found.insert(caller, outcome)),
                            None => self.unasked.push(outcome),
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if !waiting.is_in_vain() => {}
                Err(error) => panic!("no outcome in {PATIENCE:?}: {error}"),
            }
        }
        assert!(found.keys().copied().eq(callers.iter().copied()));
        found.into_values().collect()
    }

    pub(crate) fn outcome(&mut self, request: Request) -> Outcome<u64> {
        let caller = self.submit(request);
        self.outcomes(&[caller]).pop().unwrap()
    }

    fn number(&mut self, from: &str) -> u64 {
        let number = self.numbers.entry((peer(from), device("d"))).or_default();
        *number += 1;
        *number
    }

    /// Sends one message after the other, without waiting between them.
    pub(crate) fn send_all(&mut self, from: &str, to: &str, bodies: &[Vec<u8>]) -> Vec<Sent> {
        let mut callers = Vec::new();
        for body in bodies {
            let number = self.number(from);
            callers.push(self.submit(Request::Message(new_message(from, to, number, body))));
        }
        self.outcomes(&callers).iter().map(sent).collect()
    }

    /// Sends so many small messages, numbered.
    pub(crate) fn send_many(&mut self, from: &str, to: &str, count: usize) -> Vec<Sent> {
        let bodies: Vec<Vec<u8>> =
            (0..count).map(|index| format!("{from}>{to} {index}").into_bytes()).collect();
        self.send_all(from, to, &bodies)
    }

    pub(crate) fn send(&mut self, from: &str, to: &str, body: &str) -> Sent {
        self.send_all(from, to, &[body.as_bytes().to_vec()]).pop().unwrap()
    }

    /// Sends under a number of one's own choice.
    pub(crate) fn send_as(&mut self, number: u64, body: &str) -> Outcome<u64> {
        self.outcome(Request::Message(new_message("alice", "bob", number, body.as_bytes())))
    }

    pub(crate) fn open(&mut self, who: &str, on: &str) -> Opened {
        self.open_at(who, on, MessageId::NONE)
    }

    pub(crate) fn open_at(&mut self, who: &str, on: &str, cursor: MessageId) -> Opened {
        let opening = Opening {
            peer: peer(who),
            device: device(on),
            flag: DeviceFlag::App,
            instance: 1,
            client: "test".to_owned(),
            address: "192.0.2.7:4000".to_owned(),
            cursor,
        };
        match self.outcome(Request::Open(opening)) {
            Outcome::Opened { opened, .. } => opened,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn end(&mut self, who: &str, on: &str, session: SessionId, closed: bool) {
        let end = Request::End { peer: peer(who), device: device(on), session, closed };
        assert!(matches!(self.outcome(end), Outcome::Closed { .. }));
    }

    /// Acknowledges, and waits until that is durable.
    pub(crate) fn ack(&mut self, who: &str, on: &str, id: MessageId) {
        let ack = Request::Ack { peer: peer(who), device: device(on), id };
        self.block_on(self.store.submit(None, ack)).unwrap();
        self.commit_something();
    }

    /// Has a commit made, with all that waited for company.
    pub(crate) fn commit_something(&mut self) {
        // One that no run of any process has used.
        let nonce = format!("{} {:?}", std::process::id(), Instant::now());
        let expires_ms = self.clock().now_ms();
        assert_eq!(self.nonce("nobody", &nonce, expires_ms), None);
    }

    /// All that waits for a peer, read in pages, and what of it is nowhere any more.
    pub(crate) fn inbox(&self, who: &str) -> (Vec<Item>, Loss) {
        let (mut all, mut loss, mut after) = (Vec::new(), Loss::default(), MessageId::NONE);
        loop {
            let page = self.block_on(self.store.waiting(&peer(who), None, after, 7)).unwrap();
            all.extend(page.items);
            loss = Loss { count: loss.count + page.loss.count, id: loss.id.max(page.loss.id) };
            after = page.last;
            if page.is_all {
                return (all, loss);
            }
        }
    }

    /// The messages that wait for a peer.
    pub(crate) fn waiting(&self, who: &str) -> Vec<Message> {
        let message = |item| match item {
            Item::Message(message) => Some((*message).clone()),
            Item::Notice(_) => None,
        };
        self.inbox(who).0.into_iter().filter_map(message).collect()
    }

    pub(crate) fn waiting_ids(&self, who: &str) -> Vec<MessageId> {
        self.waiting(who).iter().map(|message| message.id).collect()
    }

    /// A history, newest first, read in pages.
    pub(crate) fn past(&self, of: &HistoryOf, page: usize) -> Vec<Past> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let asked = Look { before, max: page, ..look(of) };
            let found = self.block_on(self.store.history(asked)).unwrap();
            all.extend(found.messages);
            let Some(next) = found.next else { return all };
            before = Some(next);
        }
    }

    /// The messages of a history.
    pub(crate) fn history(&self, of: &HistoryOf, page: usize) -> Vec<Message> {
        self.past(of, page).into_iter().map(|past| past.message).collect()
    }

    /// Asks for a group to change.
    pub(crate) fn group(&mut self, by: &str, action: GroupAction) -> Outcome<u64> {
        self.outcome(Request::Group { group: GROUP, by: Some(peer(by)), action })
    }

    /// A group of these, the first of whom creates it.
    pub(crate) fn create_group(&mut self, names: &[&str]) {
        let members = names.iter().map(|name| peer(name)).collect();
        let (rules, metadata) = (Rules::default(), Bytes::new());
        let action = GroupAction::Create { open: false, rules, metadata, members };
        let created = self.group(names[0], action);
        assert!(matches!(created, Outcome::Grouped { told: Some(_), .. }), "{created:?}");
    }

    pub(crate) fn members(&self) -> Vec<String> {
        let group = self.block_on(self.store.group(GROUP)).unwrap();
        group.iter().flat_map(|group| group.members()).map(ToString::to_string).collect()
    }

    /// Asks to send a message to the group.
    pub(crate) fn ask_to_send_to_group(&mut self, from: &str, body: &[u8]) -> Outcome<u64> {
        let number = self.number(from);
        let message = NewMessage {
            conversation: ConversationId::Group(GROUP),
            to: Vec::new(),
            ..new_message(from, from, number, body)
        };
        self.outcome(Request::Message(message))
    }

    pub(crate) fn send_to_group(&mut self, from: &str, body: &str) -> Sent {
        sent(&self.ask_to_send_to_group(from, body.as_bytes()))
    }

    /// Sends a message that asks for a receipt.
    pub(crate) fn send_with_receipt(&mut self, from: &str, to: &str, ttl_ms: i64) -> Sent {
        let number = self.number(from);
        let message = new_message(from, to, number, b"with receipt");
        let outcome =
            self.outcome(Request::Message(NewMessage { receipt: true, ttl_ms, ..message }));
        sent(&outcome)
    }

    pub(crate) fn recall(&mut self, by: &str, id: MessageId) -> Outcome<u64> {
        let message = self.block_on(self.store.message(id)).unwrap().unwrap();
        self.outcome(Request::Recall { message, by: Some(peer(by)) })
    }

    pub(crate) fn read(&mut self, who: &str, of: ConversationId, sequence: u32) -> Outcome<u64> {
        self.outcome(Request::Read { peer: peer(who), conversation: of, sequence })
    }

    /// A peer's part in a conversation, if it has one.
    pub(crate) fn part(&self, who: &str, of: ConversationId) -> Option<Part> {
        let (page, _) = self.block_on(self.store.conversations(&peer(who), None, 40)).unwrap();
        page.into_iter().find(|(conversation, _)| *conversation == of).map(|(_, part)| part)
    }

    /// Uses a nonce; says why not.
    pub(crate) fn nonce(&mut self, who: &str, nonce: &str, expires_ms: i64) -> Option<Reason> {
        let nonce = Bytes::copy_from_slice(nonce.as_bytes());
        refusal(&self.outcome(Request::Nonce { peer: peer(who), nonce, expires_ms }))
    }

    /// Waits until what is asked for is so.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&mut Self) -> bool) {
        let mut waiting = Waiting::begin();
        while !is_so(self) {
            assert!(!waiting.is_in_vain(), "waited in vain: {what}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits until everything unacknowledged has settled, two seconds of the clock from now.
    pub(crate) fn settle(&mut self) {
        self.step(2_001);
        self.until("settled", |running| {
            running.commit_something();
            running.metrics.tail_bytes.get() == 0
        });
    }

    /// The log's segments, oldest first: their paths without an extension.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        segments(self.dir())
    }

    /// Waits until all segments but the open one, and the one made ready, are files; says which.
    pub(crate) fn until_closed(&mut self) -> Vec<PathBuf> {
        // So that the open one has a record.
        self.commit_something();
        self.until("a file of each closed segment", |running| {
            let segments = segments_as(running.dir(), &["open"]);
            // Until the next one is made ready, one that closes and the open one are two as well.
            let [open, next] = &segments[..] else { return false };
            running.has_records(open) && !running.has_records(next)
        });
        segments_as(self.dir(), &["segment"])
    }

    /// Whether a segment has records: each names the epoch, and the first stands near the start.
    fn has_records(&self, segment: &Path) -> bool {
        let mut start = vec![0; 64 * 1024];
        let file = File::open(segment);
        let read = file.and_then(|mut file| file.read(&mut start)).unwrap_or(0);
        let epoch = self.store.epoch().to_le_bytes();
        start[..read].windows(epoch.len()).any(|window| window == epoch)
    }
}

/// Asks for all of a history in one page.
pub(crate) fn look(of: &HistoryOf) -> Look {
    let (max, bytes_max) = (1_000, usize::MAX);
    Look { of: of.clone(), before: None, since_ms: None, until_ms: None, max, bytes_max }
}

pub(crate) fn ids(sent: &[Sent]) -> Vec<MessageId> {
    sent.iter().map(|sent| sent.id).collect()
}

pub(crate) fn sent(outcome: &Outcome<u64>) -> Sent {
    match outcome {
        Outcome::Stored { message, .. } => Sent { id: message.id, sequence: message.sequence },
        other => panic!("not stored: {other:?}"),
    }
}

pub(crate) fn refusal(outcome: &Outcome<u64>) -> Option<Reason> {
    match outcome {
        Outcome::Refused { reason, .. } => Some(*reason),
        _ => None,
    }
}

fn caller_of(outcome: &Outcome<u64>) -> Option<u64> {
    match outcome {
        Outcome::Stored { caller, .. }
        | Outcome::Marked { caller, .. }
        | Outcome::Grouped { caller, .. }
        | Outcome::Told { caller, .. }
        | Outcome::Blocked { caller, .. }
        | Outcome::UpstreamStored { caller, .. } => *caller,
        Outcome::Repeated { caller, .. }
        | Outcome::Refused { caller, .. }
        | Outcome::Opened { caller, .. }
        | Outcome::Closed { caller }
        | Outcome::Noted { caller } => Some(*caller),
        Outcome::Overflowed { .. } => None,
    }
}
