//! What one peer owes the server by way of acknowledgement.
//!
//! # Invariants
//!
//! * Acknowledgements are cumulative and lazy: after 32 messages, with the next frame out, or
//!   within 100 ms.

use std::time::Duration;

use bytes::BytesMut;
use tidings::id::MessageId;
use tidings::limits::{CLIENT_ACK_DELAY, CLIENT_ACK_MESSAGES};
use tidings::wire::{Ack, ClientFrame};

/// How often somebody looks for acknowledgements that are due.
pub(crate) const LOOK: Duration = Duration::from_millis(4);

/// The age at which an acknowledgement goes out alone. Who looks only now and then, and late at
/// that, must find it before the protocol's delay is over.
pub(crate) const ACK_DUE: Duration = CLIENT_ACK_DELAY.saturating_sub(LOOK.saturating_mul(2));

/// What the peer owes the server by way of acknowledgement.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    last_id: u64,
    messages: usize,
    since_ns: u64,
}

impl Acks {
    /// Since when a message awaits acknowledgement, in nanoseconds; 0 for none.
    pub(crate) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// A message has come.
    pub(crate) fn add(&mut self, id: u64, now_ns: u64) {
        self.last_id = self.last_id.max(id);
        self.messages += 1;
        if self.since_ns == 0 {
            self.since_ns = now_ns;
        }
    }

    /// Whether the acknowledgement may wait no longer.
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        self.messages >= CLIENT_ACK_MESSAGES
            || self.messages > 0
                && now_ns.saturating_sub(self.since_ns) >= ACK_DUE.as_nanos() as u64
    }

    /// Acknowledges what has come, if anything has.
    pub(crate) fn put(&mut self, out: &mut BytesMut) {
        if self.messages > 0 {
            ClientFrame::from(Ack { id: MessageId(self.last_id as i64) }).encode(out);
            self.messages = 0;
            self.since_ns = 0;
        }
    }
}
