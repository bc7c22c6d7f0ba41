//! Session tickets: they let a client that comes back speak in its first packets.
//!
//! # Invariants
//!
//! * A ticket is taken once. Who records the first packets of a client and sends them again has no
//!   ticket, and so no early data.
//! * Tickets are bounded: the oldest gives way to a new one.
//! * They end with the process. After a restart the first handshake of each client is a full one.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use rustls::server::StoresServerSessions;

/// The tickets that have been given out and not taken.
pub(super) struct Tickets {
    tickets: Mutex<Queue>,
    tickets_max: usize,
}

#[derive(Default)]
struct Queue {
    secrets: HashMap<Vec<u8>, Vec<u8>>,
    /// Tickets in the order in which they were given out, taken ones among them: looking for one
    /// to remove it would cost more than it frees.
    order: VecDeque<Vec<u8>>,
}

impl Tickets {
    /// Remembers the last `tickets_max` tickets.
    pub(super) fn new(tickets_max: usize) -> Self {
        Self { tickets: Mutex::default(), tickets_max }
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl StoresServerSessions for Tickets {
    fn put(&self, ticket: Vec<u8>, secret: Vec<u8>) -> bool {
        let mut queue = self.tickets.lock();
        if queue.order.len() >= self.tickets_max
            && let Some(oldest) = queue.order.pop_front()
        {
            queue.secrets.remove(&oldest);
        }
        queue.order.push_back(ticket.clone());
        queue.secrets.insert(ticket, secret);
        true
    }

    /// Nothing: only TLS 1.2 asks without taking.
    fn get(&self, _ticket: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.tickets.lock().secrets.remove(ticket)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(tickets: &Tickets, numbers: std::ops::Range<u8>) {
        numbers.for_each(|number| assert!(tickets.put(vec![number], vec![number, number])));
    }

    #[test]
    fn a_ticket_is_taken_once() {
        let tickets = Tickets::new(8);
        put(&tickets, 0..3);
        assert_eq!(tickets.get(&[1]), None);
        assert_eq!(tickets.take(&[1]), Some(vec![1, 1]));
        assert_eq!(tickets.take(&[1]), None);
        assert_eq!(tickets.take(&[2]), Some(vec![2, 2]));
    }

    #[test]
    fn the_oldest_tickets_give_way() {
        let tickets = Tickets::new(4);
        put(&tickets, 0..4);
        tickets.take(&[2]);
        put(&tickets, 4..6);
        let taken = (0..6).filter(|number| tickets.take(&[*number]).is_some());
        assert_eq!(taken.collect::<Vec<_>>(), [3, 4, 5]);
        let queue = tickets.tickets.lock();
        assert_eq!((queue.order.len(), queue.secrets.len()), (4, 0));
    }
}
