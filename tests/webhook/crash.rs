//! Kills the server and the receiver at random moments under load, and holds webhooks to their
//! promise: every acknowledged message is told at least once, in the order of its conversation, by
//! requests that are the same whenever they come again.
//!
//! The clients live in this process. Server and receiver are children that get SIGKILL in turn;
//! the receiver is this very test, called again to receive, and writes what comes into a file
//! before it answers. `TIDINGS_CRASH_KILLS` says how many kills there are, 20 if it is not set. A
//! failure prints its seed; `TIDINGS_CRASH_SEED` draws the same moments again.
//!
//! # Invariants
//!
//! * A kill counts only if messages were acknowledged since the one before.
//! * A request is in the file, whole, before it is answered.
//! * Everything that is awaited has a bound.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use parking_lot::Mutex;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use tidings::client::{self, Client, ConnectOptions, Outgoing, Sent, Session, Trust};

use crate::harness::{PATIENCE, SECRET, id, soon};
use crate::receiver::{Answer, Receiver, Request};
use crate::standard::{all, events, verifies};

/// Kills if nothing else is said: half of them are the server's, half the receiver's.
const KILLS: usize = 20;
/// Peers that talk, each to the next one.
const PEERS: usize = 12;
/// Messages that a peer waits for at once.
const WINDOW: usize = 4;
/// By this the test that is called again knows that it is to receive: the address, the file and
/// the seed of its moods.
const RECEIVE: &str = "TIDINGS_TEST_RECEIVE";

/// The server as a process of its own, that starts again and again.
struct Place {
    folder: TempDir,
    address: String,
}

impl Place {
    fn new(receiver: SocketAddr) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let file = format!(
            "[[endpoint]]\nid = \"back-end\"\nurl = \"http://{receiver}/\"\n\
             secret = \"{SECRET}\"\ninterval = \"20ms\"\ntimeout = \"2s\"\n",
        );
        std::fs::write(folder.path().join("tidings.toml"), file).unwrap();
        Self { folder, address }
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
        let (_, fingerprint) = line
            .trim()
            .rsplit_once(", fingerprint ")
            .unwrap_or_else(|| panic!("the server did not start: {line}{}", self.log()));
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

/// What the receiver has heard in all its lives.
struct Hearing {
    address: SocketAddr,
    file: PathBuf,
    /// How far the file was read.
    read: usize,
    requests: Vec<Request>,
}

impl Hearing {
    fn new(folder: &Path) -> Self {
        // A port that was free a moment ago is so still, for nobody else asks for it by number.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self { address, file: folder.join("heard"), read: 0, requests: Vec::new() }
    }

