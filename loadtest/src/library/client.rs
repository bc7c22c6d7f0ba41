//! One client: what it says.
//!
//! # Invariants
//!
//! * Sends of one client are queued in the order of their numbers, many of them at a time, so that
//!   a reconnection finds some under way.
//! * A number is of one send of one client, whomever it is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidings::client::{Client as Connection, ConnectOptions, Cursor, Incoming, OpenOptions};
use tidings::client::{Outgoing, Sending, Session};
use tidings::id::{DeviceId, PeerId};
use tokio::task::JoinSet;

use super::books::Books;
use crate::run::{Phase, Run};
use crate::stamp::Stamp;

/// How long a send is tried: longer than any server is gone.
const SEND_WITHIN: Duration = Duration::from_secs(1_800);
/// How long the first opening is tried.
const OPEN_WITHIN: Duration = Duration::from_secs(60);

/// How often a session that has no connection is asked again.
const LOOK: Duration = Duration::from_millis(10);

/// Whom a message is for.
#[derive(Clone, Copy)]
enum To {
    Peer(u32),
    /// The group with this number.
    Group(usize),
}

/// How a session is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// How far its app has come.
    pub(crate) cursor: Cursor,
    /// Whom it watches.
    pub(crate) watch: Vec<PeerId>,
}

/// One client: its connection and its session. A cheap handle.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) index: u32,
    run: Arc<Run>,
    pub(crate) connection: Connection,
    pub(crate) session: Session,
    /// Its last message.
    number: Arc<AtomicU64>,
}

impl Client {
    /// Connects over a socket of its own, and opens the session of the peer `index`.
    ///
    /// # Errors
    ///
    /// Why it could not be opened.
    pub(crate) async fn open(
        run: &Arc<Run>,
        options: &ConnectOptions,
        index: u32,
        place: Place,
    ) -> Result<(Self, Incoming), String> {
        let text = |error: &dyn std::fmt::Display| format!("a client could not open: {error}");
        let connected = Connection::connect(options.clone()).await;
        let connection = connected.map_err(|error| text(&error))?;
        let peer = run.names.peer(index);
        let device = DeviceId::new(peer.as_str()).map_err(|error| text(&error))?;
        let opening = OpenOptions::new(peer)
            .device(device)
            .resume(place.cursor)
            .watch(place.watch)
            .send_timeout(SEND_WITHIN)
            .open_timeout(OPEN_WITHIN);
        let opening = connection.open(opening).await;
        let (session, incoming) = opening.map_err(|error| text(&error))?;
        let number = Arc::default();
        Ok((Self { index, run: run.clone(), connection, session, number }, incoming))
    }

    /// The port of its socket.
    ///
    /// # Errors
    ///
    /// When the system does not tell it.
    pub(crate) fn port(&self) -> Result<u16, String> {
        self.connection.local_addr().map(|own| own.port()).map_err(|error| error.to_string())
    }

    /// Sends a message whenever its mail says so, until the run ends: to one of its groups, or to a
    /// random one of the run's talkers.
    pub(super) async fn speak(self, books: Arc<Books>) {
        let run = self.run.clone();
        let mut answers = JoinSet::new();
        while let Some(due_ns) = run.mail[self.index as usize].next_due(&run).await {
            let to = books.pick(self.index).map_or_else(|| To::Peer(self.other()), To::Group);
            self.begin(to, due_ns, &books, &mut answers).await;
            while answers.try_join_next().is_some() {}
        }
        while answers.join_next().await.is_some() {}
    }

    /// Sends a message to each of these peers, and waits until all are answered.
    pub(crate) async fn send_to(&self, peers: &[u32], books: &Arc<Books>) {
        let mut answers = JoinSet::new();
        for peer in peers {
            self.begin(To::Peer(*peer), self.run.now_ns(), books, &mut answers).await;
        }
        while answers.join_next().await.is_some() {}
    }

    /// Queues a message, and lets its answer be awaited.
    async fn begin(&self, to: To, due_ns: u64, books: &Arc<Books>, answers: &mut JoinSet<()>) {
        let run = &self.run;
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let body = self.body(number, due_ns);
        let message = match to {
            To::Peer(peer) => Outgoing::to(run.names.peer(peer), body),
            To::Group(group) => match books.id(group) {
                Some(id) => Outgoing::to(id, body),
                None => return,
            },
        };
        run.records.own().asked(due_ns, run);
        match self.session.start_send(message).await {
            Ok(sending) => {
                let (client, books) = (self.clone(), books.clone());
                answers.spawn(client.note(sending, number, to, due_ns, books));
            }
            Err(error) => self.failed(&error),
        }
    }

    fn body(&self, number: u64, due_ns: u64) -> Bytes {
        let mut body = BytesMut::new();
        let stamp = Stamp { sender: self.index, number, intended_ns: due_ns };
        stamp.put(&mut body, self.run.payload);
        body.freeze()
    }

    fn other(&self) -> u32 {
        let other = fastrand::u32(0..self.run.talkers - 1);
        if other >= self.index { other + 1 } else { other }
    }

    /// Awaits the answer to a send, and writes it down.
    async fn note(self, sending: Sending, number: u64, to: To, due_ns: u64, books: Arc<Books>) {
        let run = &self.run;
        let sent = match sending.await {
            Ok(sent) => sent,
            Err(error) => return self.failed(&error),
        };
        books.acked(self.index, number);
        let mut record = match to {
            To::Peer(peer) => {
                run.ledger.acked(self.index, number, peer);
                let mut record = run.records.own();
                record.counts.due += 1;
                record
            }
            To::Group(group) => {
                let agreed = books.acked_in(group, self.index, number, sent.sequence);
                let mut record = run.records.own();
                record.counts.misdelivered += u64::from(!agreed);
                record.counts.due += books.others();
                record
            }
        };
        record.answered(due_ns, run.now_ns(), run);
    }

    fn failed(&self, error: &dyn std::fmt::Display) {
        self.run.records.own().counts.refused += 1;
        self.run.broke(format!("a send failed: {error}"));
    }

    /// Asks the server for a sign of life until there is one, over however many connections.
    ///
    /// # Errors
    ///
    /// When the session is over.
    pub(crate) async fn answered(&self) -> Result<(), String> {
        loop {
            match self.session.ping().await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() && self.run.phase() < Phase::End => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Ends the session and the connection, without logging out.
    pub(crate) async fn end(self) {
        self.session.end().await;
        drop(self.session);
        self.connection.close().await;
    }
}
