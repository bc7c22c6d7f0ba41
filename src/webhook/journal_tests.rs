//! A journal in memory, which keeps what an endpoint comes to as a journal says it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::id::{ConversationId, EndpointId, MessageId, PeerId};
use crate::limits::ENDPOINT_LANES;
use crate::store::{
    Batch, Closed, EndpointChange, EndpointState, Entry, Journal, Letter, Message, NewUpstream,
    Origin, Placed, Position, ReadError, SendNumber, Stretch,
};

/// Entries of one reading.
const READ_ENTRIES: usize = 300;

#[derive(Default)]
struct Inner {
    log: Vec<Placed>,
    /// Entries up to here are lost.
    lost: MessageId,
    states: BTreeMap<EndpointId, EndpointState>,
    letters: BTreeMap<(EndpointId, Position), Letter>,
    settled: Vec<(MessageId, bool)>,
    notes: usize,
    is_closed: bool,
    /// Entries that cannot be read.
    damaged: BTreeSet<MessageId>,
    /// What is formed is not kept.
    holds_formed: bool,
    /// How often it was not.
    held: usize,
}

/// See above.
pub(super) struct MemoryJournal {
    inner: Mutex<Inner>,
    head: watch::Sender<MessageId>,
}

impl MemoryJournal {
    pub(super) fn new() -> Arc<Self> {
        let head = watch::Sender::new(MessageId(0));
        Arc::new(Self { inner: Mutex::default(), head })
    }

    /// Puts an entry to the log.
    pub(super) fn push(&self, at_ms: i64, entry: impl FnOnce(MessageId) -> Entry) -> MessageId {
        let mut inner = self.inner.lock();
        let id = MessageId(inner.log.len() as i64 + 1);
        inner.log.push(Placed { id, at_ms, entry: entry(id) });
        drop(inner);
        self.head.send_replace(id);
        id
    }

    /// A message in one of many conversations.
    pub(super) fn say(
        &self,
        conversation: u32,
        sequence: u32,
        at_ms: i64,
        body: &str,
    ) -> MessageId {
        let from = PeerId::new(&format!("from{conversation}")).unwrap();
        let to = vec![PeerId::new(&format!("to{conversation}")).unwrap()];
        self.push(at_ms, |id| {
            let message = Message {
                id,
                sequence,
                at_ms,
                expires_ms: 0,
                conversation: ConversationId::of_peers(to.iter().chain([&from])),
                from,
                to,
                devices: Vec::new(),
                receipt: false,
                client_msg_no: Default::default(),
                body: body.to_owned().into(),
            };
            let origin = Origin::Backend { repeat: None, system: false };
            let (push, absent) = (Default::default(), Vec::new());
            Entry::Message { message: Arc::new(message), origin, hash: 0, push, absent }
        })
    }

    /// A message to the back end.
    pub(super) fn say_upstream(&self, from: &str, at_ms: i64) -> MessageId {
        self.push(at_ms, |_| {
            let device = "device".parse().unwrap();
            let number = SendNumber { device, instance: 1, number: 1, answered: 0 };
            let from = PeerId::new(from).unwrap();
            Entry::Upstream(NewUpstream { from, number, body: "hello".into() })
        })
    }

    /// The log has nothing up to here any more.
    pub(super) fn lose(&self, through: MessageId) {
        self.inner.lock().lost = through;
    }

    pub(super) fn state(&self, id: &EndpointId) -> Option<EndpointState> {
        self.inner.lock().states.get(id).cloned()
    }

    pub(super) fn all_letters(&self) -> Vec<Letter> {
        self.inner.lock().letters.values().cloned().collect()
    }

    pub(super) fn settled(&self) -> Vec<(MessageId, bool)> {
        self.inner.lock().settled.clone()
    }

    /// Changes that have been kept.
    pub(super) fn notes(&self) -> usize {
        self.inner.lock().notes
    }

    /// An entry cannot be read any more.
    pub(super) fn damage(&self, id: MessageId) {
        self.inner.lock().damaged.insert(id);
    }

    /// Whether that batches are formed is taken, but not kept.
    pub(super) fn hold_formed(&self, holds: bool) {
        self.inner.lock().holds_formed = holds;
    }

    /// Batches of which it was not kept that they are formed.
    pub(super) fn held(&self) -> usize {
        self.inner.lock().held
    }

    fn holds(&self, change: &EndpointChange) -> bool {
        let mut inner = self.inner.lock();
        let holds = inner.holds_formed && matches!(change, EndpointChange::Formed(_));
        inner.held += usize::from(holds);
        holds
    }

