//! What one endpoint has heard, and what that proves.
//!
//! # Invariants
//!
//! * A message is known by its sender and the sender's number, an event heard again counts once.
//! * Nothing here knows of sockets.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use parking_lot::Mutex;

use super::Sizes;
use crate::proof::{Ledger, Numbers};
use crate::record::Times;
use crate::stamp::Stamp;

/// A message that an event tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) stamp: Stamp,
    pub(crate) conversation: u128,
    pub(crate) sequence: u32,
}

/// What one endpoint has heard.
#[derive(Debug)]
pub(crate) struct Heard {
    senders: Box<[Mutex<Numbers>]>,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    /// The last number of each conversation.
    conversations: HashMap<u128, u32>,
    /// The hash of each request's bytes.
    requests: HashMap<String, u64>,
    total: Total,
}

/// What endpoints have heard, together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total {
    pub(crate) events: u64,
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) changed: u64,
    pub(crate) bad: u64,
    pub(crate) requests: u64,
    pub(crate) lag: Times,
    /// How many requests had so many events.
    batches: HashMap<usize, u64>,
}

impl Total {
    /// How many events the requests had.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes: Vec<_> = self.batches.iter().collect();
        sizes.sort_unstable();
        let half = sizes.iter().map(|(_, count)| **count).sum::<u64>() / 2;
        let mut seen = 0;
        let middle = sizes.iter().find(|(_, count)| {
            seen += **count;
            seen > half
        });
        let size = |found: Option<&(&usize, &u64)>| found.map_or(0, |(size, _)| **size as u64);
        Sizes { p50: size(middle), max: size(sizes.last()) }
    }
}

impl Heard {
    /// Of the messages of senders with indices below `talkers`.
    pub(crate) fn new(talkers: u32) -> Self {
        Self { senders: (0..talkers).map(|_| Mutex::default()).collect(), rest: Mutex::default() }
    }

    /// A request has come, which may be answered with an error on purpose.
    pub(crate) fn request(&self, id: &str, body: &[u8]) {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let hash = hasher.finish();
        let mut rest = self.rest.lock();
        rest.total.requests += 1;
        match rest.requests.get(id) {
            Some(before) if *before == hash => {}
            Some(_) => rest.total.changed += 1,
            None => drop(rest.requests.insert(id.to_owned(), hash)),
        }
    }

    /// A request has come that is not what it should be.
    pub(crate) fn bad(&self) {
        let mut rest = self.rest.lock();
        rest.total.requests += 1;
        rest.total.bad += 1;
    }

    /// A request was taken.
    pub(crate) fn batch(&self, events: &[Told], now_ns: u64, is_measured: impl Fn(u64) -> bool) {
        let mut rest = self.rest.lock();
        *rest.total.batches.entry(events.len()).or_default() += 1;
        for Told { stamp, conversation, sequence } in events {
            let Some(sender) = self.senders.get(stamp.sender as usize) else {
                rest.total.bad += 1;
                continue;
            };
            if !sender.lock().add(stamp.number) {
                rest.total.repeated += 1;
                continue;
            }
            rest.total.events += 1;
            let last = rest.conversations.entry(*conversation).or_default();
            let is_late = *sequence <= *last;
            *last = (*last).max(*sequence);
            rest.total.out_of_order += u64::from(is_late);
            if is_measured(stamp.intended_ns) {
                rest.total.lag.add_ns(now_ns.saturating_sub(stamp.intended_ns));
            }
        }
    }

    /// Messages acknowledged to their senders of which nothing was heard.
    pub(crate) fn lost(&self, ledger: &Ledger) -> u64 {
        ledger.unheard(&self.senders)
    }

    /// Adds what was counted.
    pub(crate) fn add_to(&self, sum: &mut Total) {
        let rest = self.rest.lock();
        let total = &rest.total;
        sum.events += total.events;
        sum.repeated += total.repeated;
        sum.out_of_order += total.out_of_order;
        sum.changed += total.changed;
        sum.bad += total.bad;
        sum.requests += total.requests;
        sum.lag.merge(&total.lag);
        for (size, count) in &total.batches {
            *sum.batches.entry(*size).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(number: u64, conversation: u128, sequence: u32) -> Told {
        let stamp = Stamp { sender: 0, number, intended_ns: 5 };
        Told { stamp, conversation, sequence }
    }

    fn counted(heard: &Heard) -> Total {
        let mut total = Total::default();
        heard.add_to(&mut total);
        total
    }

    #[test]
    fn an_event_that_is_heard_again_counts_once() {
        let heard = Heard::new(1);
        heard.batch(&[told(1, 7, 1), told(2, 7, 2)], 9, |_| true);
        heard.batch(&[told(1, 7, 1)], 9, |_| true);
        let total = counted(&heard);
        assert_eq!((total.events, total.repeated, total.out_of_order), (2, 1, 0));
        assert_eq!((total.sizes().p50, total.sizes().max), (2, 2));
    }

    #[test]
    fn what_comes_behind_later_ones_of_its_conversation_is_out_of_order() {
        let heard = Heard::new(1);
        heard.batch(&[told(1, 7, 2), told(2, 7, 1), told(3, 8, 1)], 9, |_| true);
        assert_eq!(counted(&heard).out_of_order, 1);
    }

    #[test]
    fn a_request_that_comes_again_must_have_the_same_bytes() {
        let heard = Heard::new(1);
        heard.request("a", b"1");
        heard.request("a", b"1");
        heard.request("b", b"2");
        assert_eq!(counted(&heard).changed, 0);
        heard.request("a", b"2");
        let total = counted(&heard);
        assert_eq!((total.changed, total.requests), (1, 4));
    }

    #[test]
    fn an_acknowledged_message_that_was_not_heard_of_is_lost() {
        let (heard, ledger) = (Heard::new(2), Ledger::new(2));
        ledger.acked(0, 1, 1);
        ledger.acked(0, 2, 1);
        heard.batch(&[told(1, 7, 1)], 9, |_| true);
        assert_eq!(heard.lost(&ledger), 1);
        heard.batch(&[told(2, 7, 2)], 9, |_| true);
        assert_eq!(heard.lost(&ledger), 0);
    }
}
