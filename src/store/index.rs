//! The history index of a segment that is not closed yet: where the messages of a conversation, of
//! a sender and of the whole app are.
//!
//! It is kept in memory, and rebuilt by replay. When a segment closes it is written into the
//! segment's file, sorted by subject. No index write rides on the path of a message.
//!
//! # Invariants
//!
//! * The ids of a subject rise. A look-up takes the same time however many there are.
//! * Each conversation in a segment names the segment that holds its messages before.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use md5::{Digest, Md5};
use parking_lot::RwLock;

use crate::id::{ConversationId, MessageId, PeerId};

const SENDER: u8 = 2;
const APP: u8 = 3;

/// What one looks for: the key of a conversation, of a sender, or of the whole app.
///
/// The kind is its last byte, so that those of all kinds are spread evenly.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) struct Subject(pub(super) [u8; 17]);

impl Subject {
    pub(super) const APP: Self = Self([APP; 17]);

    pub(super) fn conversation(conversation: &ConversationId) -> Self {
        let mut key = conversation.key();
        key.rotate_left(1);
        Self(key)
    }

    pub(super) fn sender(peer: &PeerId) -> Self {
        let mut key = [SENDER; 17];
        key[..16].copy_from_slice(&Md5::digest(peer.as_str()));
        Self(key)
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

/// Whose messages are asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HistoryOf {
    /// A conversation's.
    Conversation(ConversationId),
    /// A sender's.
    Sender(PeerId),
    /// Everybody's.
    App,
}

impl HistoryOf {
    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Conversation(conversation) => Subject::conversation(conversation),
            Self::Sender(peer) => Subject::sender(peer),
            Self::App => Subject::APP,
        }
    }
}

/// Which messages are asked for: those before an id, between two times, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) before: MessageId,
    pub(super) since_ms: i64,
    pub(super) until_ms: i64,
}

/// Ids found in one segment, newest first, and where to go on.
///
/// Where the clock has stepped, some of them may be outside the times asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) ids: Vec<MessageId>,
    /// The segment before; known if the subject is in the segment.
    pub(super) previous: Option<u32>,
}

/// The index of a segment that is not closed yet.
#[derive(Debug, Default)]
pub(super) struct OpenIndex(RwLock<Lists>);

#[derive(Debug, Default)]
struct Lists {
    all: Vec<MessageId>,
    conversations: HashMap<ConversationId, List, RandomState>,
    senders: HashMap<PeerId, List, RandomState>,
    times: Times,
}

/// The messages of one subject.
#[derive(Debug)]
struct List {
    previous: u32,
    ids: Vec<MessageId>,
}

impl OpenIndex {
    /// Adds the messages of a commit, by rising id.
    pub(super) fn extend(&self, at_ms: i64, places: impl IntoIterator<Item = Place>) {
        let mut lists = self.0.write();
        let lists = &mut *lists;
        for Place { conversation, from, id, previous } in places {
            let empty = || List { previous, ids: Vec::new() };
            lists.times.push(id, at_ms);
            lists.all.push(id);
            let conversation = lists.conversations.entry(conversation).or_insert_with(empty);
            conversation.previous = conversation.previous.min(previous);
            conversation.ids.push(id);
            lists.senders.entry(from).or_insert_with(empty).ids.push(id);
        }
    }

    /// Up to `max` messages in a span, newest first.
    pub(super) fn find(&self, of: &HistoryOf, span: &Span, max: usize) -> Found {
        let lists = self.0.read();
        let (ids, previous) = match of {
            HistoryOf::App => (Some(&lists.all), None),
            HistoryOf::Conversation(conversation) => {
                let list = lists.conversations.get(conversation);
                (list.map(|list| &list.ids), list.map(|list| list.previous))
            }
            HistoryOf::Sender(peer) => (lists.senders.get(peer).map(|list| &list.ids), None),
        };
        let Some(ids) = ids else { return Found::default() };
        let (from, to) = lists.times.between(span.since_ms, span.until_ms);
        let end = ids.partition_point(|id| *id < to.min(span.before));
        let start = ids[..end].partition_point(|id| *id < from).max(end.saturating_sub(max));
        Found { ids: ids[start..end].iter().rev().copied().collect(), previous }
    }

    /// All subjects in order, with the segment before and their messages.
    pub(super) fn with_subjects<R>(
        &self,
        work: impl FnOnce(&[(Subject, u32, &[MessageId])]) -> R,
    ) -> R {
        let lists = self.0.read();
        let conversations = lists.conversations.iter().map(|(conversation, list)| {
            (Subject::conversation(conversation), list.previous, &list.ids[..])
        });
        let senders =
            lists.senders.iter().map(|(peer, list)| (Subject::sender(peer), 0, &list.ids[..]));
        let app = (!lists.all.is_empty()).then_some((Subject::APP, 0, &lists.all[..]));
        let mut subjects: Vec<_> = conversations.chain(senders).chain(app).collect();
        subjects.sort_unstable_by_key(|(subject, ..)| *subject);
        work(&subjects)
    }
}

/// When messages were committed, as far as it takes to find those of a span of time.
///
/// Times rise from message to message but where the clock steps back.
#[derive(Debug, Default)]
struct Times {
    /// Messages that are newer than all before them.
    newest: Vec<(MessageId, i64)>,
    /// From this message to the next one named here, none is older than this, nor is any behind.
    oldest: Vec<(MessageId, i64)>,
}

impl Times {
    fn push(&mut self, id: MessageId, at_ms: i64) {
        if self.newest.last().is_none_or(|(_, newest)| *newest < at_ms) {
            self.newest.push((id, at_ms));
        }
        let mut from = id;
        while let Some((first, _)) = self.oldest.pop_if(|(_, oldest)| *oldest > at_ms) {
            from = first;
        }
        if self.oldest.last().is_none_or(|(_, oldest)| *oldest < at_ms) {
            self.oldest.push((from, at_ms));
        }
    }

    /// The ids among which are all messages of a span, the last one not included.
    fn between(&self, since_ms: i64, until_ms: i64) -> (MessageId, MessageId) {
        let at = |times: &[(MessageId, i64)], index: usize| {
            times.get(index).map_or(MessageId(i64::MAX), |(id, _)| *id)
        };
        let from = self.newest.partition_point(|(_, newest)| *newest < since_ms);
        let to = self.oldest.partition_point(|(_, oldest)| *oldest <= until_ms);
        (at(&self.newest, from), at(&self.oldest, to))
    }
}
