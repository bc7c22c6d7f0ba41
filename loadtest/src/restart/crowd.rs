//! Many clients of the client library in one program.
//!
//! # Invariants
//!
//! * Each has a connection of its own; some of them share a socket, which costs a task and buffers.
//! * Every client's task is awaited at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidings::client::{ConnectOptions, Fingerprint, Trust};
use tokio::task::JoinSet;

use super::attendance::Attendance;
use super::client::{Client, Socket};
use crate::progress::Progress;
use crate::run::Run;
use crate::server::{Access, Server};
use crate::tls::SERVER_NAME;

/// Sockets, and clients that are opened at a time.
const SOCKETS: u32 = 64;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long all of them may take to end.
const END_WITHIN: Duration = Duration::from_secs(30);

/// The clients of a run.
pub(super) struct Crowd {
    run: Arc<Run>,
    clients: Vec<Client>,
    tasks: JoinSet<()>,
    pub(super) attendance: Arc<Attendance>,
}

impl Crowd {
    /// Opens a client for each talker of the run; says how long that took.
    ///
    /// # Errors
    ///
    /// Why the first that failed could not be opened.
    pub(super) async fn open(
        run: &Arc<Run>,
        server: &Server,
        progress: &Progress,
    ) -> Result<(Self, Duration), String> {
        let Access::Quic(fingerprint) = server.access else {
            return Err("the client library does not speak MQTT".into());
        };
        progress.begin("opening", u64::from(run.talkers));
        let (began, sockets) = (Instant::now(), SOCKETS.min(run.talkers));
        let attendance = Arc::new(Attendance::new(run.talkers));
        let mut openers = JoinSet::new();
        for socket in 0..sockets {
            let options = connect_options(server, fingerprint);
            let (run, attendance) = (run.clone(), attendance.clone());
            openers.spawn(open_some(run, options, socket, sockets as usize, attendance));
        }
        let (mut clients, mut tasks) = (Vec::new(), JoinSet::new());
        while let Some(opened) = openers.join_next().await {
            let (some, listening) = opened.map_err(|error| error.to_string())??;
            clients.extend(some);
            progress.reach(clients.len() as u64);
            listening.into_iter().for_each(|listen| drop(tasks.spawn(listen)));
        }
        Ok((Self { run: run.clone(), clients, tasks, attendance }, began.elapsed()))
    }

    /// Lets all clients speak: so many messages to so many absent peers, then what is due.
    pub(super) fn speak(&mut self, messages: u64, absent: u32) {
        for client in &self.clients {
            self.tasks.spawn(client.clone().speak(messages, absent));
        }
    }

    /// Waits until all are back, or for so long.
    pub(super) async fn await_back(&self, within: Duration, progress: &Progress) {
        progress.begin("coming back", self.clients.len() as u64);
        let began = Instant::now();
        while self.attendance.missing() > 0 && began.elapsed() < within {
            progress.reach(self.attendance.count());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks the server for a last sign of life of every client, behind which nothing may come.
    pub(super) async fn fence(&self) {
        let mut pings = JoinSet::new();
        for client in &self.clients {
            let session = client.session.clone();
            pings.spawn(async move { session.ping().await });
        }
        while let Some(pinged) = pings.join_next().await {
            if let Ok(Err(error)) = pinged {
                self.run.broke(format!("a session does not answer at the end: {error}"));
            }
        }
    }

    /// Ends all clients, once the run has ended.
    pub(super) async fn end(mut self) {
        let mut ending = JoinSet::new();
        for client in std::mem::take(&mut self.clients) {
            ending.spawn(async move {
                client.session.end().await;
                drop(client.session);
                client.connection.close().await;
            });
        }
        let ended = async {
            while ending.join_next().await.is_some() {}
            while self.tasks.join_next().await.is_some() {}
        };
        if tokio::time::timeout(END_WITHIN, ended).await.is_err() {
            self.run.trouble(format!("the clients did not end within {END_WITHIN:?}"));
        }
    }
}

fn connect_options(server: &Server, fingerprint: Fingerprint) -> ConnectOptions {
    ConnectOptions::new(server.address.to_string())
        .server_name(SERVER_NAME)
        .trust(Trust::Fingerprint(fingerprint))
        .client(concat!("loadtest/", env!("CARGO_PKG_VERSION")))
}

type Listening = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens every client whose turn it is on one socket; none of them listens yet.
async fn open_some(
    run: Arc<Run>,
    options: ConnectOptions,
    first: u32,
    step: usize,
    attendance: Arc<Attendance>,
) -> Result<(Vec<Client>, Vec<Listening>), String> {
    let mut socket = Socket::new(options);
    let (mut clients, mut listening) = (Vec::new(), Vec::<Listening>::new());
    for index in (first..run.talkers).step_by(step) {
        let (client, incoming) = socket.open(&run, index).await?;
        listening.push(Box::pin(client.clone().listen(incoming, attendance.clone())));
        clients.push(client);
    }
    Ok((clients, listening))
}
