//! The records of all segments in their order: each names the one before it, so that one that is
//! missing is missed.
//!
//! # Invariants
//!
//! * A record that stands in two segments is counted once.

use super::{Damage, Findings, LogFound, Lost, StateFound};
use crate::id::MessageId;
use crate::store::entry::Entry;
use crate::store::record::{Header, Record};

/// The records so far.
pub(super) struct Chain {
    /// Up to here the log was removed, if the state says so.
    gone: Option<MessageId>,
    last: Option<Header>,
    log: LogFound,
    /// What is not there, and the epoch of what stands before it.
    gaps: Vec<(Lost, u64)>,
}

/// What a record holds.
#[derive(Default)]
pub(super) struct Content {
    pub(super) messages: u64,
    /// Entries that cannot be read, and why.
    pub(super) damage: Vec<String>,
}

impl Chain {
    pub(super) fn new(gone: Option<MessageId>) -> Self {
        Self { gone, last: None, log: LogFound::default(), gaps: Vec::new() }
    }

    /// The next record that can be read.
    pub(super) fn take(&mut self, record: Record<'_>) -> Content {
        let header = record.header;
        let mut content = Content::default();
        for (place, entry) in record.entries().enumerate() {
            match entry {
                Ok(placed) => {
                    let is_message = matches!(placed.entry, Entry::Message { .. });
                    content.messages += u64::from(is_message);
                }
                Err(error) => {
                    let id = header.first.0 + place as i64;
                    content.damage.push(format!("the entry {id}: {error}"));
                }
            }
        }
        if self.follows(&header) {
            self.log.entries += u64::from(header.count);
            self.log.messages += content.messages;
            self.log.last = Some(header.last());
            self.log.first.get_or_insert(header.first);
        }
        content
    }

    /// Whether a record stands behind all so far; notices what is missing between.
    fn follows(&mut self, header: &Header) -> bool {
        let before = Some(header.first);
        match self.last {
            Some(last) if header.first <= last.first => return false,
            Some(last) if header.before != last.first => {
                self.gaps.push((Lost { after: last.last(), before, told: false }, last.epoch));
            }
            None if self.gone.is_some_and(|gone| header.before > gone) => {
                let after = self.gone.unwrap_or_default();
                self.gaps.push((Lost { after, before, told: false }, header.epoch));
            }
            _ => {}
        }
        self.last = Some(*header);
        true
    }

    /// Tells of the log as a whole, now that all segments have been looked at.
    pub(super) fn end(self, state: &StateFound, findings: &mut Findings) {
        let last = self.last.map_or(MessageId::NONE, |last| last.last());
        let on_disk = state.head.max(state.applied).unwrap_or_default();
        // A restart begins a new epoch when it has told of a loss.
        let epoch = self.last.map(|last| last.epoch).or(state.epoch);
        for (lost, before) in self.gaps {
            let told = Some(before) != epoch;
            findings.lost.push(Lost { told, ..lost });
        }
        if last < on_disk {
            findings.lost.push(Lost { after: last, before: None, told: false });
            findings.damage.push(Damage {
                file: "log".to_owned(),
                what: format!("it ends at {last}, and was on the disk up to {on_disk}"),
            });
        }
        findings.log = self.log;
    }
}
