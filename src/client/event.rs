//! What a session tells the app: messages and events.
//!
//! # Invariants
//!
//! * Everything here is a value; nothing refers to the session that it came from.

use bytes::Bytes;

use crate::client::Refusal;
use crate::id::{ConversationId, MessageId, PeerId, SessionId};
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
    /// Messages that this device had not had were given up: the server keeps a bounded window
    /// for a peer that is away. They are not lost from history.
    Dropped {
        /// How many.
        count: u64,
        /// The last of them, acknowledged like a message.
        cursor: Cursor,
    },
    /// The server ended the session for good. The last event.
    Ended(Refusal),
}
