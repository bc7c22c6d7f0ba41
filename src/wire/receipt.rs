//! The frames about what has become of messages: delivered, read, recalled.
//!
//! # Invariants
//!
//! * A receipt is a mark: it says "up to this number of the conversation", so that a later one
//!   takes the place of those before it.

use crate::id::{ConversationId, MessageId, PeerId};
use crate::wire::field::small_frames;

/// The peer has read a conversation up to a number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadUpTo {
    /// The request number.
    pub request: u64,
    /// The conversation.
    pub conversation: ConversationId,
    /// The number of the last message read.
    pub sequence: u32,
}

/// The mark is on stable storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReadNoted {
    /// The request it answers.
    pub request: u64,
}

/// Takes a message back, for everybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recall {
    /// The request number.
    pub request: u64,
    /// The message.
    pub message: MessageId,
}

/// The message is recalled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecallDone {
    /// The request it answers.
    pub request: u64,
}

/// A device of a recipient has had what asked for a receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delivered {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who has it.
    pub peer: PeerId,
    /// The number of the last such message.
    pub sequence: u32,
    /// When.
    pub at_ms: u64,
}

/// Somebody has read a conversation up to a number.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    /// The conversation.
    pub conversation: ConversationId,
    /// Who has read; the peer itself when it read on another of its devices.
    pub peer: PeerId,
    /// The number of the last message read.
    pub sequence: u32,
    /// When.
    pub at_ms: u64,
}

/// A message has been taken back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recalled {
    /// It waited for this session to open or to catch up.
    pub waited: bool,
    /// The id of this notice, acknowledged like a message.
    pub id: MessageId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message that was taken back.
    pub message: MessageId,
    /// Its number in the conversation.
    pub sequence: u32,
    /// Who took it back; nobody for the app's back end.
    pub by: Option<PeerId>,
    /// When.
    pub at_ms: u64,
}

small_frames! {
    ReadUpTo {
        request: put_varint/varint, conversation: put_conversation/conversation,
        sequence: put_u32/u32
    }
    ReadNoted { request: put_varint/varint }
    Recall { request: put_varint/varint, message: put_id/id }
    RecallDone { request: put_varint/varint }
    Delivered {
        conversation: put_conversation/conversation, peer: put_peer/peer, sequence: put_u32/u32,
        at_ms: put_u64/u64
    }
    Read {
        conversation: put_conversation/conversation, peer: put_peer/peer, sequence: put_u32/u32,
        at_ms: put_u64/u64
    }
    Recalled {
        waited: put_waited/waited, id: put_id/id, conversation: put_conversation/conversation,
        message: put_id/id, sequence: put_u32/u32, by: put_maybe_peer/maybe_peer,
        at_ms: put_u64/u64
    }
}
