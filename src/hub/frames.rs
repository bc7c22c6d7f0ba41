//! What the store knows, as frames.
//!
//! # Invariants
//!
//! * What goes to many is encoded once; copies differ in the byte of flags at most.

use bytes::{Bytes, BytesMut};

use crate::id::{ConversationId, GroupId};
use crate::store::{Group, Item, Mark, Message, News, Notice, Part, Past};
use crate::wire::{
    Conversation, Deliver, Delivered, GroupEvent, Joined, Read, Recalled, ServerFrame, Text,
    UpstreamDone,
};

/// How a message comes to a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// As it was committed.
    Live,
    /// From the inbox.
    Waited,
    /// From another device of the peer.
    Own,
}

/// Encodes what inboxes hold.
pub(super) fn encode_item(item: &Item, how: How, out: &mut BytesMut) {
    match item {
        Item::Message(message) => encode_message(message, how, out),
        Item::Notice(notice) => encode_notice(notice, how, out),
    }
}

/// Encodes a message for those who get it.
pub(super) fn encode_message(message: &Message, how: How, out: &mut BytesMut) {
    let deliver = Deliver {
        transient: false,
        receipt: message.receipt,
        waited: how == How::Waited,
        own: how == How::Own,
        id: message.id,
        sequence: message.sequence,
        at_ms: message.at_ms as u64,
        conversation: message.conversation,
        from: message.from.clone(),
        to: message.to.clone(),
        client_msg_no: text(&message.client_msg_no),
        body: message.body.clone(),
    };
    ServerFrame::Deliver(deliver).encode(out);
}

/// Encodes a notice for those who get it.
pub(super) fn encode_notice(notice: &Notice, how: How, out: &mut BytesMut) {
    let (id, at_ms) = (notice.id, notice.at_ms as u64);
    let (waited, by) = (how == How::Waited, notice.by.clone());
    let frame: ServerFrame = match &notice.news {
        News::Group(change, peers) => {
            let (group, peers) = (group_of(&notice.conversation), peers.clone());
            GroupEvent { waited, id, group, change: *change, by, peers, at_ms }.into()
        }
        News::Recalled(message, sequence) => Recalled {
            waited,
            id,
            conversation: notice.conversation,
            message: *message,
            sequence: *sequence,
            by,
            at_ms,
        }
        .into(),
        News::Upstream(upstream, accepted) => {
            let (upstream, accepted) = (*upstream, *accepted);
            UpstreamDone { waited, id, upstream, accepted, at_ms }.into()
        }
    };
    frame.encode(out);
}

/// The group of a conversation that is one.
fn group_of(conversation: &ConversationId) -> GroupId {
    match conversation {
        ConversationId::Group(group) => *group,
        ConversationId::Peers(_) => GroupId::default(),
    }
}

/// The frame of a mark.
pub(super) fn mark_frame(mark: &Mark) -> ServerFrame {
    let (conversation, peer) = (mark.conversation, mark.peer.clone());
    let (sequence, at_ms) = (mark.sequence, mark.at_ms as u64);
    if mark.read {
        Read { conversation, peer, sequence, at_ms }.into()
    } else {
        Delivered { conversation, peer, sequence, at_ms }.into()
    }
}

/// What who joins a group is told of it; `count` are in it.
pub(super) fn joined_frame(request: u64, group: &Group, count: usize) -> Joined {
    Joined {
        request,
        group: group.id,
        open: group.open,
        version: group.version,
        count: count as u64,
        rules: group.rules,
        metadata: group.metadata.clone(),
    }
}

/// A message on a page of history.
pub(super) fn past_frame(past: Past) -> crate::wire::Past {
    let Past { message, recalled } = past;
    crate::wire::Past {
        recalled,
        id: message.id,
        sequence: message.sequence,
        at_ms: message.at_ms as u64,
        from: message.from,
        to: message.to,
        client_msg_no: text(&message.client_msg_no),
        body: message.body,
    }
}

/// A conversation on a page of conversations.
pub(super) fn conversation_frame(conversation: ConversationId, part: &Part) -> Conversation {
    Conversation {
        conversation,
        member: part.since != crate::id::MessageId::NONE,
        others: part.others.to_vec(),
        last: part.last,
        sequence: part.sequence,
        read: part.read(),
        unread: part.unread(),
    }
}

fn text(bytes: &Bytes) -> Text {
    std::str::from_utf8(bytes).unwrap_or_default().into()
}
