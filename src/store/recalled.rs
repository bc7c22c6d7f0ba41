//! The messages that were taken back: what every reader of bodies asks before it hands one out.
//!
//! # Invariants
//!
//! * A message stays recalled for as long as the log holds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::id::MessageId;
use crate::limits::RECALLED_MAX;
use crate::store::database::DatabaseError;
use crate::store::entry::{Message, Past};
use crate::store::state::{Changes, State};

/// The recalled messages, shared with those who read.
#[derive(Clone, Debug, Default)]
pub(super) struct Recalled(Arc<RwLock<BTreeSet<MessageId>>>);

impl Recalled {
    /// Those of a state.
    pub(super) fn open(state: &State) -> Result<Self, DatabaseError> {
        Ok(Self(Arc::new(RwLock::new(state.recalled()?))))
    }

    pub(super) fn contains(&self, message: MessageId) -> bool {
        self.0.read().contains(&message)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.read().len() >= RECALLED_MAX
    }

    pub(super) fn insert(&self, message: MessageId) {
        self.0.write().insert(message);
    }

    /// The log holds nothing up to `last` any more.
    pub(super) fn forget_up_to(&self, last: MessageId, changes: &mut Changes) {
        let mut recalled = self.0.write();
        let kept = recalled.split_off(&MessageId(last.0 + 1));
        for gone in std::mem::replace(&mut *recalled, kept) {
            changes.remove_recalled(gone);
        }
    }

    /// A message as history shows it.
    pub(super) fn past(&self, mut message: Message) -> Past {
        let recalled = self.contains(message.id);
        if recalled {
            message.body = Bytes::new();
        }
        Past { message, recalled }
    }
}
