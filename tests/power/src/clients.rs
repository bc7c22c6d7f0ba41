//! The clients: they send all that the server takes, and after a cut look whether it is there.
//!
//! # Invariants
//!
//! * A send enters the ledger before it is queued; its answer, and a message, when it has come.
//! * Everything that is awaited has a bound.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use parking_lot::Mutex;
use tidings::client::{
    Client, ConnectOptions, Event, Incoming, NewGroup, OpenOptions, Opening, Outgoing,
    RequestError, SendError, Sending, Sent, Session,
};
use tidings::id::{ConversationId, MessageId, PeerId};
use tidings::reason::Reason;
use tokio::task::JoinSet;

use crate::ledger::{Breach, Device, Ledger, Place, Target, device};
use crate::server::PATIENCE;

/// Connections that the residents share.
const CONNECTIONS: usize = 3;
/// Sends of a resident that are under way at once.
const WINDOW: usize = 24;
/// Messages of a page of history.
const PAGE: usize = 500;

pub(crate) type Shared = Arc<Mutex<Ledger>>;

/// Everybody's sessions in one run of the server. Dropping them is as if their devices were off.
pub(crate) struct Clients {
    ledger: Shared,
    clients: Vec<Client>,
    sessions: Vec<Session>,
    tasks: JoinSet<()>,
}

