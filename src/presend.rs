//! What is asked about a message of a client before it is stored: the app's back end may let it
//! be, say something else in its place, or refuse it.
//!
//! # Invariants
//!
//! * Whoever is asked has an answer in bounded time, and never fails: that nobody could be asked
//!   is an answer too.
//! * A resend has the question of the first one, with the same id.

use std::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::id::{ConversationId, DeviceFlag, DeviceId, PeerId};

/// A message that a client wants to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// Names this question: the same whenever the client sends the message again.
    pub id: String,
    /// When it is asked, in milliseconds since 1970.
    pub at_ms: i64,
    /// Who sends it.
    pub from: PeerId,
    /// On which device.
    pub device: DeviceId,
    /// What the device is.
    pub flag: DeviceFlag,
    /// The name and version of the client; empty if it says nothing.
    pub client: String,
    /// Where the client connected from, with the port.
    pub address: String,
    /// What it belongs to.
    pub conversation: ConversationId,
    /// For whom it is, nobody twice; empty for a group, whose members get it.
    pub to: Vec<PeerId>,
    /// It is for those online only, and not stored.
    pub transient: bool,
    /// The sender wants to hear of its delivery.
    pub receipt: bool,
    /// Milliseconds after which it need not be delivered any more; 0 for never.
    pub ttl_ms: i64,
    /// The app's own number for it.
    pub client_msg_no: String,
    /// What it says.
    pub body: Bytes,
}

/// What becomes of the message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It is sent as it is.
    Allow,
    /// It is sent with this body, at most [`BODY_BYTES_MAX`](crate::limits::BODY_BYTES_MAX) bytes.
    Replace(Bytes),
    /// It is not sent. The sender is told the code, at most
    /// [`REASON_TEXT_BYTES_MAX`](crate::limits::REASON_TEXT_BYTES_MAX) bytes; an empty one says no
    /// more than that the app refuses.
    Refuse(String),
    /// It is not sent, for the app could not be asked.
    Unasked,
}

/// Whom the hub asks.
pub trait PreSend: fmt::Debug + Send + Sync {
    /// What becomes of a message.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have asked, or not.
    fn ask(&self, question: Question) -> BoxFuture<'_, Verdict>;
}
