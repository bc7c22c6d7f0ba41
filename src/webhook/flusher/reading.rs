//! What was read of the log becomes fragments, and batches of before the start are whole again.
//!
//! # Invariants
//!
//! * Entries are taken in the order of the log, each whole, and none twice.
//! * What the log has lost is told as an event of its own.

use tokio::time::Instant;

use super::Run;
use crate::id::MessageId;
use crate::store::{Entry, Placed};
use crate::webhook::event;
use crate::webhook::lanes::Restored;
use crate::webhook::source::Next;

/// Entries that are made into fragments before anything else has its turn.
const FILL_MAX: usize = 256;

impl Run<'_> {
    /// Takes what has been read into the lanes. Says whether there is more at hand.
    pub(super) fn fill(&mut self) -> bool {
        for _ in 0..FILL_MAX {
            if !self.lanes.has_room() {
                return false;
            }
            let Some(next) = self.source.next() else { return false };
            let passed = match next {
                Next::Entry { placed, found, missing, is_last } => {
                    if missing > 0 {
                        self.miss(placed.id, missing);
                    }
                    self.take_entry(&placed, &found);
                    is_last.then_some(placed.id)
                }
                Next::Lost { from, through, at_ms } => {
                    self.lanes.lose(through);
                    self.flusher.board.lost();
                    let id = &self.flusher.endpoint.id;
                    tracing::warn!(endpoint = %id, %from, %through, "lost to webhooks");
                    // A batch with it must be the same after a restart.
                    let at_ms = at_ms.unwrap_or_else(|| self.flusher.clock.now_ms());
                    self.take_gap(&event::gap(from, through, at_ms));
                    Some(through)
                }
                Next::Passed(through) => Some(through),
            };
            if let Some(through) = passed {
                let restored = self.lanes.passed(through);
                self.restored(restored);
            }
        }
        true
    }

    /// Messages that an entry names are not in the log any more.
    fn miss(&mut self, entry: MessageId, missing: usize) {
        self.lanes.lose_of(entry);
        self.flusher.board.missed(missing);
        let id = &self.flusher.endpoint.id;
        tracing::warn!(endpoint = %id, %entry, missing, "what waited is not in the log any more");
    }

    fn take_entry(&mut self, placed: &Placed, found: &[Placed]) {
        // What endpoints come to would otherwise never end.
        self.is_further |= !matches!(placed.entry, Entry::Endpoint { .. });
        for event in event::events(placed, found) {
            self.take_event(&event);
        }
    }

    fn take_event(&mut self, event: &event::Event) {
        let endpoint = &self.flusher.endpoint;
        if endpoint.hears(event.kind) {
            let now = Instant::now();
            for fragment in endpoint.style.fragments(event) {
                self.lanes.take(fragment, now);
            }
        }
    }

    fn take_gap(&mut self, gap: &event::Event) {
        let endpoint = &self.flusher.endpoint;
        if endpoint.hears(gap.kind) {
            for fragment in endpoint.style.fragments(gap) {
                self.lanes.take_gap(fragment, Instant::now());
            }
        }
    }

    /// Batches of before the start are whole again.
    fn restored(&mut self, restored: Restored) {
        for number in restored.whole {
            if self.lanes.fragments(number).is_empty() {
                self.done(number, Vec::new());
            } else if let Some(parts) = self.lanes.renumber(number) {
                self.part(number, parts);
            } else {
                self.turns.add(number, Instant::now());
            }
        }
        if restored.again.is_some() {
            self.source.rewind();
        }
    }
}