    /// Keeps nothing from here on.
    pub(super) fn close(&self) {
        self.inner.lock().is_closed = true;
        self.head.send_modify(|_| {});
    }

    fn note_now(&self, endpoint: EndpointId, change: EndpointChange) -> Result<(), Closed> {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return Err(Closed);
        }
        inner.note(endpoint.clone(), change.clone());
        let last = inner.log.last().map_or(0, |placed| placed.at_ms);
        drop(inner);
        self.push(last, |_| Entry::Endpoint { endpoint, change });
        Ok(())
    }

    fn entry_now(&self, id: MessageId) -> Option<Placed> {
        let inner = self.inner.lock();
        let found = inner.log.get(usize::try_from(id.0 - 1).ok()?);
        let is_there =
            |placed: &&Placed| placed.id > inner.lost && !inner.damaged.contains(&placed.id);
        found.filter(is_there).cloned()
    }
}

/// What becomes of an endpoint's state by a change.
pub(super) fn apply(state: &mut EndpointState, change: &EndpointChange) {
    let fly = |state: &mut EndpointState, batch: &Batch| {
        state.next_number = state.next_number.max(batch.number + 1);
        state.batches.push(batch.clone());
        state.batches.sort_by_key(|batch| batch.number);
    };
    let land = |state: &mut EndpointState, number: u64| {
        let at = state.batches.iter().position(|batch| batch.number == number)?;
        Some(state.batches.remove(at))
    };
    match change {
        EndpointChange::Began { after } => {
            state.lanes = [Position::end_of(*after); ENDPOINT_LANES];
            state.batches.clear();
        }
        EndpointChange::Formed(batch) => fly(state, batch),
        EndpointChange::Done { number } => {
            for span in land(state, *number).into_iter().flat_map(|batch| batch.spans) {
                let lane = &mut state.lanes[usize::from(span.lane)];
                *lane = span.to.max(*lane);
            }
        }
        EndpointChange::Split { number, parts } => {
            if land(state, *number).is_some() {
                parts.iter().for_each(|part| fly(state, part));
            }
        }
        EndpointChange::Passed { through } => {
            for lane in 0..ENDPOINT_LANES {
                let mut spans = state.batches.iter().flat_map(|batch| &batch.spans);
                if !spans.any(|span| usize::from(span.lane) == lane) {
                    state.lanes[lane] = state.lanes[lane].max(Position::end_of(*through));
                }
            }
        }
        EndpointChange::Halted { why } => state.halted = why.clone(),
        EndpointChange::Kept(_) | EndpointChange::Dropped { .. } | EndpointChange::Removed => {}
    }
}

/// Whether a journal would not ignore a change.
fn makes_sense(state: &EndpointState, change: &EndpointChange) -> bool {
    let can_form = |batch: &Batch, number: u64| {
        batch.number >= number
            && !batch.spans.is_empty()
            && batch.spans.is_sorted_by(|a, b| a.lane < b.lane)
            && batch
                .spans
                .iter()
                .all(|span| span.from < span.to && state.lanes[usize::from(span.lane)] < span.to)
    };
    let has = |number: &u64| state.batches.iter().any(|batch| batch.number == *number);
    match change {
        EndpointChange::Formed(batch) => can_form(batch, state.next_number),
        EndpointChange::Done { number } => has(number),
        EndpointChange::Split { number, parts } => {
            let rises = parts.is_sorted_by(|a, b| a.number < b.number);
            has(number) && rises && parts.iter().all(|part| can_form(part, state.next_number))
        }
        EndpointChange::Passed { through } => {
            let flying = state.batches.iter().flat_map(|batch| &batch.spans).map(|span| span.lane);
            let flying: Vec<usize> = flying.map(usize::from).collect();
            let mut lanes = state.lanes.iter().enumerate();
            lanes.any(|(at, lane)| !flying.contains(&at) && *lane < Position::end_of(*through))
        }
        _ => true,
    }
}

/// The state of an endpoint that begins behind an entry.
pub(super) fn begun(after: MessageId) -> EndpointState {
    EndpointState {
        lanes: [Position::end_of(after); ENDPOINT_LANES],
        batches: Vec::new(),
        next_number: 0,
        halted: None,
        letters: 0,
        letter_bytes: 0,
    }
}

