//! One device of a peer: what it has had, what it has sent, and what it was not given.
//!
//! # Invariants
//!
//! * A cursor never goes back.

use crate::id::{DeviceFlag, DeviceId, MessageId, SessionId};
use crate::limits::INSTANCES_REMEMBERED;
use crate::store::peer::Rules;
use crate::store::sender::Sender;

/// Messages given up, and the last of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// The last of them.
    pub id: MessageId,
}

impl Loss {
    pub(super) fn add(&mut self, id: MessageId, count: u64) {
        self.count += count;
        self.id = self.id.max(id);
    }
}

/// One device of a peer.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) id: DeviceId,
    pub(super) flag: DeviceFlag,
    /// Everything up to here has been acknowledged.
    pub(super) cursor: MessageId,
    /// The session it has, if it has one.
    pub(super) session: Option<SessionId>,
    /// The one that it had when the server stopped, until an entry says that it is over.
    pub(super) orphan: Option<SessionId>,
    /// When its last session ended, or began if it has one.
    pub(super) seen_ms: i64,
    /// It logged out, and gets nothing until it opens again.
    pub(super) closed: bool,
    /// Given up while it had no session. Its last Open told of it, if it has one now.
    pub(super) loss: Loss,
    /// Given up under the eyes of its session; acknowledging later messages says nothing of it.
    pub(super) missed: Loss,
    pub(super) senders: Vec<Sender>,
}

impl Device {
    /// Whether messages wait for this device.
    pub(super) fn counts(&self, at_ms: i64, rules: &Rules) -> bool {
        self.session.is_some()
            || (!self.closed && at_ms.saturating_sub(self.seen_ms) < rules.window_age_ms)
    }

    /// The sends of an instance; the instance longest silent is forgotten for a new one.
    pub(super) fn sender(&mut self, instance: u64) -> &mut Sender {
        let known = self.senders.iter().position(|sender| sender.instance == instance);
        if let Some(at) = known {
            self.senders[at..].rotate_left(1);
        } else {
            if self.senders.len() == INSTANCES_REMEMBERED {
                self.senders.remove(0);
            }
            self.senders.reserve_exact(1);
            self.senders.push(Sender::new(instance));
        }
        let newest = self.senders.len() - 1;
        &mut self.senders[newest]
    }

    /// A message was given up that it had not had.
    pub(super) fn lose(&mut self, id: MessageId) {
        let loss = if self.session.is_some() { &mut self.missed } else { &mut self.loss };
        loss.add(id, 1);
    }
}