    /// Starts the receiver, and waits until it listens.
    fn start(&self, seed: u64) -> Killed {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = "crash::nothing_is_lost_changed_or_out_of_order_whoever_is_killed";
        command.args([name, "--exact", "--nocapture"]);
        command.env(RECEIVE, format!("{} {seed} {}", self.address, self.file.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = Killed(command.spawn().unwrap());
        let began = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(began.elapsed() < PATIENCE, "nobody receives");
            assert!(child.0.try_wait().unwrap().is_none(), "the receiver ended by itself");
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    /// Reads on in the file; what was being written at a kill has no end, and was not answered.
    fn read(&mut self) -> &[Request] {
        let mut file = File::open(&self.file).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(self.read as u64)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let before = self.requests.len();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for line in text[..whole].lines().filter(|line| !line.is_empty()) {
            if let Ok(line) = serde_json::from_str(line) {
                self.requests.push(request(self.requests.len(), &line));
            }
        }
        self.read += whole;
        &self.requests[before..]
    }
}

/// A request as a line of the file.
fn line(request: &Request) -> Value {
    let headers = request.headers.iter().map(|(name, value)| [name.as_str(), text(value)]);
    let headers: Vec<_> = headers.collect();
    json!({"method": request.method, "headers": headers, "body": request.text()})
}

fn text(value: &reqwest::header::HeaderValue) -> &str {
    value.to_str().unwrap()
}

fn request(number: usize, line: &Value) -> Request {
    let header = |pair: &Value| {
        let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
        (name, pair[1].as_str().unwrap().parse().unwrap())
    };
    let headers: HeaderMap = line["headers"].as_array().unwrap().iter().map(header).collect();
    Request {
        number,
        method: line["method"].as_str().unwrap().to_owned(),
        path: "/".to_owned(),
        query: String::new(),
        headers,
        body: line["body"].as_str().unwrap().to_owned().into(),
        at: Instant::now(),
    }
}

/// Receives until it is killed.
async fn receive(what: &str) {
    let mut what = what.splitn(3, ' ');
    let address: SocketAddr = what.next().unwrap().parse().unwrap();
    let mut answer = moody(Rng::with_seed(what.next().unwrap().parse().unwrap()));
    let mut file = OpenOptions::new().create(true).append(true).open(what.next().unwrap()).unwrap();
    // Behind what may have been cut off by a kill.
    file.write_all(b"\n").unwrap();
    let keep_and_answer = move |request: &Request| {
        file.write_all(format!("{}\n", line(request)).as_bytes()).unwrap();
        answer(request)
    };
    let receiver = Receiver::start_at(address, keep_and_answer).await;
    std::future::pending::<()>().await;
    drop(receiver);
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

/// A peer each with a connection of its own, that all talk.
struct Talks {
    ledger: Arc<Ledger>,
    over: CancellationToken,
    tasks: JoinSet<()>,
    peers: Vec<(Client, Session)>,
}

impl Talks {
    async fn start(connect: ConnectOptions) -> Self {
        let (ledger, over) = (Arc::new(Ledger::default()), CancellationToken::new());
        let (mut tasks, mut peers) = (JoinSet::new(), Vec::new());
        for peer in 0..PEERS {
            let connected = Client::connect(connect.clone());
            let client = soon("a connection", connected).await.unwrap();
            let options = client::OpenOptions::new(id(&format!("peer-{peer}")));
            let options = options.send_timeout(PATIENCE * 10);
            let (session, mut incoming) = soon("an opening", client.open(options)).await.unwrap();
            tokio::spawn(async move { while incoming.next().await.is_some() {} });
            tasks.spawn(talk(session.clone(), peer, ledger.clone(), over.clone()));
            peers.push((client, session));
        }
        Self { ledger, over, tasks, peers }
    }

    /// Waits until everybody has found the server that is there now.
    async fn find_again(&self) {
        for (_, session) in &self.peers {
            // Who says nothing notices late that the server is another one.
            let ping = async {
                while session.ping().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            soon("a ping", ping).await;
        }
    }

    /// Lets everybody end, with all answers.
    async fn end(&mut self) {
        self.over.cancel();
        soon("the answers", async { while self.tasks.join_next().await.is_some() {} }).await;
    }
}

/// Waits until everything was told that was acknowledged.
async fn until_all_is_told(hearing: &mut Hearing, ledger: &Ledger) {
    let (began, mut told) = (Instant::now(), HashSet::new());
    told.extend(hearing.requests.iter().flat_map(said_in));
    loop {
        told.extend(hearing.read().iter().flat_map(said_in));
        let missing = ledger.sent.lock().keys().filter(|body| !told.contains(*body)).count();
        if missing == 0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{missing} messages are not told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn said_in(request: &Request) -> Vec<String> {
    let sent = events(request).into_iter().filter(|event| event.kind == "message.sent");
    sent.map(|event| event.text().to_owned()).collect()
}

/// Has everybody talk while server and receiver are killed, until all is told.
async fn run(mut random: Rng, kills: usize) -> String {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut hearing = Hearing::new(folder.path());
    let mut receiver = hearing.start(random.u64(..));
    let place = Place::new(hearing.address);
    let (mut server, fingerprint) = place.start();
    let trust = Trust::Fingerprint(fingerprint.parse().unwrap());
    let mut talks = Talks::start(ConnectOptions::new(&place.address).trust(trust)).await;
    for kill in 0..kills {
        at_work(&talks.ledger, PEERS).await;
        // Who is killed is at a random place of its work.
        tokio::time::sleep(Duration::from_millis(random.u64(..150))).await;
        if kill % 2 == 0 {
            server.kill();
            (server, _) = place.start();
            talks.find_again().await;
        } else {
            receiver.kill();
            at_work(&talks.ledger, PEERS).await;
            receiver = hearing.start(random.u64(..));
        }
    }
    talks.end().await;
    until_all_is_told(&mut hearing, &talks.ledger).await;
    server.kill();
    receiver.kill();
    hearing.read();
    judge(&hearing.requests, &talks.ledger);
    let messages = talks.ledger.count.load(Ordering::Relaxed);
    format!("{kills} kills, {messages} messages, {} requests", hearing.requests.len())
}

#[test]
fn nothing_is_lost_changed_or_out_of_order_whoever_is_killed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Ok(what) = std::env::var(RECEIVE) {
        return runtime.block_on(receive(&what));
    }
    let said = |name: &str| std::env::var(name).ok().map(|said| said.parse().unwrap());
    let seed = said("TIDINGS_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    let kills = said("TIDINGS_CRASH_KILLS").map_or(KILLS, |kills| kills as usize);
    eprintln!("TIDINGS_CRASH_SEED={seed}");
    let summary = runtime.block_on(run(Rng::with_seed(seed), kills));
    eprintln!("{summary}");
}
