//! Kills the server and breaks the receiver at random moments under load, and holds webhooks to
//! their promise: every acknowledged message is told at least once, in the order of its
//! conversation, by requests that are the same whenever they come again.
//!
//! The clients and the receiver live in this process, the server is a child that gets SIGKILL. A
//! failure prints its seed; `TIDINGS_CRASH_SEED` draws the same moments again.
//!
//! # Invariants
//!
//! * A blow counts only if messages were acknowledged since the one before.
//! * Everything that is awaited has a bound.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use tidings::client::{self, Client, ConnectOptions, Outgoing, Sent, Session, Trust};

use crate::harness::{PATIENCE, SECRET, id, soon};
use crate::receiver::{Answer, Receiver, Request};
use crate::standard::{all, events, verifies};

/// Blows: half of them kill the server, half the receiver.
const BLOWS: usize = 20;
/// Peers that talk, each to the next one.
const PEERS: usize = 12;
/// Messages that a peer waits for at once.
const WINDOW: usize = 4;

/// The server as a process of its own, that starts again and again.
struct Place {
    folder: TempDir,
    address: String,
    receiver: String,
}

impl Place {
    fn new(receiver: &Receiver) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let file = format!(
            "[[endpoint]]\nid = \"back-end\"\nurl = \"{}\"\nsecret = \"{SECRET}\"\n\
             interval = \"20ms\"\ntimeout = \"2s\"\n",
            receiver.url()
        );
        std::fs::write(folder.path().join("tidings.toml"), file).unwrap();
        Self { folder, address, receiver: receiver.url() }
    }

    /// Starts the server, and waits until clients may come; its fingerprint.
    fn start(&self) -> (Killed, String) {
        let log = self.folder.path().join("server.log");
        let log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDINGS_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--config", "tidings.toml", "--listen", &self.address]);
        command.args(["--http-listen", "off", "--webhook-networks", "127.0.0.0/8"]);
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::from(log));
        let mut child = Killed(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, fingerprint) = line.trim().rsplit_once(", fingerprint ").unwrap_or_else(|| {
            panic!("the server at {} did not start: {line}{}", self.receiver, self.log())
        });
        (child, fingerprint.to_owned())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }
}

/// A process that gets SIGKILL when it is no more needed.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It is gone already if it has ended by itself, which the one who kills it finds out.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Killed {
    fn kill(mut self) {
        let ended = self.0.try_wait().unwrap();
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
    }
}

/// What was acknowledged to the senders: what a message says, and its place.
#[derive(Default)]
struct Ledger {
    sent: Mutex<HashMap<String, Sent>>,
    count: AtomicUsize,
}

/// A peer sends to the next one until it is told to stop.
async fn talk(session: Session, peer: usize, ledger: Arc<Ledger>, over: CancellationToken) {
    let to = id(&format!("peer-{}", (peer + 1) % PEERS));
    let mut number = 0;
    while !over.is_cancelled() {
        let mut window = Vec::new();
        for _ in 0..WINDOW {
            let body = format!("{peer} {number}");
            number += 1;
            let outgoing = Outgoing::to(to.clone(), body.clone());
            window.push((body, session.start_send(outgoing).await.unwrap()));
        }
        for (body, sending) in window {
            let sent = sending.await.unwrap();
            ledger.sent.lock().insert(body, sent);
            ledger.count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Answers most requests, and loses some answers.
fn moody(mut random: Rng) -> impl FnMut(&Request) -> Answer + Send + 'static {
    move |_| match random.u8(..12) {
        0 => Answer::lost(),
        1 => Answer::status(503),
        2 => Answer::lost().after(Duration::from_millis(random.u64(..30))),
        _ => Answer::ok().after(Duration::from_millis(random.u64(..15))),
    }
}

/// Waits until more was acknowledged, for whatever is struck must be at work.
async fn at_work(ledger: &Ledger, more: usize) {
    let (began, before) = (Instant::now(), ledger.count.load(Ordering::Relaxed));
    while ledger.count.load(Ordering::Relaxed) < before + more {
        assert!(began.elapsed() < PATIENCE, "nothing is acknowledged any more");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The events are what the ledger says, in order and without a gap.
fn judge(requests: &[Request], ledger: &Ledger) {
    assert!(requests.iter().all(|request| verifies(SECRET, request)));
    let (mut last, mut told) = (HashMap::new(), HashMap::new());
    // Requests with one id have one body: that is checked here, too.
    for event in all(requests) {
        let last = last.entry(event.data["conversation"].to_string()).or_insert(0);
        if event.kind == "message.sent" {
            let sequence = event.data["sequence"].as_u64().unwrap();
            assert_eq!(sequence, *last + 1, "the next of its conversation: {event:?}");
            *last = sequence;
            told.insert(event.text().to_owned(), event.data["message"].clone());
        }
    }
    for (body, sent) in ledger.sent.lock().iter() {
        assert_eq!(told.get(body), Some(&sent.id.to_string().into()), "{body} {sent:?}");
    }
}

/// Has everybody talk while server and receiver are struck, until all is told.
async fn run(mut random: Rng) -> String {
    let receiver = Receiver::start().await;
    receiver.answers(moody(random.fork()));
    let place = Place::new(&receiver);
    let (mut server, fingerprint) = place.start();
    let trust = Trust::Fingerprint(fingerprint.parse().unwrap());
    let connect = ConnectOptions::new(&place.address).trust(trust);
    let (ledger, over) = (Arc::new(Ledger::default()), CancellationToken::new());
    let (mut talks, mut clients) = (JoinSet::new(), Vec::new());
    for peer in 0..PEERS {
        let connected = Client::connect(connect.clone());
        let client = soon("a connection", connected).await.unwrap();
        let options = client::OpenOptions::new(id(&format!("peer-{peer}")));
        let options = options.send_timeout(PATIENCE * 10);
        let (session, mut incoming) = soon("an opening", client.open(options)).await.unwrap();
        tokio::spawn(async move { while incoming.next().await.is_some() {} });
        talks.spawn(talk(session.clone(), peer, ledger.clone(), over.clone()));
        clients.push((client, session));
    }
    for blow in 0..BLOWS {
        at_work(&ledger, PEERS).await;
        // What is struck is at a random place of its work.
        tokio::time::sleep(Duration::from_millis(random.u64(..150))).await;
        if blow % 2 == 0 {
            server.kill();
            (server, _) = place.start();
            for (_, session) in &clients {
                // Who says nothing notices late that the server is another one.
                while session.ping().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        } else {
            receiver.down();
            at_work(&ledger, PEERS).await;
            receiver.up().await;
        }
    }
    over.cancel();
    soon("the answers", async { while talks.join_next().await.is_some() {} }).await;
    let expected = ledger.count.load(Ordering::Relaxed);
    let (mut seen, mut told) = (0, HashSet::new());
    let all_are_told = |requests: &[Request]| {
        let new = requests[seen..].iter().flat_map(events);
        told.extend(new.filter(|it| it.kind == "message.sent").map(|it| it.text().to_owned()));
        seen = requests.len();
        ledger.sent.lock().keys().all(|body| told.contains(body)).then_some(())
    };
    receiver.until("all messages", all_are_told).await;
    server.kill();
    judge(&receiver.requests(), &ledger);
    format!("{BLOWS} blows, {expected} messages, {} requests", receiver.count())
}

#[test]
fn nothing_is_lost_changed_or_out_of_order_whoever_is_killed() {
    let seed = match std::env::var("TIDINGS_CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("TIDINGS_CRASH_SEED={seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let summary = runtime.block_on(run(Rng::with_seed(seed)));
    eprintln!("{summary}");
}
