//! The peers: who stays, who comes and goes, and what they send and receive meanwhile.
//!
//! # Invariants
//!
//! * Whatever happens to the server, only a peer that leaves by itself may lose an answer.
//! * A send enters the ledger before it is queued, and a message when the app is handed it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use parking_lot::{Mutex, MutexGuard};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use tidings::client::{
    Client, ConnectOptions, Event, Incoming, OpenOptions, Opening, RequestError, Session,
};
use tidings::id::{DeviceFlag, DeviceId, PeerId};

use crate::ledger::Ledger;
use crate::notary::{Notary, Signs};
use crate::server::PATIENCE;
use crate::speaker::{SPEAKERS, Speaker};

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
    /// Those who come and go are gone for good.
    pub(crate) gone: CancellationToken,
    /// The open sessions of the phones.
    pub(crate) phones: Mutex<BTreeMap<usize, Session>>,
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
            gone: CancellationToken::new(),
            phones: Mutex::default(),
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

    pub(crate) fn problem(&self, peer: usize, what: String) {
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
    pub(crate) flag: DeviceFlag,
    /// Who signs for the peer, if anybody does.
    pub(crate) notary: Option<Arc<Notary>>,
}

impl Seat {
    pub(crate) fn new(world: &Arc<World>, peer: usize, name: &'static str) -> Self {
        let device = world.ledger().device(peer, name);
        let (flag, notary) = (DeviceFlag::default(), None);
        Self { world: world.clone(), peer, device, id: None, flag, notary }
    }

    /// Opens a session where the app has come to, and says what the server said.
    pub(crate) async fn open(
        &mut self,
        client: &Client,
        watches: Vec<PeerId>,
    ) -> (Session, Incoming, Opening) {
        let peer = self.world.peers[self.peer].clone();
        let cursor = self.world.ledger().cursor(self.device);
        let mut options = OpenOptions::new(peer).resume(cursor).flag(self.flag);
        options = options.send_timeout(PATIENCE * 10).open_timeout(PATIENCE).watch(watches);
        if let Some(id) = &self.id {
            options = options.device(id.clone());
        }
        if let Some(notary) = &self.notary {
            options = options.signer(Signs(notary.clone()));
        }
        let (session, mut incoming) = client.open(options).await.unwrap();
        self.id = Some(session.device().clone());
        self.world.ledger().devices[self.device].id = self.id.clone();
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
            let Some(event) = event else { return self.world.problem(self.peer, "over".into()) };
            self.world.ledger().hear(self.device, &event);
            if matches!(event, Event::Message(_)) && random.u16(..512) == 0 {
                // The app is busy, so messages wait in the client over a kill.
                sleep(Duration::from_millis(random.u64(50..600))).await;
            }
        }
    }

    /// Opens a new session, sends and receives until `until` is over, and leaves: tells the
    /// server, or just goes.
    async fn visit(&mut self, client: Client, random: &mut Rng, until: impl Future, tells: bool) {
        let others = (0..self.world.peers.len()).filter(|other| *other != self.peer);
        let watches = others.map(|other| self.world.peers[other].clone()).collect();
        let (session, mut incoming, opening) = self.open(&client, watches).await;
        self.world.ledger().hear(self.device, &Event::Opened(opening));
        self.world.phones.lock().insert(self.peer, session.clone());
        let speaker = Arc::new(Speaker {
            world: self.world.clone(),
            peer: self.peer,
            number: self.world.ledger().session(),
            turn: tokio::sync::Mutex::default(),
            session: session.clone(),
            notary: self.notary.clone(),
            leaves: AtomicBool::new(false),
            left: CancellationToken::new(),
        });
        let mut speakers = JoinSet::new();
        for index in 0..SPEAKERS {
            speakers.spawn(speaker.clone().speak(random.fork(), index == 0));
        }
        speakers.spawn(speaker.clone().organise(random.fork()));
        self.listen(&mut incoming, random, until).await;
        speaker.leaves.store(true, Ordering::Relaxed);
        speaker.left.cancel();
        if tells {
            session.end().await;
        } else {
            // It is gone as soon as that has begun; a server that is down need not be told.
            let gone = async { self.world.phones.lock().remove(&self.peer) };
            tokio::join!(client.close(), gone);
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
        world.home.fetch_add(1, Ordering::Relaxed);
        self.visit(client, &mut random, world.gone.cancelled(), false).await;
        self
    }

    /// A second device of a peer, which comes and goes too, and in the end logs out.
    pub(crate) async fn wander(mut self, mut random: Rng) -> Self {
        let world = self.world.clone();
        loop {
            let client = world.client().await;
            let (session, mut incoming, opening) = self.open(&client, Vec::new()).await;
            world.ledger().hear(self.device, &Event::Opened(opening));
            let stays = sleep(Duration::from_millis(random.u64(100..1500)));
            self.listen(&mut incoming, &mut random, stays).await;
            let is_last = world.load_over.is_cancelled();
            match random.u8(..3) {
                0 if !is_last => session.end().await,
                1 if !is_last => {}
                _ => match session.close().await {
                    Ok(()) if is_last => break,
                    Ok(()) | Err(RequestError::Paused | RequestError::TimedOut) => {}
                    Err(error) => world.problem(self.peer, format!("log out: {error:?}")),
                },
            }
            client.close().await;
            sleep(Duration::from_millis(random.u64(..1000))).await;
        }
        world.home.fetch_add(1, Ordering::Relaxed);
        self
    }

    /// Takes all that waits for the device, which must be `count` messages and notices; the server
    /// may count up to `silent` more.
    pub(crate) async fn drain(&mut self, (count, silent): (usize, usize)) -> (Client, Session) {
        let client = self.world.client().await;
        let (session, mut incoming, opening) = self.open(&client, Vec::new()).await;
        let peer = &self.world.peers[self.peer];
        let waiting = count as u64..=(count + silent) as u64;
        assert!(waiting.contains(&opening.waiting), "{peer}: {opening:?}, not {waiting:?}");
        assert_eq!(opening.dropped, 0, "{peer}: {opening:?}");
        let mut taken = 0;
        while taken < count {
            let event = timeout(PATIENCE, incoming.next()).await.ok().flatten();
            let event = event.unwrap_or_else(|| panic!("{peer}: {taken} of {count} messages"));
            taken += usize::from(event.cursor().is_some());
            self.world.ledger().hear(self.device, &event);
        }
        timeout(PATIENCE, session.ping()).await.unwrap().unwrap();
        while let Some(more) = incoming.try_next() {
            assert!(more.cursor().is_none(), "{peer}: more than {count} messages: {more:?}");
            self.world.ledger().hear(self.device, &more);
        }
        (client, session)
    }
}
