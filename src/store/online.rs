//! What a peer's sessions mean to the app's back end: how many there are, who was absent when a
//! message came, and what was not acknowledged when the last session ended.
//!
//! # Invariants
//!
//! * No message is told twice to be without anybody: one that came while the peer had no session
//!   was told as it came, and the others are told when its last session has ended.
//! * A session of an earlier run of the server is an orphan of its device until an entry says that
//!   it is over.

use crate::id::{DeviceFlag, DeviceId, MessageId, PeerId, SessionId};
use crate::store::device::Device;
use crate::store::entry::{Absent, Counts, Ending, Entry};
use crate::store::peer::{Peer, Rules, Waiting};

/// A session that is over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Gone {
    pub(super) device: DeviceId,
    pub(super) flag: DeviceFlag,
    pub(super) session: SessionId,
    /// How many the peer has then.
    pub(super) counts: Counts,
}

impl Gone {
    /// The entry that says so.
    pub(super) fn entry(self, peer: PeerId, ending: Ending) -> Entry {
        let Self { device, flag, session, counts } = self;
        Entry::Ended { peer, device, flag, session, ending, counts }
    }
}

impl Peer {
    /// Sessions of an earlier run are over: the server stopped, nobody logged out. Says whether
    /// there were any.
    pub(super) fn enter_run(&mut self, run: u32, started_ms: i64, rules: &Rules) -> bool {
        if self.run >= run {
            return false;
        }
        let was_online = self.has_session();
        if was_online {
            self.away_at_ms = started_ms + rules.away_after_ms;
            // Nobody may have asked for the peer in the runs since.
            self.ended_run = self.run + 1;
            let newest = self.waiting.back().map(|newest| newest.id);
            self.online_until = newest.unwrap_or_default().max(self.online_since);
        }
        self.run = run;
        for device in &mut self.devices {
            if let Some(session) = device.session.take() {
                device.seen_ms = started_ms;
                device.orphan = Some(session);
            }
        }
        was_online
    }

    /// Whether it was online when the server stopped, and has not come back since.
    pub(super) fn was_online(&self, run: u32) -> bool {
        self.ended_run == run && !self.has_session()
    }

    /// A session has ended; one that was replaced ended before, and nothing is told of it.
    pub(super) fn end(
        &mut self,
        on: &DeviceId,
        session: SessionId,
        closed: bool,
        at_ms: i64,
        rules: &Rules,
    ) -> Option<Gone> {
        let known = self.device(on)?;
        let flag = known.flag;
        if known.orphan.take_if(|orphan| *orphan == session).is_none() {
            known.session.take_if(|open| *open == session)?;
            self.leave(on, closed, at_ms, rules);
        }
        let counts = self.session_counts(flag);
        Some(Gone { device: on.clone(), flag, session, counts })
    }

    /// A device has no session any more.
    fn leave(&mut self, on: &DeviceId, closed: bool, at_ms: i64, rules: &Rules) {
        let Some(device) = self.device(on) else { return };
        device.seen_ms = at_ms;
        device.closed = closed;
        if !self.has_session() {
            // Who logs out on one device may be about to come back on another.
            let others = self.devices.iter().filter(|device| !device.closed);
            let seen_ms = others.map(|device| device.seen_ms).max();
            self.away_at_ms = seen_ms.map_or(at_ms, |seen_ms| seen_ms + rules.away_after_ms);
        }
        if closed {
            self.release(at_ms, rules);
        }
    }

    /// How many sessions it has, orphans among them, on devices of a kind and in all.
    pub(super) fn session_counts(&self, flag: DeviceFlag) -> Counts {
        let online =
            self.devices.iter().filter(|device| device.session.or(device.orphan).is_some());
        online.fold(Counts::default(), |Counts { same_flag, all }, device| Counts {
            same_flag: same_flag + u32::from(device.flag == flag),
            all: all + 1,
        })
    }

    /// The sessions of earlier runs of which nobody has been told that they are over.
    pub(super) fn orphans(&self) -> Vec<(DeviceId, SessionId)> {
        let orphan = |device: &Device| Some((device.id.clone(), device.orphan?));
        self.devices.iter().filter_map(orphan).collect()
    }

    /// Whether it has a session, which in its stored form may be one of an earlier run, or had one
    /// of which nobody has been told that it is over.
    pub(super) fn is_maybe_missing(&self) -> bool {
        self.devices.iter().any(|device| device.session.or(device.orphan).is_some())
    }

    /// The peer as one for whom a message waits that has just come, if it has no session.
    pub(super) fn absent(&self, id: &PeerId, at_ms: i64) -> Option<Absent> {
        (!self.has_session()).then(|| Absent { peer: id.clone(), waiting: self.badge(at_ms) })
    }

    /// Messages that wait for it.
    pub(super) fn badge(&self, at_ms: i64) -> u32 {
        let is_expired = |waiting: &&Waiting| !waiting.is_wanted(at_ms);
        let expired = match self.mortal {
            0 => 0,
            _ => self.waiting.iter().filter(is_expired).count(),
        };
        self.waiting.len().saturating_sub(self.notices.len() + expired) as u32
    }

    /// The messages that came while it had sessions, the last of which has ended, and that none of
    /// its devices has had; by rising id. None if no device counts that could still get them.
    pub(super) fn unacknowledged(&self, at_ms: i64, rules: &Rules) -> Vec<MessageId> {
        if self.has_session() || !self.devices.iter().any(|device| device.counts(at_ms, rules)) {
            return Vec::new();
        }
        let position = |id: MessageId| self.waiting.partition_point(|waiting| waiting.id <= id);
        let until = match self.online_until {
            MessageId::NONE => self.waiting.len(),
            until => position(until),
        };
        let came = self.waiting.range(position(self.online_since).min(until)..until);
        let is_told = |waiting: &&Waiting| {
            waiting.is_wanted(at_ms)
                && self.notices.binary_search(&waiting.id).is_err()
                && !self.has_had(waiting.id)
        };
        came.filter(is_told).map(|waiting| waiting.id).collect()
    }

    /// Whether one of the devices that a message is for has had it.
    fn has_had(&self, id: MessageId) -> bool {
        let mut devices = self.devices.iter().enumerate();
        devices.any(|(place, device)| device.cursor >= id && self.aims.is_for(id, Some(place)))
    }
}
