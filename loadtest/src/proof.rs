//! The proof that what was acknowledged was delivered: once, in order, or told as dropped.
//!
//! # Invariants
//!
//! * A message is known by its sender and the sender's number; both travel in its body.
//! * Nothing here knows of sockets, clocks or sessions.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// What the app of one recipient makes of a message that it is handed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Arrival {
    /// As promised.
    InOrder,
    /// Its number or its place in the conversation is below that of one that came before.
    OutOfOrder,
}

/// The last message of a sender to one recipient.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    number: u64,
    sequence: u64,
}

/// The order in which one recipient gets the messages of its conversations.
#[derive(Debug, Default)]
pub(crate) struct Order {
    last_id: u64,
    senders: HashMap<u32, Last, BuildHasherDefault<IndexHasher>>,
}

impl Order {
    /// Takes a message off the wire; `false` if it is a repeat, which a client drops by its id.
    pub(crate) fn is_new(&mut self, id: u64) -> bool {
        let new = id > self.last_id;
        self.last_id = self.last_id.max(id);
        new
    }

    /// Judges a message that is handed to the app.
    pub(crate) fn arrive(&mut self, sender: u32, number: u64, sequence: u64) -> Arrival {
        let last = self.senders.entry(sender).or_default();
        let rises = number > last.number && sequence > last.sequence;
        *last = Last { number: last.number.max(number), sequence: last.sequence.max(sequence) };
        if rises { Arrival::InOrder } else { Arrival::OutOfOrder }
    }
}

/// Spreads small indices; nobody chooses them to collide.
#[derive(Debug, Default)]
struct IndexHasher(u64);

