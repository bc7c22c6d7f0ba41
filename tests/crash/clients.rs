//! The peers: who stays, who comes and goes, and what they send and receive meanwhile.
//!
//! # Invariants
//!
//! * Whatever happens to the server, only a peer that leaves by itself may lose an answer.
//! * A send enters the ledger before it is queued, and a message when the app is handed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use tidings::client::{
    Client, ConnectOptions, Event, Incoming, OpenOptions, Opening, Outgoing, Pause, SendError,
    Session,
};
use tidings::id::{DeviceId, PeerId};

use crate::ledger::{Fate, Ledger};
use crate::server::PATIENCE;

/// Sends that a session keeps under way.
const SPEAKERS: usize = 4;
/// The longest pause of a speaker between an answer and the next send, in milliseconds, at first.
const PAUSE_MS_MAX: u64 = 10;
/// Sends after which each pause is a millisecond longer, so that on a fast machine too what waits
/// for a device that is absent until the end stays below the most that a peer's inbox holds.
const SENDS_PER_PAUSE_MS: usize = 1000;

/// What all peers share.
pub(crate) struct World {
    ledger: Mutex<Ledger>,
    pub(crate) peers: Vec<PeerId>,
    pub(crate) connect: ConnectOptions,
    /// Nobody begins to send, and nobody leaves any more.
    pub(crate) load_over: CancellationToken,
    /// Everybody says a last word to everybody.
    pub(crate) farewell: CancellationToken,
    /// Everything has arrived.
    pub(crate) done: CancellationToken,
    /// Peers that will not leave any more.
    pub(crate) home: AtomicUsize,
    /// Peers whose last words are acknowledged.
    pub(crate) said: AtomicUsize,
    pub(crate) resends: AtomicU64,
    pub(crate) repeats: AtomicU64,
    pub(crate) resumes: AtomicU64,
}

impl World {
    pub(crate) fn new(peers: Vec<PeerId>, connect: ConnectOptions) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(&peers)),
            peers,
            connect,
            load_over: CancellationToken::new(),
            farewell: CancellationToken::new(),
            done: CancellationToken::new(),
            home: AtomicUsize::new(0),
            said: AtomicUsize::new(0),
            resends: AtomicU64::new(0),
            repeats: AtomicU64::new(0),
            resumes: AtomicU64::new(0),
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    fn problem(&self, peer: usize, what: String) {
        let what = format!("{}: {what}", self.peers[peer]);
        self.ledger().problems.push(what);
    }

    /// Connects; while the server is down, again and again.
    pub(crate) async fn client(&self) -> Client {
        loop {
            match Client::connect(self.connect.clone()).await {
                Ok(client) => return client,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        }
    }
}

/// A device of a peer, as its app keeps it.
pub(crate) struct Seat {
    pub(crate) world: Arc<World>,
    pub(crate) peer: usize,
    /// The device in the ledger.
    pub(crate) device: usize,
    /// The device's id, once it has one.
    pub(crate) id: Option<DeviceId>,
}

impl Seat {
    pub(crate) fn new(world: &Arc<World>, peer: usize, name: &'static str) -> Self {
        let device = world.ledger().device(peer, name);
        Self { world: world.clone(), peer, device, id: None }
    }

    /// Opens a session where the app has come to, and says what the server said.
    pub(crate) async fn open(&mut self, client: &Client) -> (Session, Incoming, Opening) {
        let peer = self.world.peers[self.peer].clone();
        let cursor = self.world.ledger().cursor(self.device);
        let mut options = OpenOptions::new(peer).resume(cursor);
        options = options.send_timeout(PATIENCE * 10).open_timeout(PATIENCE);
        if let Some(id) = &self.id {
            options = options.device(id.clone());
        }
        let (session, mut incoming) = client.open(options).await.unwrap();
        self.id = Some(session.device().clone());
        match incoming.next().await {
            Some(Event::Opened(opening)) => (session, incoming, opening),
            event => panic!("no session begins with {event:?}"),
        }
    }

    /// Takes what comes until `until` is over.
    async fn listen(&self, incoming: &mut Incoming, random: &mut Rng, until: impl Future) {
        let mut until = std::pin::pin!(until);
        loop {
            let event = tokio::select! {
                event = incoming.next() => event,
                _ = &mut until => return,
            };
            match event {
                Some(Event::Message(message)) => {
                    self.world.ledger().got(self.device, &message);
                    if random.u16(..512) == 0 {
                        // The app is busy, so messages wait in the client over a kill.
                        sleep(Duration::from_millis(random.u64(50..600))).await;
                    }
                }
                Some(Event::Paused(Pause::Lost | Pause::Unanswered)) => {}
                Some(Event::Resumed(opening)) if opening.dropped == 0 => {}
                event => return self.world.problem(self.peer, format!("unexpected {event:?}")),
            }
        }
    }

