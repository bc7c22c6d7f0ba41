//! The server as a process of its own, and peers that talk to it through the client library.
//!
//! # Invariants
//!
//! * Every wait has an end: a test that hangs fails by name.
//! * A server that ends by itself fails the test; it runs on one address all its life.
//! * That something does not come is shown by what comes after it, not by waiting.

use std::fs::OpenOptions as FileOptions;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::ops::Deref;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;

use tidings::client::{
    Client, ConnectOptions, Event, Incoming, Message, OpenError, OpenOptions, Opening,
    RequestError, SendError, Session, Trust,
};
use tidings::id::PeerId;
use tidings::reason::Reason;

/// How long anything may take that a test waits for, on a slow and busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A setting of the server, as the command line has it, and its value.
pub(crate) type Setting<'a> = (&'a str, &'a str);

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took too long"),
    }
}

pub(crate) fn peer(id: &str) -> PeerId {
    id.parse().unwrap()
}

pub(crate) fn peers(ids: &str) -> Vec<PeerId> {
    ids.split_whitespace().map(peer).collect()
}

/// A peer on a device that has a name.
pub(crate) fn on(id: &str, device: &str) -> OpenOptions {
    OpenOptions::new(peer(id)).device(device.parse().unwrap())
}

/// The binary, without any setting from outside.
pub(crate) fn tidings(folder: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TIDINGS_") {
            command.env_remove(name);
        }
    }
    command.args(args).current_dir(folder.path()).stdin(Stdio::null());
    command
}

/// A port that nobody has, outside of those that the system gives to clients: the server finds it
/// free again after a kill.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server, which can be killed and started again in its folder.
pub(crate) struct Server {
    folder: TempDir,
    pub(crate) address: String,
    settings: Vec<String>,
    /// The app that clients name; empty for none.
    app: String,
    trust: Trust,
    child: Option<Child>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[Setting<'_>]) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let (settings, app) = settings_of(settings);
        let mut server = Self { folder, address, settings, app, trust: Trust::System, child: None };
        server.run().await;
        server
    }

    async fn run(&mut self) {
        let log = self.folder.path().join("server.log");
        let log = FileOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = tidings(&self.folder, &["serve", "--data", "data"]);
        command.args(["--listen", &self.address, "--http-listen", "off"]).args(&self.settings);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        self.child = Some(child);
        let (tx, line) = oneshot::channel();
        std::thread::spawn(move || {
            let line = BufReader::new(stdout).lines().next().and_then(Result::ok);
            // Nobody asks any more when the test has failed meanwhile.
            let _ = tx.send(line.unwrap_or_default());
        });
        let line = soon("a start", line).await.unwrap();
        let (_, fingerprint) = line.rsplit_once(", fingerprint ").expect("it did not start");
        self.trust = Trust::Fingerprint(fingerprint.parse().unwrap());
    }

    /// Kills it with SIGKILL. It must have run until now.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it is running");
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "the server ended by itself: {ended:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts what was killed.
    pub(crate) async fn revive(&mut self) {
        assert!(self.child.is_none(), "it is running");
        self.run().await;
    }

    /// Kills it and starts it again.
    pub(crate) async fn crash(&mut self) {
        self.kill();
        self.revive().await;
    }

    /// Kills it and starts it again with other settings.
    pub(crate) async fn crash_into(&mut self, settings: &[Setting<'_>]) {
        self.kill();
        (self.settings, self.app) = settings_of(settings);
        self.revive().await;
    }

    /// How clients reach and trust it.
    pub(crate) fn reached(&self) -> ConnectOptions {
        self.reached_at(&self.address)
    }

    pub(crate) fn reached_at(&self, address: &str) -> ConnectOptions {
        ConnectOptions::new(address).trust(self.trust.clone()).app(&*self.app)
    }

    pub(crate) async fn client(&self) -> Client {
        soon("a connection", Client::connect(self.reached())).await.unwrap()
    }

    /// Opens a peer on a new device, over a connection of its own.
    pub(crate) async fn open(&self, id: &str) -> Seat {
        self.open_as(OpenOptions::new(peer(id))).await
    }

    pub(crate) async fn open_as(&self, options: OpenOptions) -> Seat {
        self.try_open(options).await.unwrap()
    }

    pub(crate) async fn try_open(&self, options: OpenOptions) -> Result<Seat, OpenError> {
        Seat::open(&self.client().await, options).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already when the test has failed.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("server.log"));
            let log = log.unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(20);
            eprintln!("the server's last words:\n{}", lines[last..].join("\n"));
        }
    }
}

