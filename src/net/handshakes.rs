//! How many handshakes are under way, and whose turn it is.
//!
//! # Invariants
//!
//! * One network never has more than its part of them, however it spends the time they may take.
//! * Of all, and of each network's part, some are for clients alone that have proven their address.
//! * What is known of a network is forgotten with its last handshake.

use std::net::IpAddr;
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{
    HANDSHAKES_NETWORK_PART, HANDSHAKES_PROVEN_PART, HANDSHAKES_WAITING_PER_NETWORK_MAX,
};

/// The handshakes of an endpoint.
pub(super) struct Handshakes {
    all: Arc<Semaphore>,
    /// Of them, those that only clients may begin that have proven their address.
    kept: usize,
    /// What each network may have of them.
    own_max: usize,
    /// The networks that have a handshake under way, or wait for one.
    networks: DashMap<IpAddr, Network>,
}

struct Network {
    turns: Arc<Semaphore>,
    /// Handshakes that are under way or wait.
    places: usize,
}

/// A place among those of a network.
pub(super) struct Place {
    handshakes: Arc<Handshakes>,
    network: IpAddr,
    turns: Arc<Semaphore>,
}

/// A handshake that may be under way.
pub(super) struct Turn {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    place: Place,
}

impl Handshakes {
    /// So many at once.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(max)),
            kept: max / HANDSHAKES_PROVEN_PART,
            own_max: max.div_ceil(HANDSHAKES_NETWORK_PART),
            networks: DashMap::new(),
        })
    }

    /// A place for somebody of `network`; `None` if too many of it have one.
    pub(super) fn place(self: &Arc<Self>, network: IpAddr) -> Option<Place> {
        let mut known = self.networks.entry(network).or_insert_with(|| Network {
            turns: Arc::new(Semaphore::new(self.own_max)),
            places: 0,
        });
        if known.places == self.own_max + HANDSHAKES_WAITING_PER_NETWORK_MAX {
            return None;
        }
        known.places += 1;
        Some(Place { handshakes: self.clone(), network, turns: known.turns.clone() })
    }
}

impl Place {
    /// The turn of who need not wait for it.
    ///
    /// # Errors
    ///
    /// The place, to wait at.
    pub(super) fn try_turn(self, is_proven: bool) -> Result<Turn, Self> {
        let Handshakes { all, kept, own_max, .. } = &*self.handshakes;
        let own_kept = own_max / HANDSHAKES_PROVEN_PART;
        let begins = may_begin(all.available_permits(), *kept, is_proven)
            && may_begin(self.turns.available_permits(), own_kept, is_proven);
        let take = |of: &Arc<Semaphore>| of.clone().try_acquire_owned().ok().filter(|_| begins);
        match take(&self.turns).zip(take(all)) {
            Some((own, all)) => Ok(Turn { _all: all, _own: own, place: self }),
            None => Err(self),
        }
    }

    /// Waits for a turn: first among those of the network, then among those of all.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place up.
    pub(super) async fn turn(self) -> Option<Turn> {
        let own = self.turns.clone().acquire_owned().await.ok()?;
        let all = self.handshakes.all.clone().acquire_owned().await.ok()?;
        Some(Turn { _all: all, _own: own, place: self })
    }
}

impl Turn {
    /// Whose it is.
    pub(super) fn network(&self) -> IpAddr {
        self.place.network
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.networks.remove_if_mut(&self.network, |_, known| {
            known.places -= 1;
            known.places == 0
        });
    }
}

/// Whether a handshake may begin while so many more may, some of which are kept for clients that
/// have proven their address.
fn may_begin(free: usize, kept: usize, is_proven: bool) -> bool {
    free > if is_proven { 0 } else { kept }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::limits::HANDSHAKES_MAX;

    fn network(number: u8) -> IpAddr {
        [10, 0, 0, number].into()
    }

    #[test]
    fn who_has_proven_an_address_finds_handshakes_that_nobody_else_may_begin() {
        let kept = HANDSHAKES_MAX / HANDSHAKES_PROVEN_PART;
        assert!(may_begin(kept + 1, kept, false) && !may_begin(kept, kept, false));
        assert!(may_begin(1, kept, true) && !may_begin(0, kept, true));
        assert!(may_begin(1, 0, false), "of one handshake at once none is kept");
    }

    #[tokio::test]
    async fn a_network_has_its_part_of_the_handshakes_and_others_find_the_rest() {
        let handshakes = Handshakes::new(4);
        let place = |number| handshakes.place(network(number)).unwrap();
        let begin = |number| place(number).try_turn(true).ok();
        let (first, second) = (begin(1).unwrap(), begin(1).unwrap());
        let waiting = place(1).try_turn(true).err().unwrap();
        assert!(begin(2).is_some());
        let mut waiting = std::pin::pin!(waiting.turn());
        let mut nobody = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut nobody).is_pending());
        drop(first);
        let third = waiting.await;
        assert!(third.is_some() && begin(1).is_none());
        drop((second, third));
        assert!(handshakes.networks.is_empty(), "what is over is forgotten");
        assert_eq!(handshakes.all.available_permits(), 4);
    }

    #[test]
    fn first_packets_in_the_name_of_a_network_leave_turns_to_who_is_of_it() {
        let handshakes = Handshakes::new(64);
        let begin = |is_proven| handshakes.place(network(1)).unwrap().try_turn(is_proven).ok();
        let unproven: Vec<_> = std::iter::from_fn(|| begin(false)).collect();
        assert_eq!(unproven.len(), 24, "of the 32 of a network");
        let proven: Vec<_> = std::iter::from_fn(|| begin(true)).collect();
        assert_eq!(proven.len(), 8);
    }

    #[test]
    fn one_over_those_of_a_network_that_wait_finds_no_place() {
        let handshakes = Handshakes::new(8);
        let place = |number| handshakes.place(network(number));
        let begun: Vec<_> = (0..4).map(|_| place(1).unwrap().try_turn(true).ok()).collect();
        assert!(begun.iter().all(Option::is_some));
        let mut nobody = Context::from_waker(Waker::noop());
        let wait = |_| {
            let mut turn = Box::pin(place(1).unwrap().turn());
            assert!(turn.as_mut().poll(&mut nobody).is_pending());
            turn
        };
        let waiting: Vec<_> = (0..HANDSHAKES_WAITING_PER_NETWORK_MAX).map(wait).collect();
        assert!(place(1).is_none() && place(2).is_some());
        drop(waiting);
        assert!(place(1).is_some());
        drop(begun);
        assert!(handshakes.networks.is_empty());
    }
}
