//! Which clients are back after the server was gone.
//!
//! # Invariants
//!
//! * A client is back once, when its session is open again; one that has not noticed that the
//!   server was gone is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::record::Times;

/// The clients, by their indices.
#[derive(Debug)]
pub(super) struct Attendance {
    expected: AtomicBool,
    clients: Box<[Attendant]>,
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct Attendant {
    /// When it noticed that the server was gone, in nanoseconds; 0 if it has not.
    paused_ns: AtomicU64,
    /// When it was back, in nanoseconds; 0 if it is not.
    back_ns: AtomicU64,
}

impl Attendance {
    /// All clients are there.
    pub(super) fn new(clients: u32) -> Self {
        Self {
            expected: AtomicBool::new(false),
            clients: (0..clients).map(|_| Attendant::default()).collect(),
            count: AtomicU64::new(0),
        }
    }

    /// The server is about to go.
    pub(super) fn expect(&self) {
        self.expected.store(true, Ordering::SeqCst);
    }

    /// A client has lost its connection; `false` if that was not to be, or for the second time.
    pub(super) fn paused(&self, client: u32, now_ns: u64) -> bool {
        let before_ns = self.clients[client as usize].paused_ns.swap(now_ns, Ordering::SeqCst);
        self.expected.load(Ordering::SeqCst) && before_ns == 0
    }

    /// A client's session is open again.
    pub(super) fn back(&self, client: u32, now_ns: u64) {
        let back_ns = &self.clients[client as usize].back_ns;
        if back_ns.compare_exchange(0, now_ns, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How many are back.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// How many are not.
    pub(super) fn missing(&self) -> u64 {
        self.clients.len() as u64 - self.count()
    }

    /// How long those that are back took, from a moment on.
    pub(super) fn back_times(&self, from_ns: u64) -> Times {
        times(from_ns, self.clients.iter().map(|client| &client.back_ns))
    }

    /// How long those that noticed took to, from a moment on.
    pub(super) fn notice_times(&self, from_ns: u64) -> Times {
        times(from_ns, self.clients.iter().map(|client| &client.paused_ns))
    }
}

fn times<'a>(from_ns: u64, moments: impl Iterator<Item = &'a AtomicU64>) -> Times {
    let mut times = Times::default();
    let moments = moments.map(|moment| moment.load(Ordering::SeqCst)).filter(|ns| *ns > 0);
    moments.for_each(|ns| times.add_ns(ns.saturating_sub(from_ns)));
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_back_once() {
        let attendance = Attendance::new(2);
        attendance.expect();
        assert!(attendance.paused(0, 4_000_000));
        attendance.back(0, 5_000_000);
        attendance.back(0, 9_000_000);
        assert_eq!((attendance.count(), attendance.missing()), (1, 1));
        assert_eq!(attendance.back_times(3_000_000).quantile_ms(1.0), Some(2.0));
        assert_eq!(attendance.notice_times(3_000_000).quantile_ms(1.0), Some(1.0));
    }

    #[test]
    fn a_loss_that_was_not_to_be_is_noticed() {
        let attendance = Attendance::new(2);
        assert!(!attendance.paused(0, 1), "the server was there");
        attendance.expect();
        assert!(attendance.paused(1, 1));
        attendance.back(1, 1);
        assert!(!attendance.paused(1, 2), "it had come back");
    }
}