impl Hasher for IndexHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, index: u32) {
        // The upper bits of a product with a large odd number are well mixed, and a hash map
        // looks at both ends.
        let mixed = (self.0 ^ u64::from(index)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// A growing set of numbers from 1.
#[derive(Debug, Default)]
pub(crate) struct Numbers(Vec<u64>);

impl Numbers {
    /// Whether a number is there.
    pub(crate) fn has(&self, number: u64) -> bool {
        let word = self.0.get((number / 64) as usize).copied().unwrap_or(0);
        word & 1 << (number % 64) != 0
    }

    /// Adds a number; `false` if it was there.
    pub(crate) fn add(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize((word + 1).next_power_of_two(), 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// How many numbers are in `self` and not in `other`.
    fn count_without(&self, other: &Self) -> u64 {
        let others = other.0.iter().chain(std::iter::repeat(&0));
        self.0.iter().zip(others).map(|(own, other)| u64::from((own & !other).count_ones())).sum()
    }
}

/// What became of the messages of one sender.
#[derive(Debug, Default)]
struct Sender {
    acked: Numbers,
    delivered: Numbers,
}

/// What concerns one recipient.
#[derive(Debug, Default)]
struct Recipient {
    acked: AtomicU64,
    delivered: AtomicU64,
    dropped: AtomicU64,
}

/// Every message of a run: who acknowledged what, and who got it.
#[derive(Debug)]
pub(crate) struct Ledger {
    senders: Box<[Mutex<Sender>]>,
    recipients: Box<[Recipient]>,
}

/// What the ledger says at the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Verdict {
    /// Messages acknowledged to their senders.
    pub(crate) acked: u64,
    /// Messages that their recipients have had, repeats not counted.
    pub(crate) delivered: u64,
    /// Messages that their recipients were told they will not get.
    pub(crate) dropped: u64,
    /// Messages acknowledged, but neither delivered nor told as dropped.
    pub(crate) lost: u64,
}

impl Ledger {
    /// A ledger for peers with indices below `peers`.
    pub(crate) fn new(peers: u32) -> Self {
        Self {
            senders: (0..peers).map(|_| Mutex::default()).collect(),
            recipients: (0..peers).map(|_| Recipient::default()).collect(),
        }
    }

    /// The server has acknowledged a message.
    pub(crate) fn acked(&self, sender: u32, number: u64, recipient: u32) {
        if self.senders[sender as usize].lock().acked.add(number) {
            self.recipients[recipient as usize].acked.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A recipient's app has had a message; `false` if it had it before.
    ///
    /// A sender that there is not counts as a repeat too: nobody sent that message.
    pub(crate) fn delivered(&self, sender: u32, number: u64, recipient: u32) -> bool {
        let Some(of) = self.senders.get(sender as usize) else { return false };
        let new = of.lock().delivered.add(number);
        if new {
            self.recipients[recipient as usize].delivered.fetch_add(1, Ordering::Relaxed);
        }
        new
    }

    /// A recipient is told that it will not get `count` messages.
    pub(crate) fn dropped(&self, recipient: u32, count: u64) {
        self.recipients[recipient as usize].dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Messages acknowledged to their senders that are not among those heard of; of each sender.
    pub(crate) fn unheard(&self, heard: &[Mutex<Numbers>]) -> u64 {
        let senders = self.senders.iter().zip(heard);
        senders.map(|(sender, heard)| sender.lock().acked.count_without(&heard.lock())).sum()
    }

    /// Compares what was acknowledged with what came.
    ///
    /// What one recipient was told as dropped excuses no loss of another's: the messages missing
    /// in all and the messages missing of each recipient are both counted, and the greater counts.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut verdict = Verdict::default();
        let mut lost_by_recipient = 0;
        for recipient in &self.recipients {
            let acked = recipient.acked.load(Ordering::Relaxed);
            let delivered = recipient.delivered.load(Ordering::Relaxed);
            let dropped = recipient.dropped.load(Ordering::Relaxed);
            verdict.acked += acked;
            verdict.delivered += delivered;
            verdict.dropped += dropped;
            lost_by_recipient += acked.saturating_sub(delivered + dropped);
        }
        let missing: u64 = self.senders.iter().map(Mutex::lock).map(|s| s.missing()).sum();
        verdict.lost = missing.saturating_sub(verdict.dropped).max(lost_by_recipient);
        verdict
    }
}

impl Sender {
    fn missing(&self) -> u64 {
        self.acked.count_without(&self.delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_acknowledged_and_delivered_is_not_lost() {
        let ledger = Ledger::new(3);
        for number in 1..=1_000 {
            assert!(ledger.delivered(0, number, 1 + number as u32 % 2));
            ledger.acked(0, number, 1 + number as u32 % 2);
        }
        let verdict = ledger.verdict();
        assert_eq!(verdict, Verdict { acked: 1_000, delivered: 1_000, dropped: 0, lost: 0 });
    }

    #[test]
    fn an_acknowledged_message_that_never_came_is_lost() {
        let ledger = Ledger::new(2);
        ledger.acked(0, 1, 1);
        ledger.acked(0, 200, 1);
        ledger.delivered(0, 1, 1);
        assert_eq!(ledger.verdict().lost, 1);
    }

    #[test]
    fn a_message_that_came_without_an_acknowledgement_hides_no_loss() {
        let ledger = Ledger::new(2);
        ledger.acked(0, 1, 1);
        ledger.delivered(0, 2, 1);
        assert_eq!(ledger.verdict().lost, 1);
    }

    #[test]
    fn a_drop_told_to_one_recipient_excuses_no_loss_of_another() {
        let ledger = Ledger::new(3);
        ledger.acked(0, 1, 1);
        ledger.dropped(2, 1);
        assert_eq!(ledger.verdict().lost, 1);
        ledger.dropped(1, 1);
        assert_eq!(ledger.verdict().lost, 0);
    }

    #[test]
    fn a_message_handed_to_the_app_twice_is_noticed() {
        let ledger = Ledger::new(2);
        assert!(ledger.delivered(0, 7, 1));
        assert!(!ledger.delivered(0, 7, 1));
        assert!(!ledger.delivered(9, 1, 1), "a sender that there is not");
        assert_eq!(ledger.verdict().delivered, 1);
    }

    #[test]
    fn a_client_drops_a_repeat_by_its_id() {
        let mut order = Order::default();
        assert!(order.is_new(5));
        assert!(!order.is_new(5));
        assert!(!order.is_new(4));
        assert!(order.is_new(6));
    }

    #[test]
    fn numbers_and_sequences_must_rise_for_each_sender() {
        let mut order = Order::default();
        assert_eq!(order.arrive(1, 10, 1), Arrival::InOrder);
        assert_eq!(order.arrive(2, 3, 1), Arrival::InOrder, "another conversation");
        assert_eq!(order.arrive(1, 12, 3), Arrival::InOrder, "gaps are others' messages");
        assert_eq!(order.arrive(1, 11, 4), Arrival::OutOfOrder, "an older number");
        assert_eq!(order.arrive(1, 13, 4), Arrival::OutOfOrder, "a sequence twice");
        assert_eq!(order.arrive(1, 14, 5), Arrival::InOrder);
    }
}
