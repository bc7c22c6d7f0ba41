//! One client of the client library: what it says and hears.
//!
//! # Invariants
//!
//! * The library drops repeats, so a message that its app is handed twice breaks the promise.
//! * A send counts as acknowledged when its future says so, over however many connections.

use std::sync::Arc;

use tidings::client::{
    Client as Connection, ConnectOptions, Event, Incoming, Message, OpenOptions,
};
use tidings::client::{Outgoing, Session};
use tidings::id::DeviceId;

use bytes::BytesMut;

use super::attendance::Attendance;
use crate::group::Taken;
use crate::proof::{Arrival, Order};
use crate::run::Run;
use crate::stamp::Stamp;

/// One client: its connection and its session.
#[derive(Clone)]
pub(super) struct Client {
    index: u32,
    run: Arc<Run>,
    pub(super) connection: Connection,
    pub(super) session: Session,
}

/// What the clients that share a socket are opened from.
pub(super) struct Socket {
    options: ConnectOptions,
    first: Option<Connection>,
}

impl Socket {
    pub(super) fn new(options: ConnectOptions) -> Self {
        Self { options, first: None }
    }

    /// Connects once more, and opens the session of the peer `index`.
    ///
    /// # Errors
    ///
    /// Why it could not be opened.
    pub(super) async fn open(
        &mut self,
        run: &Arc<Run>,
        index: u32,
    ) -> Result<(Client, Incoming), String> {
        let text = |error: &dyn std::fmt::Display| format!("a client could not open: {error}");
        let connected = match &self.first {
            Some(first) => first.connect_beside().await,
            None => Connection::connect(self.options.clone()).await,
        };
        let connection = connected.map_err(|error| text(&error))?;
        self.first.get_or_insert_with(|| connection.clone());
        let peer = run.names.peer(index);
        let device = DeviceId::new(peer.as_str()).map_err(|error| text(&error))?;
        let opening = connection.open(OpenOptions::new(peer).device(device)).await;
        let (session, incoming) = opening.map_err(|error| text(&error))?;
        Ok((Client { index, run: run.clone(), connection, session }, incoming))
    }
}

impl Client {
    /// Sends each message of its share, then one to a random client whenever its mail says so,
    /// until the run ends. A share is the numbers of `0..messages` that fall on this client, and
    /// each goes to the peer after all clients that the number falls on.
    pub(super) async fn speak(self, messages: u64, absent: u32) {
        let (run, clients) = (self.run.clone(), self.run.talkers);
        let mut number = 0;
        for share in (u64::from(self.index)..messages).step_by(clients as usize) {
            let to = clients + (share % u64::from(absent)) as u32;
            number += 1;
            self.send(number, to, run.now_ns()).await;
        }
        while let Some(due_ns) = run.mail[self.index as usize].next_due(&run).await {
            number += 1;
            let other = fastrand::u32(0..clients - 1);
            let to = if other >= self.index { other + 1 } else { other };
            self.send(number, to, due_ns).await;
        }
    }

    async fn send(&self, number: u64, to: u32, due_ns: u64) {
        let run = &self.run;
        run.records.own().asked(due_ns, run);
        let mut body = BytesMut::new();
        Stamp { sender: self.index, number, intended_ns: due_ns }.put(&mut body, run.payload);
        let answer = self.session.send(Outgoing::to(run.names.peer(to), body.freeze())).await;
        let sent = match answer {
            Ok(sent) => sent,
            Err(error) => {
                run.trouble(format!("a send failed: {error}"));
                run.records.own().counts.refused += 1;
                return;
            }
        };
        run.ledger.acked(self.index, number, to);
        if let Some(stored) = run.stored.as_ref().filter(|_| to >= run.talkers) {
            stored[to as usize].lock().push(sent.id.0 as u64);
        }
        let mut record = run.records.own();
        record.counts.due += 1;
        record.answered(due_ns, run.now_ns(), run);
    }

    /// Takes all that comes, until the session has ended.
    pub(super) async fn listen(self, mut incoming: Incoming, attendance: Arc<Attendance>) {
        let run = &self.run;
        let mut order = Order::default();
        while let Some(event) = incoming.next().await {
            match event {
                Event::Message(message) => self.take(&message, &mut order),
                Event::Paused(why) => {
                    if !attendance.paused(self.index, run.now_ns()) {
                        run.broke(format!("a session lost its connection: {why:?}"));
                    }
                }
                Event::Resumed(_) => attendance.back(self.index, run.now_ns()),
                Event::Dropped { count, .. } => run.ledger.dropped(self.index, count),
                Event::Ended(why) => run.broke(format!("the server ended a session: {why:?}")),
                Event::Opened(_) => {}
                // Who sends has read what was before, and hears so when it comes back.
                Event::Read(mark) if mark.peer == self.session.peer() => {}
                other => {
                    run.records.own().counts.misdelivered += 1;
                    run.trouble(format!("an event that nobody asked for: {other:?}"));
                }
            }
        }
    }

    /// The app has had a message.
    fn take(&self, message: &Message, order: &mut Order) {
        let run = &self.run;
        let own = run.names.peer(self.index);
        let stamp = Stamp::of(&message.body)
            .filter(|stamp| message.from == run.names.peer(stamp.sender))
            .filter(|_| message.body.len() == run.payload && message.to == [own]);
        let now_ns = run.now_ns();
        let mut record = run.records.own();
        let Some(stamp) = stamp else {
            record.counts.misdelivered += 1;
            return;
        };
        let (sender, number) = (stamp.sender, stamp.number);
        let taken = if !run.ledger.delivered(sender, number, self.index) {
            Taken::Repeated
        } else {
            match order.arrive(sender, number, u64::from(message.sequence)) {
                Arrival::InOrder => Taken::InOrder,
                Arrival::OutOfOrder => Taken::OutOfOrder,
            }
        };
        record.had(taken, stamp.intended_ns, now_ns, run);
    }
}
