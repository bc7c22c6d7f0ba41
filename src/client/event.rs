//! What a session tells the app: messages and events.
//!
//! # Invariants
//!
//! * Everything here is a value; nothing refers to the session that it came from.

use bytes::Bytes;

use crate::client::{Refusal, SendError, Sent};
use crate::group::GroupChange;
use crate::id::{ConversationId, GroupId, MessageId, PeerId, SessionId};
use crate::reason::Reason;
use crate::wire;

/// How far an app has come in the log of the server: what it keeps to go on from there.
///
/// An id means something only together with the epoch of the log that gave it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct Cursor {
    /// The log; 0 for none.
    pub epoch: u64,
    /// The last message that the app has had; [`MessageId::NONE`] for none.
    pub id: MessageId,
}

/// A message for this session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its id; [`MessageId::NONE`] if transient.
    pub id: MessageId,
    /// The log that the id belongs to.
    pub epoch: u64,
    /// Its number in its conversation, from 1; 0 if transient.
    pub sequence: u32,
    /// When the server took it, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// Who sent it.
    pub from: PeerId,
    /// For whom it is; empty in a group.
    pub to: Vec<PeerId>,
    /// The app's own number for it; empty for none.
    pub client_msg_no: wire::Text,
    /// What it says.
    pub body: Bytes,
    /// Never stored, and not acknowledged.
    pub transient: bool,
    /// The sender wants to hear of its delivery.
    pub receipt: bool,
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// The peer itself sent it, from another of its devices.
    pub own: bool,
}

impl Message {
    /// The place of the message in the log: acknowledge it, or keep it to resume from.
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, id: self.id }
    }

    pub(super) fn new(frame: wire::Deliver, epoch: u64) -> Self {
        Self {
            id: frame.id,
            epoch,
            sequence: frame.sequence,
            at_ms: frame.at_ms,
            conversation: frame.conversation,
            from: frame.from,
            to: frame.to,
            client_msg_no: frame.client_msg_no,
            body: frame.body,
            transient: frame.transient,
            receipt: frame.receipt,
            waited: frame.waited,
            own: frame.own,
        }
    }
}

/// How far a conversation was delivered or read. A later mark stands for those before it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mark {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who has had or read it.
    pub peer: PeerId,
    /// The number of the last such message.
    pub sequence: u32,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// A message has been taken back, for everybody.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recalled {
    /// The conversation.
    pub conversation: ConversationId,
    /// The message.
    pub message: MessageId,
    /// Its number in the conversation.
    pub sequence: u32,
    /// Who took it back; nobody for the app's back end.
    pub by: Option<PeerId>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// The place of this notice in the log, acknowledged like a message.
    pub cursor: Cursor,
}

impl Recalled {
    pub(super) fn new(frame: wire::Recalled, epoch: u64) -> Self {
        Self {
            conversation: frame.conversation,
            message: frame.message,
            sequence: frame.sequence,
            by: frame.by,
            at_ms: frame.at_ms,
            waited: frame.waited,
            cursor: Cursor { epoch, id: frame.id },
        }
    }
}

/// What has become of a [message to the back end](super::Session::send_upstream).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpstreamDone {
    /// The message: what [`UpstreamSent::id`](super::UpstreamSent::id) told.
    pub upstream: MessageId,
    /// The back end has accepted it. Otherwise it has refused it, or has not taken it within
    /// 24 hours.
    pub accepted: bool,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// The place of this notice in the log, acknowledged like a message.
    pub cursor: Cursor,
}

impl UpstreamDone {
    pub(super) fn new(frame: wire::UpstreamDone, epoch: u64) -> Self {
        let wire::UpstreamDone { waited, id, upstream, accepted, at_ms } = frame;
        Self { upstream, accepted, at_ms, waited, cursor: Cursor { epoch, id } }
    }
}

/// Something has happened in a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupNotice {
    /// The group.
    pub group: GroupId,
    /// What has happened.
    pub change: GroupChange,
    /// Who did it; nobody for the app's back end.
    pub by: Option<PeerId>,
    /// To whom: those who joined, left, were invited or kicked. When the group was edited or
    /// deleted, it says nothing.
    pub peers: Vec<PeerId>,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// The place of this notice in the log, acknowledged like a message. Its id is the group's
    /// version from then on; [`MessageId::NONE`] about an open group.
    pub cursor: Cursor,
}

