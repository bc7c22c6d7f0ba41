//! What one peer owes the server by way of acknowledgement.
//!
//! # Invariants
//!
//! * Acknowledgements are cumulative and lazy: after 32 messages, with the next frame out, or
//!   alone shortly before QUIC acknowledges, or later by who says something often, as the client
//!   library has it.

use std::time::Duration;

use bytes::BytesMut;
use tidings::id::MessageId;
use tidings::limits::{CLIENT_ACK_DELAY, CLIENT_ACK_DELAY_MIN, CLIENT_ACK_MESSAGES};
use tidings::wire::{Ack, ClientFrame};

/// How often somebody looks for acknowledgements that are due.
pub(crate) const LOOK: Duration = Duration::from_millis(4);

/// The age at which an acknowledgement goes out alone where a round trip takes `rtt`. Who looks
/// only now and then, and late at that, must find it before the protocol's delay is over.
pub(crate) fn due_after(rtt: Duration) -> Duration {
    (rtt * 4 / 5).clamp(CLIENT_ACK_DELAY_MIN, CLIENT_ACK_DELAY) - LOOK * 2
}

/// What the peer owes the server by way of acknowledgement.
#[derive(Debug)]
pub(crate) struct Acks {
    last_id: u64,
    messages: usize,
    due_ns: u64,
    delay_ns: u64,
    /// When another frame left last, and the time before.
    company_ns: [u64; 2],
}

impl Acks {
    /// Nothing owed.
    pub(crate) fn new() -> Self {
        let delay_ns = due_after(Duration::ZERO).as_nanos() as u64;
        Self { last_id: 0, messages: 0, due_ns: 0, delay_ns, company_ns: [0; 2] }
    }

    /// When an acknowledgement goes out alone, in nanoseconds; 0 if none is owed.
    pub(crate) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// A round trip takes `rtt` by now.
    pub(crate) fn follow(&mut self, rtt: Duration) {
        self.delay_ns = due_after(rtt).as_nanos() as u64;
    }

    /// A message has come.
    pub(crate) fn add(&mut self, id: u64, now_ns: u64) {
        self.last_id = self.last_id.max(id);
        self.messages += 1;
        if self.due_ns == 0 {
            self.due_ns = now_ns + self.patience_ns(now_ns);
        }
    }

    fn patience_ns(&self, now_ns: u64) -> u64 {
        let longest_ns = CLIENT_ACK_DELAY.as_nanos() as u64;
        let [last_ns, before_ns] = self.company_ns;
        let is_often = before_ns > 0 && last_ns.saturating_sub(before_ns) <= longest_ns;
        if is_often && now_ns.saturating_sub(last_ns) <= longest_ns {
            return longest_ns - LOOK.as_nanos() as u64 * 2;
        }
        self.delay_ns
    }

    /// A frame that an acknowledgement may travel with leaves now.
    pub(crate) fn accompany(&mut self, now_ns: u64) {
        self.company_ns = [now_ns, self.company_ns[0]];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_often_says_something_acknowledges_with_it() {
        let [soon, late] = [CLIENT_ACK_DELAY_MIN, CLIENT_ACK_DELAY].map(|delay| delay - LOOK * 2);
        let [often, seldom] = [CLIENT_ACK_DELAY, CLIENT_ACK_DELAY + Duration::from_millis(1)];
        for (gap, quiet, waits) in
            [(often, often, late), (seldom, often, soon), (often, seldom, soon)]
        {
            let mut acks = Acks::new();
            let mut now_ns = 1;
            acks.accompany(now_ns);
            now_ns += gap.as_nanos() as u64;
            acks.accompany(now_ns);
            now_ns += quiet.as_nanos() as u64;
            acks.add(1, now_ns);
            let due_ns = now_ns + waits.as_nanos() as u64;
            assert_eq!(acks.due_ns(), due_ns, "after {gap:?} and {quiet:?}");
            assert!(!acks.is_due(due_ns - 1) && acks.is_due(due_ns));
        }
    }
}
