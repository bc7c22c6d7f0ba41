//! The model: what the server must know and tell, as if nothing ever went wrong.
//!
//! # Invariants
//!
//! * It knows no disk, no threads and no crash: whatever happens to the server in between, this is
//!   what has to come out.

use std::collections::{BTreeMap, HashMap};

use tidings::id::ConversationId;

/// Messages kept for a peer that is away.
pub(crate) const WINDOW: usize = 5;
/// How long after its last session a peer is away.
pub(crate) const AWAY_AFTER_MS: i64 = 60_000;

/// Messages given up, and the last of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loss {
    pub(crate) count: u64,
    last: i64,
}

#[derive(Debug, Default)]
struct Device {
    cursor: i64,
    is_open: bool,
    /// It has logged out, or was never there.
    is_closed: bool,
    seen_ms: i64,
    loss: Loss,
}

impl Device {
    /// Whether messages wait for it. (Nobody is gone for seven days here.)
    fn counts(&self) -> bool {
        self.is_open || !self.is_closed
    }
}

/// What waits for a peer, and for which devices.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// Each id, and whether it came while the peer was away.
    waiting: Vec<(i64, bool)>,
    devices: BTreeMap<&'static str, Device>,
    away_at_ms: i64,
    /// Given up while no device counted.
    loss: Loss,
}

impl Inbox {
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.waiting.iter().map(|(id, _)| *id).collect()
    }

    fn is_open(&self) -> bool {
        self.devices.values().any(|device| device.is_open)
    }

    pub(crate) fn deliver(&mut self, id: i64, now_ms: i64) {
        self.waiting.push((id, !self.is_open() && now_ms >= self.away_at_ms));
        if self.waiting.iter().filter(|(_, away)| *away).count() > WINDOW {
            let oldest = self.waiting.iter().position(|(_, away)| *away).unwrap();
            self.give_up(oldest);
        }
    }

    fn give_up(&mut self, at: usize) {
        let (id, _) = self.waiting.remove(at);
        let counted: Vec<_> = self.devices.values_mut().filter(|device| device.counts()).collect();
        let mut losers: Vec<&mut Loss> = Vec::new();
        if counted.is_empty() {
            losers.push(&mut self.loss);
        }
        let behind = counted.into_iter().filter(|device| device.cursor < id);
        losers.extend(behind.map(|device| &mut device.loss));
        for loss in losers {
            *loss = Loss { count: loss.count + 1, last: id };
        }
    }

    /// A session opens; its app has had what is up to `cursor`. Gives what waits for it, and how
    /// many it is told that it has lost.
    pub(crate) fn open(&mut self, on: &'static str, cursor: i64) -> (Vec<i64>, u64) {
        let counted = self.devices.values().filter(|device| device.counts());
        let oldest = counted.map(|device| device.cursor).min();
        let unclaimed =
            if oldest.is_none() { std::mem::take(&mut self.loss) } else { Loss::default() };
        let fresh = || Device { is_closed: true, ..Device::default() };
        let device = self.devices.entry(on).or_insert_with(fresh);
        device.loss.count += unclaimed.count;
        device.loss.last = device.loss.last.max(unclaimed.last);
        device.had(cursor);
        if !device.counts() {
            // One that is new, or comes back, starts where the others stand.
            device.cursor = device.cursor.max(oldest.unwrap_or_default());
        }
        (device.is_open, device.is_closed) = (true, false);
        let (cursor, lost) = (device.cursor, device.loss.count);
        self.waiting.iter_mut().for_each(|(_, away)| *away = false);
        self.release();
        (self.ids().into_iter().filter(|id| *id > cursor).collect(), lost)
    }

    pub(crate) fn acknowledge(&mut self, on: &'static str, id: i64) {
        self.devices.get_mut(on).unwrap().had(id);
        self.release();
    }

    pub(crate) fn end(&mut self, on: &'static str, closed: bool, now_ms: i64) {
        let device = self.devices.get_mut(on).unwrap();
        (device.is_open, device.is_closed, device.seen_ms) = (false, closed, now_ms);
        if !self.is_open() {
            // Who logs out on one device may be about to come back on another.
            let others = self.devices.values().filter(|device| !device.is_closed);
            let seen_ms = others.map(|device| device.seen_ms).max();
            self.away_at_ms = seen_ms.map_or(now_ms, |seen_ms| seen_ms + AWAY_AFTER_MS);
        }
        self.release();
    }

    /// The server starts: all sessions are over.
    pub(crate) fn restart(&mut self, now_ms: i64) {
        if self.is_open() {
            self.away_at_ms = now_ms + AWAY_AFTER_MS;
        }
        for device in self.devices.values_mut().filter(|device| device.is_open) {
            (device.is_open, device.seen_ms) = (false, now_ms);
        }
    }

    /// A message is taken back: it waits no more, and nobody has lost it.
    pub(crate) fn recall(&mut self, id: i64) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
    }

    /// What every device has had that counts waits no more.
    fn release(&mut self) {
        let counted = self.devices.values().filter(|device| device.counts());
        if let Some(oldest) = counted.map(|device| device.cursor).min() {
            self.waiting.retain(|(id, _)| *id > oldest);
        }
    }
}

impl Device {
    fn had(&mut self, id: i64) {
        self.cursor = self.cursor.max(id);
        if self.loss.last <= self.cursor {
            self.loss = Loss::default();
        }
    }
}

/// A message that is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence: u32,
    pub(crate) conversation: ConversationId,
    pub(crate) from: &'static str,
    pub(crate) body: String,
    pub(crate) at_ms: i64,
    /// The notice by which it was taken back.
    pub(crate) recalled: Option<i64>,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) inboxes: BTreeMap<&'static str, Inbox>,
    pub(crate) messages: BTreeMap<i64, Stored>,
    /// What each body is the only one of.
    pub(crate) by_body: HashMap<String, i64>,
    pub(crate) sequences: HashMap<ConversationId, u32>,
    /// How far a peer has read a conversation.
    pub(crate) read: HashMap<(ConversationId, &'static str), u32>,
}

impl Model {
    /// A message was stored for these.
    pub(crate) fn store(&mut self, id: i64, message: Stored, to: &[&'static str]) {
        let last = self.sequences.entry(message.conversation).or_default();
        assert_eq!(message.sequence, *last + 1, "a conversation has no gaps: {message:?}");
        *last += 1;
        let newest = self.messages.last_key_value().map_or(0, |(id, _)| *id);
        assert!(id > newest, "ids rise: {id} behind {newest}");
        for peer in to {
            self.inboxes.entry(peer).or_default().deliver(id, message.at_ms);
        }
        let twice = self.by_body.insert(message.body.clone(), id);
        assert_eq!(twice, None, "a send is stored once: {message:?}");
        self.messages.insert(id, message);
    }
}