impl Inner {
    fn note(&mut self, id: EndpointId, change: EndpointChange) {
        self.notes += 1;
        if let Some(state) = self.states.get(&id) {
            assert!(makes_sense(state, &change), "{change:?} behind {}", state.next_number);
        }
        match &change {
            EndpointChange::Began { after } if !self.states.contains_key(&id) => {
                self.states.insert(id.clone(), begun(*after));
            }
            EndpointChange::Removed => {
                self.states.remove(&id);
                self.letters.retain(|(of, _), _| *of != id);
            }
            EndpointChange::Kept(letter) => {
                self.letters.insert((id.clone(), letter.position), letter.clone());
            }
            EndpointChange::Dropped { letters } => {
                for position in letters {
                    self.letters.remove(&(id.clone(), *position));
                }
            }
            _ => {}
        }
        let mine = self.letters.iter().filter(|((of, _), _)| *of == id);
        let sizes: Vec<usize> = mine.map(|(_, letter)| letter.bytes()).collect();
        if let Some(state) = self.states.get_mut(&id) {
            apply(state, &change);
            (state.letters, state.letter_bytes) = (sizes.len(), sizes.iter().sum::<usize>() as u64);
        }
    }
}

impl Journal for MemoryJournal {
    fn head(&self) -> MessageId {
        *self.head.borrow()
    }

    fn past(&self, id: MessageId) -> BoxFuture<'_, ()> {
        let mut head = self.head.subscribe();
        Box::pin(async move {
            let is_past = |head: &MessageId| *head > id || self.inner.lock().is_closed;
            head.wait_for(is_past).await.unwrap();
        })
    }

    fn read(&self, after: MessageId, _: usize) -> BoxFuture<'_, Result<Stretch, ReadError>> {
        Box::pin(async move {
            let inner = self.inner.lock();
            if inner.is_closed {
                return Err(Closed.into());
            }
            let lost = (inner.lost > after).then_some(inner.lost);
            let from = usize::try_from(after.max(inner.lost).0).unwrap();
            let mut entries: Vec<Placed> =
                inner.log.iter().skip(from).take(READ_ENTRIES).cloned().collect();
            let through = entries.last().map_or(MessageId(from as i64), |last| last.id);
            entries.retain(|placed| !inner.damaged.contains(&placed.id));
            let damaged = inner.damaged.range(MessageId(from as i64 + 1)..=through);
            let holes = damaged.map(|id| (MessageId(id.0 - 1), *id)).collect();
            Ok(Stretch { entries, through, lost, holes })
        })
    }

    fn entries(&self, ids: Vec<MessageId>) -> BoxFuture<'_, Result<Vec<Placed>, ReadError>> {
        Box::pin(async move { Ok(ids.into_iter().filter_map(|id| self.entry_now(id)).collect()) })
    }

    fn before(&self, at_ms: i64) -> BoxFuture<'_, Result<MessageId, ReadError>> {
        Box::pin(async move {
            let inner = self.inner.lock();
            let last = inner.log.iter().rfind(|placed| placed.at_ms < at_ms);
            Ok(last.map_or(MessageId(0), |placed| placed.id))
        })
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<EndpointId>, ReadError>> {
        Box::pin(async move { Ok(self.inner.lock().states.keys().cloned().collect()) })
    }

    fn endpoint(
        &self,
        endpoint: EndpointId,
    ) -> BoxFuture<'_, Result<Option<EndpointState>, ReadError>> {
        Box::pin(async move {
            let inner = self.inner.lock();
            if inner.is_closed {
                return Err(Closed.into());
            }
            Ok(inner.states.get(&endpoint).cloned())
        })
    }

    fn note(
        &self,
        endpoint: EndpointId,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<(), Closed>> {
        Box::pin(async move {
            if self.holds(&change) {
                std::future::pending::<()>().await;
            }
            self.note_now(endpoint, change)?;
            // What goes to the disk takes its time.
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    fn letters(
        &self,
        endpoint: EndpointId,
        after: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<(Vec<Letter>, bool), ReadError>> {
        Box::pin(async move {
            let inner = self.inner.lock();
            let all = inner.letters.iter().filter(|((of, position), _)| {
                *of == endpoint && after.is_none_or(|after| *position > after)
            });
            let all: Vec<Letter> = all.map(|(_, letter)| letter.clone()).collect();
            let is_more = all.len() > max;
            Ok((all.into_iter().take(max).collect(), is_more))
        })
    }

    fn settle_upstream(
        &self,
        upstream: MessageId,
        accepted: bool,
    ) -> BoxFuture<'_, Result<(), Closed>> {
        Box::pin(async move {
            self.inner.lock().settled.push((upstream, accepted));
            Ok(())
        })
    }
}
