//! What one peer owes the server by way of acknowledgement.
//!
//! # Invariants
//!
//! * Acknowledgements are cumulative and lazy: after 32 messages, with the next frame out, or
//!   as late as the last send took to be answered, within 20 and 250 ms.

use std::time::Duration;

use bytes::BytesMut;
use tidings::id::MessageId;
use tidings::limits::{CLIENT_ACK_DELAY, CLIENT_ACK_DELAY_MIN, CLIENT_ACK_MESSAGES};
use tidings::wire::{Ack, ClientFrame};

/// How often somebody looks for acknowledgements that are due.
pub(crate) const LOOK: Duration = Duration::from_millis(4);

/// Who looks only now and then, and late at that, must find what is due before the protocol's
/// delay is over.
const EARLY: Duration = LOOK.saturating_mul(2);
/// The age at which an acknowledgement goes out alone while sends are answered sooner than that.
pub(crate) const ACK_DUE_MIN: Duration = CLIENT_ACK_DELAY_MIN.saturating_sub(EARLY);
/// The same at most.
pub(crate) const ACK_DUE_MAX: Duration = CLIENT_ACK_DELAY.saturating_sub(EARLY);

/// What the peer owes the server by way of acknowledgement.
#[derive(Debug)]
pub(crate) struct Acks {
    last_id: u64,
    messages: usize,
    due_ns: u64,
    delay_ns: u64,
}

impl Acks {
    /// Nothing owed, and no send answered yet.
    pub(crate) fn new() -> Self {
        Self { last_id: 0, messages: 0, due_ns: 0, delay_ns: ACK_DUE_MIN.as_nanos() as u64 }
    }

    /// When an acknowledgement goes out alone, in nanoseconds; 0 if none is owed.
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// A send took so long to be answered.
    pub(crate) fn answered(&mut self, took_ns: u64) {
        let (min, max) = (ACK_DUE_MIN.as_nanos() as u64, ACK_DUE_MAX.as_nanos() as u64);
        self.delay_ns = took_ns.clamp(min, max);
    }

    /// A message has come.
    pub(crate) fn add(&mut self, id: u64, now_ns: u64) {
        self.last_id = self.last_id.max(id);
        self.messages += 1;
        if self.due_ns == 0 {
            self.due_ns = now_ns + self.delay_ns;
        }
    }

    /// Whether the acknowledgement may wait no longer.
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        self.messages >= CLIENT_ACK_MESSAGES || self.messages > 0 && now_ns >= self.due_ns
    }

    /// Acknowledges what has come, if anything has.
    pub(crate) fn put(&mut self, out: &mut BytesMut) {
        if self.messages > 0 {
            ClientFrame::from(Ack { id: MessageId(self.last_id as i64) }).encode(out);
            self.messages = 0;
            self.due_ns = 0;
        }
    }
}
