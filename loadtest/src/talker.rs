//! Which sends a peer's work asks for, whatever protocol carries them.
//!
//! # Invariants
//!
//! * A peer never sends to itself.

use std::collections::VecDeque;

use crate::flight::{Flight, Send};
use crate::peer::Work;
use crate::run::{Phase, Run};

/// The sends of one peer.
#[derive(Debug)]
pub(crate) struct Talker {
    index: u32,
    random: fastrand::Rng,
    pub(crate) flight: Flight,
}

impl Talker {
    /// The peer with this index has nothing in flight; `first` is its next number.
    pub(crate) fn new(index: u32, first: u64) -> Self {
        Self { index, random: fastrand::Rng::new(), flight: Flight::new(first) }
    }

    /// What to send next, if anything.
    pub(crate) fn next_send(
        &mut self,
        work: &mut Work,
        now_ns: u64,
        due: &mut VecDeque<u64>,
        run: &Run,
    ) -> Option<Send> {
        let sending = run.phase() == Phase::Send;
        let (intended_ns, to) = match work {
            Work::Chat { window } if sending && self.flight.unanswered() < *window => {
                (now_ns, Some(self.random_peer(run)))
            }
            Work::Tide(mark) if sending => {
                let (session, unanswered) = ((self.index, run.talkers), self.flight.unanswered());
                let due_ns = run.tide.next(session, unanswered, mark, now_ns, due)?;
                (due_ns, Some(self.random_peer(run)))
            }
            Work::Rate if run.recipients > 1 => {
                (due.pop_front()?, Some((self.index + 1) % run.talkers))
            }
            Work::Rate => (due.pop_front()?, Some(self.random_peer(run))),
            Work::Member => (due.pop_front()?, None),
            Work::Store { next, step, messages, first_peer, peers, window }
                if sending && *next < *messages && self.flight.unanswered() < *window =>
            {
                let to = *first_peer + (*next % u64::from(*peers)) as u32;
                *next += *step;
                (now_ns, Some(to))
            }
            _ => return None,
        };
        Some(Send { intended_ns, to })
    }

    fn random_peer(&mut self, run: &Run) -> u32 {
        let others = run.talkers - 1;
        let partners = run.partners.map_or(others, |partners| partners.min(others));
        (self.index + 1 + self.random.u32(0..partners)) % run.talkers
    }
}
