//! The server and its clients, and what may happen to them, held to the model step by step.
//!
//! The server is a hub with a store on a folder in memory, if the system has one: what a disk may
//! do is for other tests to try. A crash takes what lies in the folder at that moment.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tempfile::TempDir;
use tidings::group::Rules;
use tidings::hub::{self, Datagrams, Hub};
use tidings::id::{ConversationId, GroupId, MessageId};
use tidings::metrics::Metrics;
use tidings::store::{self, GroupAction, HistoryOf, Item, Look, News, Past};
use tidings::wire::{Ack, ClientFrame, Close, ReadUpTo, Recall, Target};
use tokio::runtime::Runtime;

use crate::checks::is_in;
use crate::client::{Client, Sending, peer};
use crate::folders::{copy, listing};
use crate::model::{AWAY_AFTER_MS, Model, Stored, WINDOW};

pub(crate) const PEERS: [&str; 3] = ["ann", "bob", "cat"];
const DEVICES: [&str; 2] = ["phone", "laptop"];
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Steps of one run.
const STEPS: std::ops::Range<usize> = 10..40;
/// More than an outbox holds, sent in parts of a few.
const FLOOD: usize = 260;
const PART: usize = 26;

struct NoDatagrams;

impl Datagrams for NoDatagrams {
    fn send(&self, _: &[u8]) -> bool {
        false
    }
}

/// All that is simulated.
pub(crate) struct World {
    rng: Rng,
    pub(crate) runtime: Runtime,
    /// There but while the server starts again.
    pub(crate) hub: Option<Hub>,
    metrics: Arc<Metrics>,
    options: store::Options,
    folder: TempDir,
    group: GroupId,
    pub(crate) model: Model,
    pub(crate) clients: Vec<Client>,
    /// The last message that the model knows of.
    learned: i64,
}

fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    folder.unwrap()
}

/// Opens a hub; one that was dropped stops a little later.
fn open(options: &store::Options, metrics: &Arc<Metrics>) -> Hub {
    let began = Instant::now();
    loop {
        match Hub::open(hub::Options::default(), options.clone(), metrics.clone()) {
            Ok(hub) => return hub,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        std::thread::yield_now();
    }
}

/// Runs one seed from its beginning to its end.
pub(crate) fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..world.rng.usize(STEPS) {
        world.step();
    }
    world.finish();
}

