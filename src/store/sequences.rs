//! The last number of each conversation, which outlives its history.
//!
//! What has changed is kept in memory and reaches the state in buckets, when a segment closes; the
//! log rebuilds what has not.
//!
//! # Invariants
//!
//! * A conversation's number never falls, and is never given twice.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use crate::store::database::DatabaseError;
use crate::store::image::{Checkpoint, ConversationKey, LastSequence};
use crate::store::state::{Changes, State, bucket};

/// A last number, and the segment of the messages before the present one's.
#[derive(Clone, Copy, Debug)]
struct Recent {
    last: LastSequence,
    previous: u32,
}

/// The next number of a conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Next {
    pub(super) sequence: u32,
    pub(super) previous: u32,
}

/// The last numbers of all conversations.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    recent: HashMap<ConversationKey, Recent, RandomState>,
    /// On their way into the state, by bucket.
    flushing: BTreeMap<u16, HashMap<ConversationKey, LastSequence, RandomState>>,
}

impl Sequences {
    /// What a message gets that is put into `segment` now.
    pub(super) fn next(
        &self,
        state: &State,
        checkpoint: &Checkpoint,
        conversation: &ConversationKey,
        segment: u32,
    ) -> Result<Next, DatabaseError> {
        let jump = |last: LastSequence| {
            if last.segment < checkpoint.epoch_segment { checkpoint.sequence_jump } else { 0 }
        };
        if let Some(Recent { last, previous }) = self.recent.get(conversation) {
            let previous = if last.segment == segment { *previous } else { last.segment };
            return Ok(Next { sequence: last.sequence + jump(*last) + 1, previous });
        }
        let last = self.settled(state, conversation)?;
        let jump = last.map_or(checkpoint.sequence_jump, jump);
        let last = last.unwrap_or(LastSequence { sequence: 0, segment: 0 });
        // In the same segment but flushed already: the one before is as good a place to go on.
        let previous = last.segment.min(segment.saturating_sub(1));
        Ok(Next { sequence: last.sequence + jump + 1, previous })
    }

    fn settled(
        &self,
        state: &State,
        conversation: &ConversationKey,
    ) -> Result<Option<LastSequence>, DatabaseError> {
        let flushing = self.flushing.get(&bucket(conversation));
        match flushing.and_then(|bucket| bucket.get(conversation)) {
            Some(last) => Ok(Some(*last)),
            None => state.sequence(conversation),
        }
    }

    /// A message has been given `next`.
    pub(super) fn advance(&mut self, conversation: ConversationKey, next: Next, segment: u32) {
        let last = LastSequence { sequence: next.sequence, segment };
        self.recent.insert(conversation, Recent { last, previous: next.previous });
    }

    /// Conversations that have changed since the last flush began.
    pub(super) fn len(&self) -> usize {
        self.recent.len()
    }

    /// What has changed so far is to reach the state.
    pub(super) fn begin_flush(&mut self) {
        for (conversation, recent) in self.recent.drain() {
            let bucket = self.flushing.entry(bucket(&conversation)).or_default();
            bucket.insert(conversation, recent.last);
        }
        self.recent.shrink_to(1024);
    }

    /// Writes one bucket; says whether there was one to write.
    pub(super) fn flush_one(&mut self, state: &State) -> Result<bool, DatabaseError> {
        let Some((bucket, _)) = self.flushing.first_key_value() else { return Ok(false) };
        let bucket = *bucket;
        let mut rows: BTreeMap<_, _> = state.bucket(bucket)?.into_iter().collect();
        for (conversation, last) in self.flushing.get(&bucket).into_iter().flatten() {
            rows.insert(*conversation, *last);
        }
        let rows: Vec<_> = rows.into_iter().collect();
        let mut changes = Changes::default();
        changes.bucket(bucket, &rows);
        changes.apply(state)?;
        self.flushing.remove(&bucket);
        Ok(true)
    }
}
