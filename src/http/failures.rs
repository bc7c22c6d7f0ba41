//! How often an address may present no valid key.
//!
//! # Invariants
//!
//! * Only failures are counted: who has a valid key is never held up.
//! * The table is bounded. Addresses that find no room in it share one count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::address::network;
use crate::limits::{
    AUTH_FAILURE_EVERY, AUTH_FAILURES_ADDRESSES_MAX, AUTH_FAILURES_MAX, AUTH_FAILURES_SWEEP,
};

/// The failures of all addresses.
#[derive(Debug)]
pub(super) struct Failures(Mutex<Table>);

#[derive(Debug)]
struct Table {
    /// When each address will have all its failures free again.
    free_at: HashMap<IpAddr, Instant>,
    /// The same for all that found no room.
    others_free_at: Option<Instant>,
    swept: Instant,
}

impl Failures {
    /// Nobody has failed.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Table { free_at: HashMap::new(), others_free_at: None, swept: now }))
    }

    /// Counts a failure.
    ///
    /// # Errors
    ///
    /// How long the address has to wait, when it has failed too often.
    pub(super) fn count(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut table = self.0.lock();
        let network = network(address);
        if !table.free_at.contains_key(&network) {
            table.make_room(now);
        }
        let has_room = table.free_at.len() < AUTH_FAILURES_ADDRESSES_MAX;
        let free_at = if has_room || table.free_at.contains_key(&network) {
            table.free_at.entry(network).or_insert(now)
        } else {
            table.others_free_at.get_or_insert(now)
        };
        let busy_until = (*free_at).max(now) + AUTH_FAILURE_EVERY;
        let too_long = busy_until.saturating_duration_since(now + allowance());
        if too_long > Duration::ZERO {
            return Err(too_long);
        }
        *free_at = busy_until;
        Ok(())
    }
}

impl Table {
    /// Forgets those that have all their failures free, now and then.
    fn make_room(&mut self, now: Instant) {
        let is_full = self.free_at.len() >= AUTH_FAILURES_ADDRESSES_MAX;
        if is_full && now.saturating_duration_since(self.swept) >= AUTH_FAILURES_SWEEP {
            self.free_at.retain(|_, free_at| *free_at > now);
            self.swept = now;
        }
    }
}

/// How far ahead of its time an address may be.
fn allowance() -> Duration {
    AUTH_FAILURE_EVERY * AUTH_FAILURES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    #[test]
    fn ten_failures_are_free_and_then_one_each_six_seconds() {
        let start = Instant::now();
        let failures = Failures::new(start);
        for _ in 0..10 {
            assert_eq!(failures.count(address(1), start), Ok(()));
        }
        assert_eq!(failures.count(address(1), start), Err(Duration::from_secs(6)));
        assert_eq!(failures.count(address(2), start), Ok(()), "another address");
        let later = start + Duration::from_secs(4);
        assert_eq!(failures.count(address(1), later), Err(Duration::from_secs(2)));
        let later = start + Duration::from_secs(6);
        assert_eq!(failures.count(address(1), later), Ok(()));
        assert!(failures.count(address(1), later).is_err());
        let later = start + Duration::from_secs(3600);
        for _ in 0..10 {
            assert_eq!(failures.count(address(1), later), Ok(()));
        }
        assert!(failures.count(address(1), later).is_err());
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let now = Instant::now();
        let failures = Failures::new(now);
        for host in 0..10 {
            let one = format!("2001:db8:1:2:3:4:5:{host}").parse().unwrap();
            assert_eq!(failures.count(one, now), Ok(()));
        }
        assert!(failures.count("2001:db8:1:2:9::1".parse().unwrap(), now).is_err());
        assert!(failures.count("2001:db8:1:3::1".parse().unwrap(), now).is_ok());
    }

    #[test]
    fn the_table_is_bounded_and_those_without_room_share_one_count() {
        let start = Instant::now();
        let failures = Failures::new(start);
        let full = AUTH_FAILURES_ADDRESSES_MAX as u32;
        for number in 0..full {
            assert_eq!(failures.count(address(number), start), Ok(()));
        }
        for number in full..full + 10 {
            assert_eq!(failures.count(address(number), start), Ok(()));
        }
        assert!(failures.count(address(full + 10), start).is_err(), "the shared count");
        assert_eq!(failures.count(address(0), start), Ok(()), "it has a count of its own");
        assert_eq!(failures.0.lock().free_at.len(), full as usize);
        let later = start + Duration::from_secs(61);
        assert_eq!(failures.count(address(full + 10), later), Ok(()));
        assert_eq!(failures.0.lock().free_at.len(), 1, "the others are free again");
    }
}
