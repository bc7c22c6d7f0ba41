//! What the store knows of one peer: its devices, and the messages that wait for them.
//!
//! # Invariants
//!
//! * All of it follows from the entries of the log in their order; no rule reads a clock.
//! * A message waits until every counted device that it is for has acknowledged it, or the window
//!   gives it up. One that is for devices of which none counts goes at once, unless no device
//!   counts at all: then it waits for the first to open, and goes if that is another.
//! * The window holds so many messages of the peer, whichever devices they are for.
//! * Whatever the window gives up is counted for every counted device that it was for and that had
//!   not had it, until that device acknowledges the count.

use std::collections::VecDeque;

use crate::id::{DeviceFlag, DeviceId, MessageId, SessionId};
use crate::limits::{DEVICES_PER_PEER_MAX, WINDOW_AGE_SETTING_MAX};
use crate::store::aim::{Aims, Places};
use crate::store::device::{Device, Loss};
use crate::store::entry::{Counts, Item, Opening};
use crate::store::online::Gone;
use crate::store::part::Parts;
use crate::store::receipts::{Due, Receipts};

/// How long and how much is kept for a peer that is away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) window_messages: usize,
    pub(super) window_age_ms: i64,
    pub(super) away_after_ms: i64,
    pub(super) inbox_max: usize,
    pub(super) devices_max: usize,
}

/// A message that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: MessageId,
    pub(super) at_ms: i64,
    /// When it need not be delivered any more; 0 for never.
    pub(super) expires_ms: i64,
    /// What waits, until it has settled: in a row on disk, or in the log alone if it is shared.
    pub(super) body: Option<Item>,
}

/// What was given up when a message came.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct GivenUp {
    /// It waits for nobody: no device that it is for is the peer's, or logged in.
    pub(super) is_for_nobody: bool,
    /// For newer ones, in the window of a peer that is away.
    pub(super) window: usize,
    /// For their age.
    pub(super) aged: usize,
    /// The one that went because the inbox was full.
    pub(super) overflow: Option<Overflow>,
}

/// What a full inbox has given up, and for which devices it was; for all if there are none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Overflow {
    pub(super) id: MessageId,
    pub(super) devices: Vec<DeviceId>,
}

/// The ids of a row on disk that holds waiting messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct RowRef {
    pub(super) first: MessageId,
    pub(super) last: MessageId,
}

/// What an Open finds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) cursor: MessageId,
    pub(super) next_number: u64,
    pub(super) waiting: usize,
    pub(super) loss: Loss,
    pub(super) replaced: Option<SessionId>,
    /// The receipts due for what the app says it has had.
    pub(super) receipts: Vec<Due>,
    /// Devices that the peer has no more, for there were too many.
    pub(super) forgotten: Vec<DeviceId>,
    /// Messages given up because they were older than the window.
    pub(super) aged: usize,
    /// How many sessions the peer has now.
    pub(super) counts: Counts,
    /// The sessions that are over by this: the device's until now, and those of forgotten devices.
    pub(super) gone: Vec<Gone>,
}

impl Waiting {
    /// Whether its sender still wants it delivered.
    pub(super) fn is_wanted(&self, at_ms: i64) -> bool {
        self.expires_ms == 0 || at_ms < self.expires_ms
    }
}

/// One peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// The run of the server in which its sessions are to be believed.
    pub(super) run: u32,
    /// The run whose start ended its sessions, unless it has come back since.
    pub(super) ended_run: u32,
    /// From when it is away, if it has no session.
    pub(super) away_at_ms: i64,
    /// The entry by which it came online last.
    pub(super) online_since: MessageId,
    /// The last message that had come when the server stopped, if that ended its sessions.
    pub(super) online_until: MessageId,
    pub(super) devices: Vec<Device>,
    /// Oldest first; ids strictly rise.
    pub(super) waiting: VecDeque<Waiting>,
    /// Which of `waiting` are for some devices only.
    pub(super) aims: Aims,
    /// Which of `waiting` are notices, and how many of it have a time to live of their own.
    pub(super) notices: VecDeque<MessageId>,
    pub(super) mortal: usize,
    /// How many wait by its stored form.
    pub(super) stored: usize,
    /// How many at the end of `waiting` came while it was away.
    pub(super) away_count: usize,
    /// Where the messages without a body are.
    pub(super) rows: Vec<RowRef>,
    /// Given up while no device counted; the first to open is told.
    pub(super) loss: Loss,
    /// The last entry that shows in the stored form.
    pub(super) applied: MessageId,
    /// It differs from its stored form.
    pub(super) dirty: bool,
    /// It stands in the list of those that the next flush looks at.
    pub(super) listed: bool,
    /// It stands in the queue of those whose messages may have to settle.
    pub(super) queued: bool,
    /// Bytes of the bodies in `waiting`.
    pub(super) tail_bytes: usize,
    /// Pieces that its stored form is in; 0 if it is whole.
    pub(super) pieces: usize,
    /// What it takes part in.
    pub(super) parts: Parts,
    /// Who asked to hear that it has had a message.
    pub(super) receipts: Receipts,
}

