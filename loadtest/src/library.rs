//! Clients of the client library that live through whatever a scenario does to them.
//!
//! ```text
//! library > client, ear > books
//! ```
//!
//! # Invariants
//!
//! * Each client has a connection and a UDP socket of its own, so that what happens to one happens
//!   to nobody else.
//! * A connection that is lost breaks no promise: the client comes back by itself, and is counted.
//! * A send that fails does break it: the library tries for longer than any run lasts.

mod books;
mod client;
mod ear;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tidings::client::{ConnectOptions, Trust};
use tokio::task::JoinSet;

pub(crate) use self::books::Books;
pub(crate) use self::client::{Client, Place};
pub(crate) use self::ear::Ear;
use crate::progress::Progress;
use crate::run::{Phase, Run};
use crate::server::{Access, Server};
use crate::tls::SERVER_NAME;

/// Clients that are opened, or ended, at a time.
const AT_ONCE: u32 = 32;
/// How often somebody looks whether all has come.
const LOOK: Duration = Duration::from_millis(50);
/// How long all of them may take to answer at the end, and to end.
const END_WITHIN: Duration = Duration::from_secs(60);

/// What happened to the connections of the clients.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// Connections that were lost.
    pub(crate) pauses: AtomicU64,
    /// Sessions that were open again.
    pub(crate) resumes: AtomicU64,
    /// Peers of which watchers were told that they went on or off line.
    pub(crate) notices: AtomicU64,
}

/// The clients of a run.
pub(crate) struct Library {
    run: Arc<Run>,
    pub(crate) clients: Vec<Client>,
    tasks: JoinSet<()>,
    pub(crate) lives: Arc<Lives>,
}

impl Library {
    /// Opens a client for each of the peers `0..count`, which find the server at `address`.
    ///
    /// # Errors
    ///
    /// Why the first that failed could not be opened.
    pub(crate) async fn open(
        run: &Arc<Run>,
        server: &Server,
        address: SocketAddr,
        count: u32,
        books: &Arc<Books>,
        progress: &Progress,
    ) -> Result<(Self, Duration), String> {
        let options = connect_options(server, address)?;
        progress.begin("opening", u64::from(count));
        let (began, lives) = (Instant::now(), Arc::<Lives>::default());
        let mut openers = JoinSet::new();
        for first in 0..AT_ONCE.min(count) {
            let (run, options) = (run.clone(), options.clone());
            openers.spawn(async move {
                let mut opened = Vec::new();
                for index in (first..count).step_by(AT_ONCE as usize) {
                    opened.push(Client::open(&run, &options, index, Place::default()).await?);
                }
                Ok::<_, String>(opened)
            });
        }
        let (mut clients, mut tasks) = (Vec::new(), JoinSet::new());
        while let Some(opened) = openers.join_next().await {
            for (client, incoming) in opened.map_err(|error| error.to_string())?? {
                let mut ear = Ear::new(run, client.index, books, &lives);
                tasks.spawn(async move { ear.listen(incoming).await });
                clients.push(client);
            }
            progress.reach(clients.len() as u64);
        }
        clients.sort_unstable_by_key(|client| client.index);
        Ok((Self { run: run.clone(), clients, tasks, lives }, began.elapsed()))
    }

    /// Lets all clients say what is due, each in a task of its own.
    pub(crate) fn speak(&mut self, books: &Arc<Books>) {
        for client in &self.clients {
            self.tasks.spawn(client.clone().speak(books.clone()));
        }
    }

    /// Asks the server for a last sign of life of every client, behind which nothing may come.
    pub(crate) async fn fence(&self) {
        let mut pings = JoinSet::new();
        for client in &self.clients {
            let client = client.clone();
            pings.spawn(async move { client.answered().await });
        }
        let answered = async {
            while let Some(pinged) = pings.join_next().await {
                if let Ok(Err(error)) = pinged {
                    self.run.broke(format!("a session does not answer at the end: {error}"));
                }
            }
        };
        if tokio::time::timeout(END_WITHIN, answered).await.is_err() {
            self.run.broke(format!("sessions do not answer at the end within {END_WITHIN:?}"));
        }
    }

    /// Ends all clients, and the run with them.
    pub(crate) async fn end(mut self) {
        self.run.enter(Phase::End);
        let mut ending = JoinSet::new();
        for client in std::mem::take(&mut self.clients) {
            ending.spawn(async move { client.end().await });
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

/// Awaits every answer and every delivery, until nothing has come for so long.
pub(crate) async fn await_all(run: &Run, patience: Duration, progress: &Progress) {
    run.enter(Phase::Quiet);
    progress.begin("settling", 0);
    let mut last = (0, Instant::now());
    loop {
        let counts = run.records.counts();
        let begun = counts.sent.max(run.asked.load(Ordering::Relaxed));
        let unanswered = begun.saturating_sub(counts.acked + counts.refused);
        let missing = counts.due.saturating_sub(counts.delivered + counts.duplicated);
        if unanswered + missing == 0 || last.1.elapsed() > patience {
            return;
        }
        let came = counts.sent + counts.acked + counts.delivered;
        if came != last.0 {
            last = (came, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How the server is reached at an address that need not be its own.
///
/// # Errors
///
/// When it does not speak the protocol of the library.
pub(crate) fn connect_options(
    server: &Server,
    address: SocketAddr,
) -> Result<ConnectOptions, String> {
    let Access::Quic(fingerprint) = server.access else {
        return Err("the client library does not speak MQTT".into());
    };
    Ok(ConnectOptions::new(address.to_string())
        .server_name(SERVER_NAME)
        .trust(Trust::Fingerprint(fingerprint))
        .client(concat!("loadtest/", env!("CARGO_PKG_VERSION"))))
}
