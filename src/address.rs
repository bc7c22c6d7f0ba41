//! Who calls: whom an address stands for, and how many connections it has.
//!
//! # Invariants
//!
//! * Who has no connection takes no memory.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use dashmap::DashMap;

/// What counts as one caller: a household has 2^64 addresses of version 6, of which this is the
/// first.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

/// How many connections each network has that has any.
#[derive(Debug, Default)]
pub(crate) struct Callers(DashMap<IpAddr, usize>);

/// Counts for its network until it is dropped.
#[derive(Debug)]
pub(crate) struct Caller {
    callers: Arc<Callers>,
    network: IpAddr,
}

impl Callers {
    /// Connections of a network.
    pub(crate) fn of(&self, network: IpAddr) -> usize {
        self.0.view(&network, |_, count| *count).unwrap_or(0)
    }

    /// One more of a network.
    pub(crate) fn enter(self: &Arc<Self>, network: IpAddr) -> Caller {
        *self.0.entry(network).or_insert(0) += 1;
        Caller { callers: self.clone(), network }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.callers.0.remove_if_mut(&self.network, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_household_is_one_caller() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("192.0.2.7"), "192.0.2.7");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn who_has_left_is_not_counted_and_not_remembered() {
        let callers = Arc::new(Callers::default());
        let address = IpAddr::from([192, 0, 2, 7]);
        let (first, second) = (callers.enter(address), callers.enter(address));
        assert_eq!(callers.of(address), 2);
        drop(first);
        assert_eq!(callers.of(address), 1);
        drop(second);
        assert_eq!((callers.of(address), callers.0.len()), (0, 0));
    }
}
