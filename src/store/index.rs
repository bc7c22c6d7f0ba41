//! The history index: where the messages of a conversation or of a sender are.
//!
//! The open segment's is a list in memory, rebuilt by replay. When a segment closes, its list is
//! sorted and written into it as runs: values of at most [`RUN_BYTES`], keyed by the first place
//! they hold. No index write rides on the path of a message.
//!
//! # Invariants
//!
//! * A run's key is its first subject and first id; runs and the places in them are sorted.
//! * Each conversation in a segment names the segment that holds its messages before.

use std::collections::HashMap;

use md5::{Digest, Md5};
use parking_lot::Mutex;
use rkyv::{Archive, Serialize};

use crate::id::{ConversationId, MessageId, PeerId};
use crate::store::archive::{Kind, ValueError, pack, unpack};
use crate::store::segment::{DatabaseError, Segment};

const VERSION: u8 = 1;
/// Bytes of a run: few enough that sled's pages stay far from spilling, see limits.rs.
const RUN_BYTES: usize = 32 * 1024;
const SENDER: u8 = 2;
/// Places of an open segment that are looked at in one go: some 20 us.
const PLACES_PER_STEP: usize = 4096;

/// What one looks for: the key of a conversation, or of a sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub(super) struct Subject([u8; 17]);

impl Subject {
    pub(super) fn conversation(conversation: &ConversationId) -> Self {
        Self(conversation.key())
    }

    pub(super) fn sender(peer: &PeerId) -> Self {
        let mut key = [SENDER; 17];
        key[1..].copy_from_slice(&Md5::digest(peer.as_str()));
        Self(key)
    }

    fn key(self, id: MessageId) -> [u8; 25] {
        let mut key = [0; 25];
        key[..17].copy_from_slice(&self.0);
        key[17..].copy_from_slice(&id.0.to_be_bytes());
        key
    }
}

/// Where one message is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) conversation: ConversationId,
    pub(super) from: PeerId,
    pub(super) id: MessageId,
    /// The segment of the conversation's messages before this segment's; 0 for none.
    pub(super) previous: u32,
}

/// Ids found in one segment, newest first, and where to go on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) ids: Vec<MessageId>,
    /// The segment before; known once a message of the subject was met.
    pub(super) previous: Option<u32>,
}

/// The index of a segment that is not closed yet.
#[derive(Debug, Default)]
pub(super) struct OpenIndex(Mutex<Vec<Place>>);

impl OpenIndex {
    /// Adds the messages of a commit, by rising id.
    pub(super) fn extend(&self, places: impl IntoIterator<Item = Place>) {
        self.0.lock().extend(places);
    }

    /// Up to `max` messages of a subject with ids below `before`.
    pub(super) fn find(
        &self,
        matches: impl Fn(&Place) -> bool,
        before: MessageId,
        max: usize,
    ) -> Found {
        let mut end = self.0.lock().partition_point(|place| place.id < before);
        let mut found = Found::default();
        // Places are only added, behind these; the commit thread gets the lock between two steps.
        while end > 0 {
            let start = end.saturating_sub(PLACES_PER_STEP);
            let places = self.0.lock();
            // The first message of a conversation in a segment is the one that knows what was
            // before, but all of them carry it.
            for place in places[start..end].iter().rev().filter(|place| matches(place)) {
                found.previous = Some(place.previous);
                if found.ids.len() == max {
                    return found;
                }
                found.ids.push(place.id);
            }
            end = start;
        }
        found
    }

    /// Writes the index into its segment, which has been closed.
    pub(super) fn write(&self, segment: &Segment) -> Result<(), DatabaseError> {
        let mut groups = group(&self.0.lock());
        groups.sort_unstable_by_key(|group| (group.subject, group.ids.first().copied()));
        let mut run = Vec::new();
        let mut bytes = 0;
        for group in groups {
            let group_bytes = 32 + group.ids.len() * 8;
            if bytes + group_bytes > RUN_BYTES && !run.is_empty() {
                write_run(segment, std::mem::take(&mut run))?;
                bytes = 0;
            }
            bytes += group_bytes;
            run.push(group);
        }
        if !run.is_empty() {
            write_run(segment, run)?;
        }
        Ok(())
    }
}

/// All ids of one subject in one run.
#[derive(Debug)]
struct Group {
    subject: Subject,
    previous: u32,
    ids: Vec<i64>,
}

/// Gathers the places by subject, in groups that fit a run.
fn group(places: &[Place]) -> Vec<Group> {
    const IDS_MAX: usize = RUN_BYTES / 8 / 2;
    let mut senders: HashMap<&PeerId, Subject> = HashMap::new();
    let mut open: HashMap<Subject, Group> = HashMap::new();
    let mut full = Vec::new();
    for place in places {
        let sender = *senders.entry(&place.from).or_insert_with(|| Subject::sender(&place.from));
        let subjects = [(Subject::conversation(&place.conversation), place.previous), (sender, 0)];
        for (subject, previous) in subjects {
            let empty = || Group { subject, previous, ids: Vec::new() };
            let group = open.entry(subject).or_insert_with(empty);
            group.ids.push(place.id.0);
            if group.ids.len() == IDS_MAX {
                full.push(std::mem::replace(group, empty()));
            }
        }
    }
    full.extend(open.into_values().filter(|group| !group.ids.is_empty()));
    full
}

#[derive(Archive, Serialize)]
struct RunV1 {
    groups: Vec<GroupV1>,
}

#[derive(Archive, Serialize)]
struct GroupV1 {
    subject: [u8; 17],
    previous: u32,
    ids: Vec<i64>,
}

fn write_run(segment: &Segment, groups: Vec<Group>) -> Result<(), DatabaseError> {
    let Some(first) = groups.first() else { return Ok(()) };
    let key = first.subject.key(MessageId(first.ids.first().copied().unwrap_or(0)));
    let group = |group: Group| GroupV1 {
        subject: group.subject.0,
        previous: group.previous,
        ids: group.ids,
    };
    let run = RunV1 { groups: groups.into_iter().map(group).collect() };
    segment.write_index(&key, pack(Kind::Index, VERSION, &run))
}

/// Up to `max` messages of a subject in a closed segment, with ids below `before`.
pub(super) fn find(
    segment: &Segment,
    subject: Subject,
    before: MessageId,
    max: usize,
) -> Result<Found, DatabaseError> {
    let mut found = Found::default();
    let mut probe = subject.key(before).to_vec();
    while let Some((key, run)) = segment.index_below(&probe)? {
        let more = find_in_run(&run, subject, before, max, &mut found)
            .map_err(DatabaseError::value(&segment.database.path))?;
        let begins_with_subject = key.starts_with(&subject.0);
        if !more || !begins_with_subject {
            break;
        }
        probe = key;
    }
    Ok(found)
}

/// Says whether the run before may hold more.
fn find_in_run(
    run: &[u8],
    subject: Subject,
    before: MessageId,
    max: usize,
    found: &mut Found,
) -> Result<bool, ValueError> {
    let run = unpack::<ArchivedRunV1>(Kind::Index, VERSION, run)?;
    let groups = run.groups.iter().rev().filter(|group| group.subject == subject.0);
    for group in groups {
        found.previous = Some(group.previous.to_native());
        for id in group.ids.iter().rev().map(|id| MessageId(id.to_native())) {
            if found.ids.len() == max {
                return Ok(false);
            }
            if id < before {
                found.ids.push(id);
            }
        }
    }
    Ok(found.ids.len() < max)
}