/// The arguments of these settings, and the app among them.
fn settings_of(settings: &[Setting<'_>]) -> (Vec<String>, String) {
    let flag = |(name, value): &Setting<'_>| [format!("--{name}"), (*value).to_owned()];
    let app = settings.iter().find(|(name, _)| *name == "app-id");
    let app = app.map(|(_, app)| (*app).to_owned()).unwrap_or_default();
    (settings.iter().flat_map(flag).collect(), app)
}

/// A peer on a device, with a session that is open.
pub(crate) struct Seat {
    session: Session,
    pub(crate) incoming: Incoming,
    /// What the server said when the session was opened.
    pub(crate) opening: Opening,
}

impl Deref for Seat {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Seat {
    pub(crate) async fn open(client: &Client, options: OpenOptions) -> Result<Self, OpenError> {
        let (session, mut incoming) = soon("an opening", client.open(options)).await?;
        let Some(Event::Opened(opening)) = soon("opened", incoming.next()).await else {
            panic!("the first event is another one")
        };
        Ok(Self { session, incoming, opening })
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Event {
        soon("an event", self.incoming.next()).await.expect("the session has ended")
    }

    /// The next event of a kind; those before it are dropped.
    pub(crate) async fn find<T>(
        &mut self,
        what: &str,
        mut of_kind: impl FnMut(Event) -> Option<T>,
    ) -> T {
        let find = async {
            loop {
                let event = self.incoming.next().await.expect("the session has ended");
                if let Some(found) = of_kind(event) {
                    return found;
                }
            }
        };
        soon(what, find).await
    }

    /// The next message.
    pub(crate) async fn message(&mut self) -> Message {
        let message =
            |event| if let Event::Message(message) = event { Some(message) } else { None };
        self.find("a message", message).await
    }

    /// What the next message says.
    pub(crate) async fn text(&mut self) -> String {
        text(&self.message().await)
    }

    /// What the next `count` messages say.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.text().await);
        }
        texts
    }

    /// All that the server has told until now.
    pub(crate) async fn news(&mut self) -> Vec<Event> {
        self.session.ping().await.unwrap();
        std::iter::from_fn(|| self.incoming.try_next()).collect()
    }

    /// All events up to the one that `is_last`.
    pub(crate) async fn events_until(&mut self, is_last: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        while !events.last().is_some_and(&is_last) {
            events.push(self.next().await);
        }
        events
    }

    /// Finds out that the server was killed, and comes back to the one that took its place; what
    /// was told meanwhile, and how the session resumed.
    pub(crate) async fn come_back(&mut self) -> (Vec<Event>, Opening) {
        // The answer of a server that knows nothing of the connection is that it is lost.
        let lost = soon("the loss", self.session.ping()).await;
        assert!(matches!(lost, Ok(_) | Err(RequestError::Paused)), "{lost:?}");
        let mut events = self.events_until(|event| matches!(event, Event::Resumed(_))).await;
        let Some(Event::Resumed(opening)) = events.pop() else { unreachable!() };
        assert!(matches!(events.pop(), Some(Event::Paused(_))));
        (events, opening)
    }

    /// The app has had all that came, and the server is told so.
    pub(crate) async fn has_had_all(&mut self) {
        // What came counts as had when the app has asked for more.
        self.news().await;
        self.session.ack(self.session.cursor());
    }

    /// Waits until all of these have gone on line, and nothing else has happened.
    pub(crate) async fn hears_online(&mut self, ids: &str) {
        let mut awaited = peers(ids);
        while !awaited.is_empty() {
            let Event::Online(online) = self.next().await else { panic!("something else") };
            assert!(online.iter().all(|peer| awaited.contains(peer)), "{online:?}");
            awaited.retain(|peer| !online.contains(peer));
        }
    }

    /// Ends the session without logging out, when the app has had all that came.
    pub(crate) async fn go(mut self) {
        self.has_had_all().await;
        soon("the end", self.session.end()).await;
    }
}

/// What a message says.
pub(crate) fn text(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

/// Why a request was refused.
pub(crate) fn refused<T>(result: Result<T, RequestError>) -> Reason {
    match result {
        Err(RequestError::Refused(refusal)) => refusal.reason().unwrap(),
        Err(error) => panic!("not refused by the server: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Why a message was refused.
pub(crate) fn send_refused<T>(result: Result<T, SendError>) -> Reason {
    match result {
        Err(SendError::Refused(refusal)) => refusal.reason().unwrap(),
        Err(error) => panic!("not refused by the server: {error}"),
        Ok(_) => panic!("not refused"),
    }
}

/// Why a session was refused.
pub(crate) fn open_refused<T>(result: Result<T, OpenError>) -> Reason {
    match result {
        Err(OpenError::Refused(refusal)) => refusal.reason().unwrap(),
        Err(error) => panic!("not refused by the server: {error}"),
        Ok(_) => panic!("not refused"),
    }
}
