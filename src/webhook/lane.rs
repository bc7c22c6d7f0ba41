//! One lane: what has an order among itself, and goes out one batch after another.
//!
//! # Invariants
//!
//! * What waits is what comes next, in the order of the log, without a hole.
//! * While a batch of the lane is on its way, no more than so much waits here.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::MessageId;
use crate::limits::{WEBHOOK_BATCH_BYTES_MAX, WEBHOOK_BATCH_EVENTS_MAX, WEBHOOK_LANE_BYTES_MAX};
use crate::store::Position;
use crate::webhook::dialect::Fragment;

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    /// The last that is done.
    pub(super) done: Position,
    /// The last that is here, or was.
    pub(super) taken: Position,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) bytes: usize,
    /// Batches on their way that have some of it.
    pub(super) flights: usize,
    /// When the last of these was done.
    pub(super) freed: Option<Instant>,
    /// Behind which entry some of it was left out while it was busy.
    pub(super) left_out: Option<MessageId>,
    /// It takes some of what is read again.
    pub(super) is_behind: bool,
}

/// What waits in a lane.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) fragment: Fragment,
    pub(super) since: Instant,
}

impl Lane {
    /// Of which so much is done.
    pub(super) fn new(done: &Position) -> Self {
        Self {
            done: *done,
            taken: *done,
            waiting: VecDeque::new(),
            bytes: 0,
            flights: 0,
            freed: None,
            left_out: None,
            is_behind: false,
        }
    }

    /// Whether what comes next has to wait in the log, for what goes before it does not go out.
    pub(super) fn leaves_out(&self, events_max: usize) -> bool {
        let is_full = self.waiting.len() >= events_max || self.bytes >= WEBHOOK_LANE_BYTES_MAX;
        self.left_out.is_some() || self.flights > 0 && is_full
    }

    /// Whether no more than this waits, so that it is worth reading again what was left out.
    pub(super) fn has_room(&self, events: usize) -> bool {
        self.waiting.len() <= events && self.bytes <= WEBHOOK_LANE_BYTES_MAX / 2
    }

    /// When what has waited since then is due. A lane that was just freed waits a little for
    /// others: under a backlog each batch would otherwise have only what the last one kept back.
    pub(super) fn due(&self, since: Instant, interval: Duration) -> Instant {
        let waited = since + interval;
        self.freed.map_or(waited, |freed| waited.max(freed + interval / 4))
    }

    /// Moves fragments from the front of the lane into a batch that has `bytes` so far, and says
    /// whether it is full.
    pub(super) fn move_into(&mut self, batch: &mut Vec<Fragment>, bytes: &mut usize) -> bool {
        while let Some(Waiting { fragment, .. }) = self.waiting.front() {
            if batch.is_empty() {
                // Whatever comes first goes out.
            } else if fragment.alone {
                return false;
            } else if batch.len() >= WEBHOOK_BATCH_EVENTS_MAX
                || *bytes + fragment.bytes.len() > WEBHOOK_BATCH_BYTES_MAX
            {
                return true;
            }
            let Some(Waiting { fragment, .. }) = self.waiting.pop_front() else { break };
            self.bytes -= size(&fragment);
            *bytes += fragment.bytes.len();
            let alone = fragment.alone;
            batch.push(fragment);
            if alone {
                return true;
            }
        }
        false
    }
}

/// Bytes that a fragment takes in memory, about.
pub(super) fn size(fragment: &Fragment) -> usize {
    size_of::<Waiting>() + fragment.event.len() + fragment.bytes.len()
}
