//! What the commit thread looks after now and then: segments that closed, got their file or
//! expired, and whether the log is full.
//!
//! # Invariants
//!
//! * A segment's file goes only after the state no longer names it, on stable storage.
//! * Nothing goes that the checkpoint still needs. What a webhook endpoint needs goes for the size
//!   of the log, but not for its age.

use std::time::{Duration, Instant};

use crate::chain::Chain;
use crate::id::MessageId;
use crate::store::database::DatabaseError;
use crate::store::image::SegmentInfo;
use crate::store::ledger::Ledger;
use crate::store::log::{Log, Needed};
use crate::store::state::{Changes, State};

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Milliseconds between two sweeps for expired messages.
const SWEEP_EVERY_MS: i64 = 3600 * 1000;

/// When what was looked after last.
#[derive(Debug)]
pub(super) struct Housekeeping {
    /// `None` when a look is due at once.
    looked: Option<Instant>,
    swept_ms: i64,
    /// The head that the state was told last.
    marked: MessageId,
    is_full: bool,
    folder: std::path::PathBuf,
}

impl Housekeeping {
    pub(super) fn new(folder: std::path::PathBuf, now_ms: i64) -> Self {
        let marked = MessageId::NONE;
        Self { looked: Some(Instant::now()), swept_ms: now_ms, marked, is_full: false, folder }
    }

    /// Whether the log takes no more messages, and nothing that makes a group larger.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// A segment has closed, so that an older one may have to go.
    pub(super) fn closed(
        &mut self,
        state: &State,
        number: u32,
        info: &SegmentInfo,
    ) -> Result<(), DatabaseError> {
        self.looked = None;
        let mut changes = Changes::default();
        changes.segment(number, info);
        changes.apply(state)
    }

    /// Looks after everything, if it is time; says whether a sweep for expired messages is due.
    pub(super) fn look(
        &mut self,
        log: &mut Log,
        ledger: &Ledger,
        now_ms: i64,
    ) -> Result<bool, DatabaseError> {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        let mut changes = Changes::default();
        log.mend();
        for (number, info) in log.closed() {
            changes.segment(number, &info);
        }
        // By this a start knows that the log has lost its end.
        if std::mem::replace(&mut self.marked, log.last) != log.last {
            changes.head(log.last);
        }
        changes.apply(&ledger.state)?;
        // Inboxes hold only the ids of what groups have been told, and endpoints are told of what
        // waits for a peer by its id when its last session has ended.
        let window_ms = ledger.rules.window_age_ms;
        let are_told = ledger.groups.are_told_of(now_ms, window_ms);
        let endpoints = ledger.endpoints.behind();
        let inboxes_ms = if are_told || endpoints.is_some() { window_ms } else { 0 };
        let needed = Needed { applied: ledger.checkpoint.applied, inboxes_ms, endpoints };
        while let Some((number, last)) = log.expired(now_ms, &needed) {
            self.remove(log, ledger, number, last)?;
        }
        let was_full = std::mem::replace(&mut self.is_full, log.is_full());
        if self.is_full && !was_full {
            tracing::error!("the log has reached log_bytes_max: messages and groups are refused");
        }
        let is_due = (now_ms - self.swept_ms).abs() >= SWEEP_EVERY_MS && log.believes(now_ms);
        if is_due {
            self.swept_ms = now_ms;
        }
        Ok(is_due)
    }

    fn remove(
        &self,
        log: &Log,
        ledger: &Ledger,
        number: u32,
        last: MessageId,
    ) -> Result<(), DatabaseError> {
        let state = &ledger.state;
        let mut changes = Changes::default();
        changes.remove_segment(number);
        changes.gone(last);
        ledger.recalled.forget_up_to(last, &mut changes);
        changes.apply(state)?;
        state.database.sync()?;
        // The generation before this one may need what goes now, and could not be opened again.
        if let Err(error) = state.remove_previous(&self.folder) {
            tracing::warn!(error = %Chain(&error), "cannot remove the state before this one");
        }
        tracing::info!(number, "a segment of the log has expired");
        log.remove(number);
        Ok(())
    }
}