impl Peer {
    pub(super) fn has_session(&self) -> bool {
        self.devices.iter().any(|device| device.session.is_some())
    }

    pub(super) fn has_tail(&self) -> bool {
        self.waiting.back().is_some_and(|newest| newest.body.is_some())
    }

    pub(super) fn device(&mut self, id: &DeviceId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.id == *id)
    }

    /// The place of a device in the list.
    pub(super) fn place(&self, id: &DeviceId) -> Option<usize> {
        self.devices.iter().position(|device| device.id == *id)
    }

    fn is_away(&self, at_ms: i64) -> bool {
        !self.has_session() && at_ms >= self.away_at_ms
    }

    /// A message or a notice has come. Says what was given up for it.
    pub(super) fn deliver(&mut self, item: &Item, rules: &Rules) -> GivenUp {
        let (id, at_ms, expires_ms) = (item.id(), item.at_ms(), item.expires_ms());
        if let Some(places) = self.aim(item) {
            if is_done(&self.counted(at_ms, rules), id, places) {
                self.receipts.forget(id);
                return GivenUp { is_for_nobody: true, ..GivenUp::default() };
            }
            self.aims.push(id, places);
        }
        self.tail_bytes += item.bytes();
        self.waiting.push_back(Waiting { id, at_ms, expires_ms, body: Some(item.clone()) });
        self.mortal += usize::from(expires_ms != 0);
        if let Item::Notice(_) = item {
            self.notices.push_back(id);
        }
        if self.is_away(at_ms) {
            self.away_count += 1;
        }
        let mut given_up = GivenUp::default();
        let span_ms = WINDOW_AGE_SETTING_MAX.as_millis() as i64;
        while self.waiting.front().is_some_and(|oldest| oldest.at_ms < at_ms - span_ms) {
            // Nobody looked for weeks; the stored form has no place for so long a time.
            self.give_up(0, at_ms, rules);
            given_up.aged += 1;
        }
        if self.away_count > rules.window_messages {
            let oldest_away = self.waiting.len() - self.away_count;
            self.give_up(oldest_away, at_ms, rules);
            given_up.window += 1;
        }
        if self.waiting.len() > rules.inbox_max {
            given_up.overflow = self.waiting.front().map(|oldest| self.overflow(oldest.id));
            self.give_up(0, at_ms, rules);
        }
        given_up
    }

    /// The devices that something is for; `None` if it is for all.
    fn aim(&self, item: &Item) -> Option<Places> {
        let Item::Message(message) = item else { return None };
        let places = self.devices.iter().enumerate();
        let places = places.filter(|(_, device)| message.is_for(&device.id));
        (!message.devices.is_empty()).then(|| places.map(|(place, _)| place).collect())
    }

    fn overflow(&self, id: MessageId) -> Overflow {
        let aimed = self.aims.of(id).unwrap_or_default();
        let devices = self.devices.iter().enumerate().filter(|(place, _)| aimed.has(*place));
        Overflow { id, devices: devices.map(|(_, device)| device.id.clone()).collect() }
    }

    /// Gives up what is older than the window. Says how many.
    pub(super) fn expire(&mut self, at_ms: i64, rules: &Rules) -> usize {
        let before = self.waiting.len();
        while self
            .waiting
            .front()
            .is_some_and(|oldest| at_ms.saturating_sub(oldest.at_ms) >= rules.window_age_ms)
        {
            self.give_up(0, at_ms, rules);
        }
        before - self.waiting.len()
    }

    /// Forgets what a name takes part in that somebody has written to, and that never came.
    pub(super) fn forget_unclaimed(&mut self) {
        if self.devices.is_empty() && self.waiting.is_empty() {
            self.parts.forget_all_but_groups();
        }
    }

    fn give_up(&mut self, index: usize, at_ms: i64, rules: &Rules) {
        // What its sender does not want delivered any more is no loss.
        let Some((gone, aim)) = self.take(index) else { return };
        self.receipts.forget(gone.id);
        if !gone.is_wanted(at_ms) {
            return;
        }
        let nobody = !self.devices.iter().any(|device| device.counts(at_ms, rules));
        for (place, device) in self.devices.iter_mut().enumerate() {
            // Where nobody counts, what is for some devices is lost to those alone.
            let counts = device.counts(at_ms, rules) || (nobody && aim.is_some());
            let is_for_it = aim.is_none_or(|places| places.has(place));
            if counts && is_for_it && device.cursor < gone.id {
                device.lose(gone.id);
            }
        }
        if nobody && aim.is_none() {
            self.loss.add(gone.id, 1);
        }
    }

    /// Takes out a message, and for which devices it was.
    fn take(&mut self, index: usize) -> Option<(Waiting, Option<Places>)> {
        if index + self.away_count >= self.waiting.len() {
            self.away_count = self.away_count.saturating_sub(1);
        }
        let gone = self.waiting.remove(index)?;
        if let Some(body) = &gone.body {
            self.tail_bytes = self.tail_bytes.saturating_sub(body.bytes());
        }
        self.mortal = self.mortal.saturating_sub(usize::from(gone.expires_ms != 0));
        if let Ok(at) = self.notices.binary_search(&gone.id) {
            self.notices.remove(at);
        }
        let aim = self.aims.remove(gone.id);
        Some((gone, aim))
    }

    /// A message was taken back, or nobody is left for it: it waits no more, and that is no loss.
    pub(super) fn let_go(&mut self, id: MessageId) {
        self.receipts.forget(id);
        if let Ok(index) = self.waiting.binary_search_by_key(&id, |waiting| waiting.id) {
            self.take(index);
        }
    }

    /// A device has had everything up to `id`. Says whose receipts are due now.
    pub(super) fn acknowledge(
        &mut self,
        on: &DeviceId,
        id: MessageId,
        at_ms: i64,
        rules: &Rules,
    ) -> Vec<Due> {
        let Some(place) = self.place(on) else { return Vec::new() };
        let device = &mut self.devices[place];
        device.cursor = device.cursor.max(id);
        if device.loss.id <= device.cursor {
            device.loss = Loss::default();
        }
        let receipts = self.take_receipts(place, id, at_ms);
        self.release(at_ms, rules);
        receipts
    }

    /// The receipts due for what the device at a place has had.
    fn take_receipts(&mut self, place: usize, id: MessageId, at_ms: i64) -> Vec<Due> {
        let aims = &self.aims;
        self.receipts.take(id, at_ms, |id| aims.is_for(id, Some(place)))
    }

    /// Lets go of what every counted device that it is for has had.
    pub(super) fn release(&mut self, at_ms: i64, rules: &Rules) {
        if !self.aims.is_empty() {
            let counted = self.counted(at_ms, rules);
            let aims = self.aims.iter().filter(|(id, places)| is_done(&counted, *id, *places));
            let done: Vec<MessageId> = aims.map(|(id, _)| id).collect();
            // A receipt that is still due is for a device that is gone.
            done.into_iter().for_each(|id| self.let_go(id));
        }
        let Some(oldest) = self.oldest_cursor(at_ms, rules) else { return };
        while self.waiting.front().is_some_and(|waiting| waiting.id <= oldest) {
            self.take(0);
        }
    }

    /// The places of the counted devices, and how far each is.
    fn counted(&self, at_ms: i64, rules: &Rules) -> Vec<(usize, MessageId)> {
        let devices = self.devices.iter().enumerate();
        let counted = devices.filter(|(_, device)| device.counts(at_ms, rules));
        counted.map(|(place, device)| (place, device.cursor)).collect()
    }

    /// How far the counted device that has had least is; `None` if no device counts.
    fn oldest_cursor(&self, at_ms: i64, rules: &Rules) -> Option<MessageId> {
        let counted = self.devices.iter().filter(|device| device.counts(at_ms, rules));
        counted.map(|device| device.cursor).min()
    }

    /// A session opens.
    pub(super) fn open(
        &mut self,
        opening: &Opening,
        session: SessionId,
        at_ms: i64,
        rules: &Rules,
    ) -> Found {
        let aged = self.expire(at_ms, rules);
        let start = self.oldest_cursor(at_ms, rules);
        self.ended_run = 0;
        if !self.has_session() {
            (self.online_since, self.online_until) = (MessageId(session.0), MessageId::NONE);
        }
        let known = self.devices.iter().position(|device| device.id == opening.device);
        let mut forgotten = Vec::new();
        let index = known.unwrap_or_else(|| self.admit(opening, rules, &mut forgotten));
        let unclaimed = start.is_none().then(|| std::mem::take(&mut self.loss));
        let device = &mut self.devices[index];
        device.cursor = device.cursor.max(opening.cursor);
        let Loss { count, id } = unclaimed.unwrap_or_default();
        device.loss.add(id, count);
        if device.loss.id <= device.cursor {
            device.loss = Loss::default();
        }
        let Loss { count, id } = std::mem::take(&mut device.missed);
        device.loss.add(id, count);
        if !device.counts(at_ms, rules) {
            device.cursor = device.cursor.max(start.unwrap_or_default());
        }
        let before = (device.flag, device.session.replace(session));
        device.flag = opening.flag;
        device.closed = false;
        device.seen_ms = at_ms;
        let cut_off = forgotten.iter().rev().find_map(|device| device.session);
        let replaced = before.1.or(cut_off);
        let next_number = device.sender(opening.instance).highest + 1;
        let (cursor, loss) = (device.cursor, device.loss);
        self.away_count = 0;
        let receipts = self.take_receipts(index, opening.cursor, at_ms);
        self.release(at_ms, rules);
        let waiting = self.waiting.iter().rev().take_while(|waiting| waiting.id > cursor);
        let waiting = waiting.filter(|waiting| self.aims.is_for(waiting.id, Some(index)));
        let waiting = waiting.filter(|waiting| waiting.is_wanted(at_ms)).count();
        let gone = |(device, flag, session): (&DeviceId, DeviceFlag, Option<SessionId>)| {
            let (device, counts) = (device.clone(), self.session_counts(flag));
            session.map(|session| Gone { device, flag, session, counts })
        };
        let cut_off = forgotten.iter().map(|device| (&device.id, device.flag, device.session));
        let over = cut_off.chain([(&opening.device, before.0, before.1)]);
        let gone = over.filter_map(gone).collect();
        let counts = self.session_counts(opening.flag);
        let forgotten = forgotten.into_iter().map(|device| device.id).collect();
        Found {
            cursor,
            next_number,
            waiting,
            loss,
            replaced,
            receipts,
            forgotten,
            aged,
            counts,
            gone,
        }
    }

    /// Adds a device, for which the one not seen for longest may have to go: one that has a
    /// session only if all have, and its session is told too.
    fn admit(&mut self, opening: &Opening, rules: &Rules, forgotten: &mut Vec<Device>) -> usize {
        // The setting may be lower than when the devices came.
        while self.devices.len() >= rules.devices_max.clamp(1, DEVICES_PER_PEER_MAX) {
            let idle = self.devices.iter().enumerate();
            let oldest =
                idle.min_by_key(|(_, d)| (d.session.is_some(), d.seen_ms)).map(|(at, _)| at);
            let oldest = oldest.unwrap_or(0);
            forgotten.push(self.devices.remove(oldest));
            self.aims.leave(oldest);
        }
        // Most peers have one, and room for four would be half of what is kept of a peer.
        self.devices.reserve_exact(1);
        self.devices.push(Device {
            id: opening.device.clone(),
            flag: opening.flag,
            cursor: MessageId::NONE,
            session: None,
            orphan: None,
            seen_ms: 0,
            closed: true,
            loss: Loss::default(),
            missed: Loss::default(),
            senders: Vec::new(),
        });
        self.devices.len() - 1
    }

    /// The rows that hold nothing that waits any more; they are forgotten here.
    pub(super) fn spent_rows(&mut self) -> Vec<RowRef> {
        let waiting = &self.waiting;
        let is_spent = |row: &RowRef| {
            let first = waiting.partition_point(|waiting| waiting.id < row.first);
            waiting.get(first).is_none_or(|waiting| waiting.id > row.last)
        };
        let (gone, kept) = self.rows.iter().partition(|row| is_spent(row));
        self.rows = kept;
        gone
    }
}

/// Whether a message for these devices need not wait: each that counts has had it, or some count
/// and it is for others, or those that it was for have been forgotten.
fn is_done(counted: &[(usize, MessageId)], id: MessageId, places: Places) -> bool {
    let has_had = |(place, cursor): &(usize, MessageId)| !places.has(*place) || *cursor >= id;
    places.is_empty() || (!counted.is_empty() && counted.iter().all(has_had))
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