    /// Opens a new session, sends and receives until `until` is over, and leaves: tells the
    /// server, or just goes.
    async fn visit(&mut self, client: Client, random: &mut Rng, until: impl Future, tells: bool) {
        let (session, mut incoming, opening) = self.open(&client).await;
        if opening.dropped > 0 {
            self.world.problem(self.peer, format!("dropped: {opening:?}"));
        }
        let speaker = Arc::new(Speaker {
            world: self.world.clone(),
            peer: self.peer,
            number: self.world.ledger().session(),
            turn: tokio::sync::Mutex::default(),
            session: session.clone(),
            leaves: AtomicBool::new(false),
            left: CancellationToken::new(),
        });
        let mut speakers = JoinSet::new();
        for index in 0..SPEAKERS {
            speakers.spawn(speaker.clone().speak(random.fork(), index == 0));
        }
        self.listen(&mut incoming, random, until).await;
        speaker.leaves.store(true, Ordering::Relaxed);
        speaker.left.cancel();
        if tells {
            session.end().await;
        } else {
            client.close().await;
        }
        while let Some(spoke) = speakers.join_next().await {
            spoke.unwrap();
        }
        let (counts, world) = (session.counts(), &self.world);
        world.resends.fetch_add(counts.resends, Ordering::Relaxed);
        world.repeats.fetch_add(counts.repeats, Ordering::Relaxed);
        world.resumes.fetch_add(counts.resumes, Ordering::Relaxed);
    }

    /// A peer that keeps one session until the end.
    pub(crate) async fn stay(mut self, client: Client, mut random: Rng) -> Self {
        self.world.home.fetch_add(1, Ordering::Relaxed);
        let done = self.world.done.clone();
        self.visit(client, &mut random, done.cancelled(), true).await;
        self
    }

    /// A peer that comes and goes, each time with a fresh client, until the load is over.
    pub(crate) async fn roam(mut self, mut random: Rng) -> Self {
        let world = self.world.clone();
        while !world.load_over.is_cancelled() {
            let client = world.client().await;
            let stays = sleep(Duration::from_millis(random.u64(100..1500)));
            let tells = random.bool();
            self.visit(client, &mut random, stays, tells).await;
            // Less than the time after which a peer counts as away, so nothing may be dropped.
            sleep(Duration::from_millis(random.u64(..2000))).await;
        }
        let client = world.client().await;
        self.stay(client, random).await
    }

    /// Takes all that waits for the device, which must be `count` messages.
    pub(crate) async fn drain(&mut self, count: usize) {
        let client = self.world.client().await;
        let (session, mut incoming, opening) = self.open(&client).await;
        let peer = &self.world.peers[self.peer];
        assert_eq!((opening.waiting, opening.dropped), (count as u64, 0), "{peer}: {opening:?}");
        for taken in 0..count {
            match timeout(PATIENCE, incoming.next()).await {
                Ok(Some(Event::Message(message))) => {
                    assert!(message.waited, "{message:?}");
                    self.world.ledger().got(self.device, &message);
                }
                event => panic!("{peer}: {event:?} after {taken} of {count} messages"),
            }
        }
        timeout(PATIENCE, session.ping()).await.unwrap().unwrap();
        let more = incoming.try_next();
        assert!(more.is_none(), "{peer}: more than {count} messages: {more:?}");
        session.end().await;
    }
}

/// What the speakers of one session share.
struct Speaker {
    world: Arc<World>,
    peer: usize,
    /// The session in the ledger.
    number: usize,
    /// Held while a message is numbered and queued, so that both have one order.
    turn: tokio::sync::Mutex<()>,
    session: Session,
    /// The peer leaves: answers may be lost from now on.
    leaves: AtomicBool,
    left: CancellationToken,
}

impl Speaker {
    /// Keeps one send under way until the load is over; then says the last word, or not.
    async fn speak(self: Arc<Self>, mut random: Rng, says_farewell: bool) {
        loop {
            let sent = self.world.ledger().sent();
            let pause_ms = random.u64(..PAUSE_MS_MAX) + (sent / SENDS_PER_PAUSE_MS) as u64;
            let pause = sleep(Duration::from_millis(pause_ms));
            tokio::select! {
                () = pause => self.send(self.recipients(&mut random)).await,
                () = self.world.load_over.cancelled() => break,
                () = self.left.cancelled() => return,
            }
        }
        tokio::select! {
            () = self.world.farewell.cancelled() => {}
            () = self.left.cancelled() => return,
        }
        if says_farewell {
            for other in (0..self.world.peers.len()).filter(|other| *other != self.peer) {
                self.send(vec![other]).await;
            }
            self.world.said.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One other peer, or now and then two or three.
    fn recipients(&self, random: &mut Rng) -> Vec<usize> {
        let count = [1, 1, 1, 1, 1, 1, 2, 3][random.usize(..8)];
        let others = (0..self.world.peers.len()).filter(|other| *other != self.peer);
        random.choose_multiple(others, count)
    }

    async fn send(&self, to: Vec<usize>) {
        let turn = self.turn.lock().await;
        let outgoing = self.world.ledger().send(self.peer, self.number, to);
        let message = Outgoing::to(outgoing.recipients, outgoing.body);
        let queued = self.session.start_send(message).await;
        drop(turn);
        let answer = match queued {
            Ok(sending) => sending.await,
            Err(error) => Err(error),
        };
        let fate = match &answer {
            Ok(sent) => Fate::Acknowledged(*sent),
            Err(SendError::MaybeStored) => Fate::Unknown,
            Err(_) => Fate::NotStored,
        };
        let is_fine = match &answer {
            Ok(_) => true,
            Err(SendError::MaybeStored | SendError::Ended) => self.leaves.load(Ordering::Relaxed),
            Err(_) => false,
        };
        if !is_fine {
            self.world.problem(self.peer, format!("send {}: {answer:?}", outgoing.number));
        }
        self.world.ledger().settle(outgoing.number, fate);
    }
}