impl Clients {
    /// Everybody comes back to where they were.
    ///
    /// # Errors
    ///
    /// Why they could not.
    pub(crate) async fn come(ledger: &Shared, connect: ConnectOptions) -> Result<Self, String> {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let began = Instant::now();
            clients.push(loop {
                match Client::connect(connect.clone()).await {
                    Ok(client) => break client,
                    Err(error) if error.is_retryable() && began.elapsed() < PATIENCE => {}
                    Err(error) => return Err(format!("nobody can connect: {error:?}")),
                }
            });
        }
        let mut all =
            Self { ledger: ledger.clone(), clients, sessions: Vec::new(), tasks: JoinSet::new() };
        let count = ledger.lock().residents.len();
        for resident in 0..count {
            let options = options(&ledger.lock().residents[resident]);
            let client = &all.clients[resident % CONNECTIONS];
            let (session, incoming, _) = open(client, options).await?;
            all.sessions.push(session);
            all.tasks.spawn(listen(ledger.clone(), resident, incoming));
        }
        Ok(all)
    }

    /// Looks for all that anybody was told of: in the history; if it is all there, on the devices
    /// of the residents, and on those of some who were absent.
    ///
    /// # Errors
    ///
    /// Why it cannot be looked for.
    pub(crate) async fn judge(&self, random: &mut Rng, is_last: bool) -> Result<(), String> {
        let talks: Vec<(ConversationId, usize, u32)> = {
            let mut ledger = self.ledger.lock();
            if is_last {
                ledger.doubt();
            }
            let talks = ledger.talks.iter();
            talks.map(|(id, talk)| (*id, talk.reader, talk.found)).collect()
        };
        for (conversation, reader, found) in talks {
            let history = match self.history(conversation, reader, found).await {
                Ok(history) => history,
                Err(error) if is_gone(&error) => {
                    let what = format!("{conversation} is gone: {error}");
                    self.ledger.lock().breach(Breach::Lost, what);
                    Vec::new()
                }
                Err(error) => return Err(format!("no {conversation}: {error}")),
            };
            self.ledger.lock().find(conversation, &history);
        }
        if self.ledger.lock().broken.is_any() {
            return Ok(());
        }
        self.wait_for_due().await;
        let absents: Vec<PeerId> = {
            let mut ledger = self.ledger.lock();
            ledger.settle();
            let stay = if is_last { 0 } else { random.usize(..8) };
            let come = ledger.absents.len().saturating_sub(stay);
            ledger.absents.drain(..come).collect()
        };
        for peer in absents {
            self.drain(&peer).await?;
        }
        Ok(())
    }

    /// The messages of a conversation behind number `found`, oldest first.
    async fn history(
        &self,
        conversation: ConversationId,
        reader: usize,
        found: u32,
    ) -> Result<Vec<(Place, Vec<u8>)>, RequestError> {
        let (mut history, mut before) = (Vec::new(), None);
        loop {
            let page = patiently(|| self.sessions[reader].history(conversation, before, PAGE));
            let page = page.await?;
            for past in page.messages {
                before = Some(past.id);
                if past.sequence <= found {
                    history.reverse();
                    return Ok(history);
                }
                let place = Place { id: past.id, sequence: past.sequence };
                history.push((place, past.body.to_vec()));
            }
            if !page.more {
                history.reverse();
                return Ok(history);
            }
        }
    }

    /// Waits until every resident has been handed all that is known to be for it.
    async fn wait_for_due(&self) {
        let began = Instant::now();
        for resident in 0..self.sessions.len() {
            loop {
                let due = self.ledger.lock().due(resident);
                if due.is_empty() {
                    break;
                }
                if began.elapsed() > PATIENCE / 4 {
                    let mut ledger = self.ledger.lock();
                    for number in due {
                        let what = format!("resident-{resident} is not handed {number}");
                        ledger.breach(Breach::Lost, what);
                    }
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// One who was absent comes for the first time, and finds what was sent meanwhile.
    async fn drain(&self, absent: &PeerId) -> Result<(), String> {
        let expected = self.ledger.lock().waiting(absent);
        let options = options(&device(absent.as_str()));
        let (session, mut incoming, opening) = open(&self.clients[0], options).await?;
        let mut found = Vec::new();
        while found.len() < expected.len() {
            match tokio::time::timeout(PATIENCE / 4, incoming.next()).await {
                Ok(Some(Event::Message(message))) => {
                    found.push(Place { id: message.id, sequence: message.sequence });
                }
                Ok(Some(Event::Dropped { .. })) => {}
                Ok(None) | Err(_) => break,
                Ok(Some(_)) => {}
            }
        }
        session.end().await;
        if found != expected || opening.dropped > 0 {
            let missing = expected.iter().filter(|place| !found.contains(place)).count();
            let breach = if missing > 0 { Breach::Lost } else { Breach::OutOfOrder };
            let (of, dropped) = (expected.len(), opening.dropped);
            let what = format!("{absent} misses {missing} of {of}; {dropped} were dropped");
            self.ledger.lock().breach(breach, what);
        }
        Ok(())
    }

    /// Everybody tells the server that they go.
    pub(crate) async fn leave(self) {
        for session in &self.sessions {
            session.end().await;
        }
        for client in self.clients {
            client.close().await;
        }
    }

    /// Makes the group if there is none, and has everybody send until they are dropped: bodies of
    /// up to so many bytes.
    ///
    /// # Errors
    ///
    /// Why there is no group.
    pub(crate) async fn speak(&mut self, random: &mut Rng, bytes: usize) -> Result<(), String> {
        let group = self.ledger.lock().group;
        if group.is_none() {
            let first = &self.sessions[0];
            let failed = |error: RequestError| error.to_string();
            let made = patiently(|| first.create_group(NewGroup::default())).await;
            let group = made.map_err(failed)?.id;
            let others: Vec<PeerId> = self.sessions[1..].iter().map(Session::peer).collect();
            patiently(|| first.invite(group, others.clone())).await.map_err(failed)?;
            self.ledger.lock().group = Some(group);
        }
        for (resident, session) in self.sessions.iter().enumerate() {
            let (ledger, session) = (self.ledger.clone(), session.clone());
            self.tasks.spawn(speak(ledger, resident, session, random.fork(), bytes));
        }
        Ok(())
    }
}

/// Asks until there is an answer: a machine that was stopped for a while has none in time.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, RequestError>
where
    F: Future<Output = Result<T, RequestError>>,
{
    let began = Instant::now();
    loop {
        match ask().await {
            Err(RequestError::TimedOut | RequestError::Paused) if began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            answer => return answer,
        }
    }
}

/// Whether a group is not there, or without one who belongs to it: nobody ever leaves it.
fn is_gone(error: &RequestError) -> bool {
    let gone = [Some(Reason::NoSuchGroup), Some(Reason::NotMember)];
    matches!(error, RequestError::Refused(refusal) if gone.contains(&refusal.reason()))
}

fn options(device: &Device) -> OpenOptions {
    let options = OpenOptions::new(device.peer.clone()).device(device.id.clone());
    options.resume(device.cursor).open_timeout(PATIENCE).send_timeout(PATIENCE)
}

async fn open(
    client: &Client,
    options: OpenOptions,
) -> Result<(Session, Incoming, Opening), String> {
    let (session, mut incoming) =
        client.open(options).await.map_err(|error| format!("nobody can come: {error:?}"))?;
    match incoming.next().await {
        Some(Event::Opened(opening)) => Ok((session, incoming, opening)),
        event => Err(format!("no session begins with {event:?}")),
    }
}

async fn listen(ledger: Shared, resident: usize, mut incoming: Incoming) {
    while let Some(event) = incoming.next().await {
        match event {
            Event::Message(message) => ledger.lock().hand(resident, &message),
            Event::Dropped { count, .. } => {
                let what = format!("{count} messages to resident-{resident} were dropped");
                ledger.lock().breach(Breach::Lost, what);
            }
            _ => {}
        }
    }
}

async fn speak(ledger: Shared, own: usize, session: Session, mut random: Rng, bytes: usize) {
    let mut under_way: VecDeque<(usize, Sending)> = VecDeque::new();
    loop {
        if under_way.len() == WINDOW
            && let Some((number, sending)) = under_way.pop_front()
        {
            answered(&ledger, number, sending.await);
        }
        let (number, outgoing) = {
            let mut ledger = ledger.lock();
            let others = ledger.residents.len() - 1;
            let other = Target::Resident((own + 1 + random.usize(..others)) % (others + 1));
            let target = match random.u8(..16) {
                0 => ledger.absent().unwrap_or(other),
                1 => ledger.group.map_or(other, Target::Group),
                _ => other,
            };
            let (number, body) = ledger.send(own, target.clone(), random.usize(..bytes));
            let outgoing = match target {
                Target::Resident(other) => Outgoing::to(&ledger.residents[other].peer, body),
                Target::Absent(peer) => Outgoing::to(peer, body),
                Target::Group(group) => Outgoing::to(group, body),
            };
            (number, outgoing)
        };
        match session.start_send(outgoing).await {
            Ok(sending) => under_way.push_back((number, sending)),
            Err(error) => return answered(&ledger, number, Err(error)),
        }
    }
}

fn answered(ledger: &Shared, number: usize, answer: Result<Sent, SendError>) {
    match answer {
        Ok(Sent { id, sequence, .. }) => {
            debug_assert!(id > MessageId::NONE);
            ledger.lock().acknowledge(number, Place { id, sequence });
        }
        // It is not known what became of it.
        Err(SendError::MaybeStored | SendError::TimedOut | SendError::Ended) => {}
        Err(error) => {
            ledger.lock().breach(Breach::Other, format!("message {number}: {error}"));
        }
    }
}