impl GroupNotice {
    pub(super) fn new(frame: wire::GroupEvent, epoch: u64) -> Self {
        Self {
            group: frame.group,
            change: frame.change,
            by: frame.by,
            peers: frame.peers,
            at_ms: frame.at_ms,
            waited: frame.waited,
            cursor: Cursor { epoch, id: frame.id },
        }
    }

    /// The session could not get back into its open group.
    pub(super) fn not_rejoined(group: GroupId, peer: PeerId) -> Self {
        Self {
            group,
            change: GroupChange::Left,
            by: None,
            peers: vec![peer],
            at_ms: 0,
            waited: false,
            cursor: Cursor::default(),
        }
    }

    /// What it means to `own`, the peer that hears it.
    pub(super) fn into_event(self, own: &PeerId) -> Event {
        let about_own = self.peers.contains(own);
        match self.change {
            GroupChange::Joined if about_own => Event::Joined(self),
            GroupChange::Invited if about_own => Event::Invited(self),
            GroupChange::Left | GroupChange::Kicked if about_own => Event::Left(self),
            // Nobody hears of it who was no member.
            GroupChange::Deleted => Event::Left(self),
            GroupChange::Joined | GroupChange::Invited => Event::MembersJoined(self),
            GroupChange::Left | GroupChange::Kicked => Event::MembersLeft(self),
            GroupChange::Edited => Event::GroupEdited(self),
        }
    }
}

/// What the server said when the session was opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opening {
    /// The session, unlike every other of this server.
    pub session: SessionId,
    /// The log that ids belong to from now on.
    pub epoch: u64,
    /// Messages that wait for this device.
    pub waiting: u64,
    /// Messages that the window of this device gave up; [`Event::Dropped`] follows if there are
    /// any.
    pub dropped: u64,
    /// The server's time, in milliseconds since 1970 UTC.
    pub at_ms: u64,
    /// Which of the watched peers are online.
    pub online: Vec<PeerId>,
}

impl Opening {
    pub(super) fn new(frame: &wire::Opened) -> Self {
        Self {
            session: frame.session,
            epoch: frame.epoch,
            waiting: frame.waiting,
            dropped: frame.dropped,
            at_ms: frame.at_ms,
            online: frame.online.clone(),
        }
    }
}

/// Why a session has no connection at the moment.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Pause {
    /// The connection or the stream was lost.
    Lost,
    /// The server asked the client to come back later.
    SentAway(Reason),
    /// The server did not answer in time.
    Unanswered,
    /// The server ended the session; it may be opened again.
    Ended(Refusal),
    /// The server sent what is no frame of the protocol.
    Malformed(wire::DecodeError),
}