impl World {
    fn new(seed: u64) -> Self {
        let (folder, metrics) = (folder(), Arc::new(Metrics::new()));
        let options = store::Options {
            window_messages: WINDOW,
            away_after: Duration::from_millis(AWAY_AFTER_MS as u64),
            ..store::Options::new(folder.path().join("data"))
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hub = open(&options, &metrics);
        let action = GroupAction::Create {
            open: false,
            rules: Rules::default(),
            metadata: Default::default(),
            members: PEERS.map(peer).to_vec(),
        };
        let group = runtime.block_on(hub.create_group(action)).unwrap().id;
        let clients = PEERS.iter().flat_map(|peer| DEVICES.map(|on| Client::new(peer, on)));
        let mut world = Self {
            rng: Rng::with_seed(seed),
            clients: clients.collect(),
            model: Model::default(),
            learned: 0,
            runtime,
            hub: Some(hub),
            metrics,
            options,
            folder,
            group,
        };
        for name in PEERS {
            let (now_ms, waiting) = (world.now_ms(), world.waiting(name));
            let inbox = world.model.inboxes.entry(name).or_default();
            waiting.into_iter().for_each(|id| inbox.deliver(id, now_ms));
        }
        world
    }

    pub(crate) fn hub(&self) -> &Hub {
        self.hub.as_ref().unwrap()
    }

    fn now_ms(&self) -> i64 {
        self.options.clock.now_ms()
    }

    fn step(&mut self) {
        // Who does not read at all is not read from any more, and could ask for nothing.
        for at in 0..self.clients.len() {
            if self.clients[at].live.as_ref().is_some_and(|live| live.unread() > PART) {
                self.read(at);
            }
        }
        let at = self.rng.usize(..self.clients.len());
        let is_open = self.clients[at].live.as_ref().is_some_and(|live| !live.is_over);
        match self.rng.u32(..100) {
            0..26 => self.burst(),
            26..44 if !is_open || self.rng.u32(..4) == 0 => self.open(at),
            44..66 => {
                self.read(at);
                if self.rng.u32(..3) > 0 {
                    self.acknowledge(at);
                }
            }
            66..70 if is_open => self.end(at, false),
            70..72 if is_open => self.end(at, true),
            72..76 if is_open => self.recall(at),
            76..80 if is_open => self.read_up_to(at),
            80..85 => self.wait(),
            85..90 => self.settle(),
            90..92 => self.restart(),
            92..99 => self.crash(),
            99 if is_open => self.flood(at),
            _ => {}
        }
        self.compare();
    }

    /// Does what a client asks for, and all that was asked for before.
    pub(crate) fn handle(&mut self, at: usize, frame: impl Into<ClientFrame>) {
        let session = self.clients[at].live.as_ref().unwrap().session.clone();
        self.runtime.block_on(self.hub().handle(&session, frame.into())).unwrap();
    }

    /// Waits until all that was asked for is on stable storage and told.
    pub(crate) fn barrier(&mut self) {
        self.runtime.block_on(self.hub().block(peer("nobody"), false)).unwrap();
    }

    /// Several clients send several messages, some of them twice, and nobody waits for an answer.
    fn throw(&mut self) {
        for _ in 0..self.rng.usize(1..6) {
            let at = self.rng.usize(..self.clients.len());
            if self.clients[at].live.as_ref().is_none_or(|live| live.is_over) {
                continue;
            }
            let old: Vec<u64> = self.clients[at].sends.keys().rev().take(90).copied().collect();
            if !old.is_empty() && self.rng.u32(..4) == 0 {
                let (number, wrong) = (self.rng.choice(old).unwrap(), self.rng.u32(..4) == 0);
                // A number that nothing was stored for yet may be used for anything.
                let wrong = wrong && self.clients[at].sends[&number].answer.is_some();
                let again = self.clients[at].send(number, wrong);
                self.handle(at, again);
            } else {
                self.send(at);
            }
        }
    }

    fn send(&mut self, at: usize) {
        let to = self.target(self.clients[at].peer);
        let client = &mut self.clients[at];
        let number = client.sends.last_key_value().map_or(0, |(number, _)| *number) + 1;
        let body = format!("{} {} {number}", client.peer, client.device);
        client.sends.insert(number, Sending { to, body, answer: None });
        let send = client.send(number, false);
        self.handle(at, send);
    }

    /// One of the others, both, or the group.
    fn target(&mut self, from: &str) -> Target {
        let mut others: Vec<_> = PEERS.into_iter().filter(|name| *name != from).map(peer).collect();
        match self.rng.u32(..4) {
            0 => Target::Group(self.group),
            1 => Target::Peers(others),
            _ => Target::Peers(vec![others.swap_remove(self.rng.usize(..2))]),
        }
    }

    fn burst(&mut self) {
        self.throw();
        self.barrier();
        self.learn(i64::MAX);
    }

    fn flood(&mut self, at: usize) {
        for _ in 0..FLOOD / PART {
            (0..PART).for_each(|_| self.send(at));
            self.barrier();
            self.learn(i64::MAX);
            self.read(at);
        }
    }

    /// What was stored since: up to an id it came before whatever has that id.
    fn learn(&mut self, before: i64) {
        let mut fresh = self.history(self.learned);
        fresh.retain(|past| past.message.id.0 < before);
        for Past { message, .. } in fresh.into_iter().rev() {
            let from = PEERS.into_iter().find(|name| message.from == peer(name)).unwrap();
            let to: Vec<&str> = match message.conversation {
                ConversationId::Group(_) => {
                    PEERS.into_iter().filter(|name| *name != from).collect()
                }
                ConversationId::Peers(_) => {
                    PEERS.into_iter().filter(|name| message.to.contains(&peer(name))).collect()
                }
            };
            let stored = Stored {
                sequence: message.sequence,
                conversation: message.conversation,
                from,
                body: String::from_utf8(message.body.to_vec()).unwrap(),
                at_ms: message.at_ms,
                recalled: None,
            };
            self.learned = message.id.0;
            self.model.store(message.id.0, stored, &to);
            for client in &mut self.clients {
                if to.contains(&client.peer) {
                    client.is_due(message.id.0);
                } else if client.peer == from {
                    client.may_be_echoed();
                }
            }
        }
    }

    /// The messages behind an id, newest first.
    pub(crate) fn history(&self, behind: i64) -> Vec<Past> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let (since_ms, until_ms) = (None, None);
            let (of, max, bytes_max) = (HistoryOf::App, 500, usize::MAX);
            let look = Look { of, before, since_ms, until_ms, max, bytes_max };
            let page = self.runtime.block_on(self.hub().store().history(look)).unwrap();
            let is_enough = page.messages.iter().any(|past| past.message.id.0 <= behind);
            all.extend(page.messages.into_iter().filter(|past| past.message.id.0 > behind));
            before = page.next;
            if before.is_none() || is_enough {
                return all;
            }
        }
    }

    /// Opens a session, perhaps in the place of one that has said something a moment ago, and says
    /// again what was not answered.
    pub(crate) fn open(&mut self, at: usize) {
        if self.rng.bool() {
            self.throw();
        }
        let open = self.clients[at].opening();
        let address = ([127, 0, 0, 1], 1).into();
        let session = self.runtime.block_on(async {
            let prepared = self.hub().prepare(open, address, Box::new(NoDatagrams)).await.unwrap();
            self.hub().open_session(prepared).await.unwrap()
        });
        if let Some(older) = self.clients[at].live.take() {
            self.runtime.block_on(self.hub().end_session(&older.session));
        }
        self.learn(session.id().unwrap().0);
        let client = &mut self.clients[at];
        let inbox = self.model.inboxes.entry(client.peer).or_default();
        let (waiting, lost) = inbox.open(client.device, client.cursor);
        client.opened(session, waiting, lost);
        for number in self.clients[at].unanswered() {
            let again = self.clients[at].send(number, false);
            self.handle(at, again);
        }
        self.barrier();
        self.learn(i64::MAX);
    }

    pub(crate) fn read(&mut self, at: usize) {
        self.runtime.block_on(self.clients[at].read(self.hub.as_ref().unwrap(), &self.model));
        if self.clients[at].live.as_ref().is_some_and(|live| live.is_over) {
            self.clients[at].live = None;
        }
    }

    fn acknowledge(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(live) = client.live.as_ref().filter(|live| !live.is_over) else { return };
        let had: Vec<i64> = client.newest.keys().rev().take(3).copied().collect();
        let Some(id) = self.rng.choice(had).filter(|_| client.cursor > 0) else { return };
        // An older session may have been put what this one has not.
        let is_put = live.put() >= id;
        if is_put {
            let (peer, device) = (client.peer, client.device);
            self.handle(at, Ack { id: MessageId(id) });
            self.barrier();
            self.model.inboxes.get_mut(peer).unwrap().acknowledge(device, id);
        }
    }

    fn end(&mut self, at: usize, closed: bool) {
        if closed {
            let request = self.clients[at].request();
            self.handle(at, Close { request });
        }
        let client = &mut self.clients[at];
        let (live, name, on) = (client.live.take().unwrap(), client.peer, client.device);
        self.runtime.block_on(self.hub().end_session(&live.session));
        self.barrier();
        let now_ms = self.now_ms();
        self.model.inboxes.get_mut(name).unwrap().end(on, closed, now_ms);
    }

    /// Takes a message back that was sent a moment ago.
    fn recall(&mut self, at: usize) {
        let (name, now_ms) = (self.clients[at].peer, self.now_ms());
        let mine = self.model.messages.iter().rev().take(20);
        let mine = mine.filter(|(_, stored)| stored.from == name && now_ms - stored.at_ms < 60_000);
        let Some(id) = self.rng.choice(mine.map(|(id, _)| *id).collect::<Vec<_>>()) else { return };
        let request = self.clients[at].request();
        self.handle(at, Recall { request, message: MessageId(id) });
        self.barrier();
        if self.model.messages[&id].recalled.is_some() {
            return;
        }
        let notice = self.notice(name, id);
        let stored = self.model.messages.get_mut(&id).unwrap();
        stored.recalled = Some(notice);
        let conversation = stored.conversation;
        for name in PEERS.into_iter().filter(|name| is_in(name, conversation)) {
            let inbox = self.model.inboxes.entry(name).or_default();
            inbox.recall(id);
            inbox.deliver(notice, now_ms);
            let hears = self.clients.iter_mut().filter(|client| client.peer == name);
            hears.for_each(|client| client.is_due(notice));
        }
    }

    /// The id of the notice that a message was taken back.
    fn notice(&self, name: &str, id: i64) -> i64 {
        let items = self.items(name);
        let is_of = |item: &&Item| match item {
            Item::Notice(notice) => {
                matches!(notice.news, News::Recalled(message, _) if message.0 == id)
            }
            Item::Message(_) => false,
        };
        items.iter().find(is_of).unwrap_or_else(|| panic!("nobody tells {name}")).id().0
    }

    /// A peer has read one of the conversations that it has something of.
    fn read_up_to(&mut self, at: usize) {
        let had: Vec<_> = self.clients[at].newest.values().copied().collect();
        let Some((conversation, sequence)) = self.rng.choice(had) else { return };
        let request = self.clients[at].request();
        self.handle(at, ReadUpTo { request, conversation, sequence });
        self.barrier();
        let name = self.clients[at].peer;
        let read = self.model.read.entry((conversation, name)).or_default();
        *read = (*read).max(sequence);
    }

    fn wait(&mut self) {
        let ms = self.rng.choice([1_000, AWAY_AFTER_MS / 2, AWAY_AFTER_MS]).unwrap();
        self.options.clock.step_ms(ms);
        self.barrier();
    }

    /// Has everything settle that has not been acknowledged.
    fn settle(&mut self) {
        self.options.clock.step_ms(2_001);
        let began = Instant::now();
        loop {
            self.barrier();
            if self.metrics.tail_bytes.get() == 0 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "what waits does not settle");
        }
    }

    /// Stops in good order and starts again.
    fn restart(&mut self) {
        self.hub().store().close();
        self.start();
    }

    /// Stops in the middle of things and starts again on what lies in the folder then.
    fn crash(&mut self) {
        if self.rng.bool() {
            self.throw();
        }
        loop {
            let fresh = folder();
            let dir = fresh.path().join("data");
            let before = listing(&self.options.dir.join("log"));
            copy(&self.options.dir, &dir);
            // A segment that becomes a file meanwhile would be missing: a crash takes one moment.
            if listing(&self.options.dir.join("log")) == before {
                // Whatever the older one still does, nobody sees it.
                self.hub().store().close();
                self.options.dir = dir;
                self.folder = fresh;
                return self.start();
            }
        }
    }

    fn start(&mut self) {
        self.clients.iter_mut().for_each(|client| client.live = None);
        self.hub = None;
        self.hub = Some(open(&self.options, &self.metrics));
        assert_eq!(self.hub().store().report().damage, [""; 0]);
        self.barrier();
        // What was stored before the crash was stored for those who were there then.
        self.learn(i64::MAX);
        let now_ms = self.now_ms();
        self.model.inboxes.values_mut().for_each(|inbox| inbox.restart(now_ms));
    }
}