/// What a session tells the app.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message.
    Message(Message),
    /// The session is open. The first event of every session.
    Opened(Opening),
    /// The connection is gone; the session tries to come back by itself.
    Paused(Pause),
    /// The session is open again. Unanswered sends are being sent again.
    Resumed(Opening),
    /// A send is on the server's stable storage. Only with
    /// [`send_events`](super::OpenOptions::send_events).
    Sent {
        /// The app's own number for the message.
        client_msg_no: wire::Text,
        /// What its future says too.
        sent: Sent,
    },
    /// A send has failed. Only with [`send_events`](super::OpenOptions::send_events).
    Failed {
        /// The app's own number for the message.
        client_msg_no: wire::Text,
        /// What its future says too.
        error: SendError,
    },
    /// A device of the recipient has had the messages up to this one that asked for a receipt.
    Delivered(Mark),
    /// Somebody has read a conversation up to this message: another peer, or the peer itself on
    /// another of its devices, or on this one before the session was opened again.
    Read(Mark),
    /// A message has been taken back.
    Recalled(Recalled),
    /// Watched peers have gone on line.
    Online(Vec<PeerId>),
    /// Watched peers have gone off line, or the signer took them off the watch list.
    Offline(Vec<PeerId>),
    /// The peer has joined a group, on this device or on another one.
    Joined(GroupNotice),
    /// The peer was made a member of a group by somebody.
    Invited(GroupNotice),
    /// The peer is not in a group any more. [`change`](GroupNotice::change) says why:
    /// [`GroupChange::Left`] when it left, here or on another device, or when its session could
    /// not get back into an open group as it resumed; [`GroupChange::Kicked`] when it was removed;
    /// [`GroupChange::Deleted`] when the back end deleted the group, which nobody is in any more.
    Left(GroupNotice),
    /// Others became members of one of the peer's groups.
    MembersJoined(GroupNotice),
    /// Others are not members of one of the peer's groups any more.
    MembersLeft(GroupNotice),
    /// The metadata or the rules of one of the peer's groups are others.
    GroupEdited(GroupNotice),
    /// What has become of a message to the app's back end. All devices of the peer hear it.
    UpstreamDone(UpstreamDone),
    /// Messages that this device had not had were given up: the server keeps a bounded window
    /// for a peer that is away. They are not lost from history.
    Dropped {
        /// How many.
        count: u64,
        /// The last of them, acknowledged like a message.
        cursor: Cursor,
    },
    /// The server ended the session for good: among the reasons are [`Reason::Replaced`], when the
    /// same peer and device was opened again, and [`Reason::Kicked`] and [`Reason::Blocked`], when
    /// the app's back end wanted it; the refusal's [`text`](Refusal::text) has its own words, if
    /// it gave any. The session is not opened again by itself; after a kick the app may. The last
    /// event.
    Ended(Refusal),
}

impl Event {
    /// The place of the event in the log if it is one that is acknowledged: what an app with
    /// [`manual_ack`](super::OpenOptions::manual_ack) gives to
    /// [`Session::ack`](super::Session::ack).
    pub fn cursor(&self) -> Option<Cursor> {
        let cursor = match self {
            Self::Message(message) => message.cursor(),
            Self::Recalled(recalled) => recalled.cursor,
            Self::UpstreamDone(done) => done.cursor,
            Self::Dropped { cursor, .. } => *cursor,
            Self::Joined(notice)
            | Self::Invited(notice)
            | Self::Left(notice)
            | Self::MembersJoined(notice)
            | Self::MembersLeft(notice)
            | Self::GroupEdited(notice) => notice.cursor,
            _ => return None,
        };
        (cursor.id != MessageId::NONE).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(id: &str) -> PeerId {
        id.parse().unwrap()
    }

    fn event(change: GroupChange, by: &str, peers: &[&str]) -> Event {
        let notice = GroupNotice {
            group: GroupId([1; 12]),
            change,
            by: Some(peer(by)),
            peers: peers.iter().map(|id| peer(id)).collect(),
            at_ms: 1,
            waited: false,
            cursor: Cursor { epoch: 7, id: MessageId(5) },
        };
        notice.into_event(&peer("ann"))
    }

    #[test]
    fn a_change_of_a_group_is_told_as_what_it_is_to_the_peer() {
        use GroupChange::{Deleted, Edited, Invited, Joined, Kicked, Left};
        assert!(matches!(event(Joined, "ann", &["ann"]), Event::Joined(_)));
        assert!(matches!(event(Joined, "bob", &["bob"]), Event::MembersJoined(_)));
        assert!(matches!(event(Invited, "bob", &["cat", "ann"]), Event::Invited(_)));
        assert!(matches!(event(Invited, "ann", &["cat"]), Event::MembersJoined(_)));
        assert!(matches!(event(Left, "ann", &["ann"]), Event::Left(_)));
        assert!(matches!(event(Left, "bob", &["bob"]), Event::MembersLeft(_)));
        assert!(matches!(event(Kicked, "bob", &["ann"]), Event::Left(_)));
        assert!(matches!(event(Kicked, "ann", &["bob"]), Event::MembersLeft(_)));
        assert!(matches!(event(Deleted, "bob", &[]), Event::Left(_)));
        assert!(matches!(event(Deleted, "bob", &["bob", "ann"]), Event::Left(_)));
        let edited = event(Edited, "bob", &[]);
        assert!(matches!(edited, Event::GroupEdited(_)));
        assert_eq!(edited.cursor(), Some(Cursor { epoch: 7, id: MessageId(5) }));
    }
}
