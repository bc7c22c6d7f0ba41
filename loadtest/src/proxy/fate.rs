//! What becomes of a datagram, drawn from a seed.
//!
//! # Invariants
//!
//! * Nothing here knows of sockets or of the clock: who asks says what time it is.
//! * Each datagram takes the same draws whatever faults there are, so that one fault more does not
//!   change what another does.

use std::time::{Duration, Instant};

/// How long a datagram that others overtake is held back at the most.
const HELD_MAX: Duration = Duration::from_millis(25);
/// How long the queue before a slow way is; what comes beyond it is lost.
const QUEUE_MAX: Duration = Duration::from_millis(250);
/// An odd number with well mixed bits (that of the golden ratio), to part seeds.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is wrong with the ways of a proxy; nothing unless set.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Faults {
    /// Of a hundred datagrams, so many are lost.
    pub(crate) loss: u8,
    /// Of a hundred, so many are held back, so that later ones overtake them.
    pub(crate) reorder: u8,
    /// Of a hundred, so many come twice.
    pub(crate) duplicate: u8,
    /// How long each takes, one way.
    pub(crate) delay: Duration,
    /// Bits a second of each way and direction; 0 for as many as come.
    pub(crate) bits_per_second: u64,
    /// Bytes of a datagram above which it is lost; 0 for any.
    pub(crate) mtu: usize,
}

/// The directions of a way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What becomes of one datagram.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    Lost,
    TooLong,
    /// The queue before a slow way was full.
    Queued,
    /// The direction was cut.
    Cut,
    /// It arrives, and perhaps once more.
    Arrives {
        at: Instant,
        again: Option<Instant>,
        is_held: bool,
    },
}

/// One direction of one way.
#[derive(Debug)]
pub(crate) struct Lane {
    random: fastrand::Rng,
    /// When what was sent before has gone through.
    free_at: Option<Instant>,
    cut_until: Option<Instant>,
}

impl Lane {
    /// The direction of the way with this number, counted from 0 as clients come.
    pub(crate) fn new(seed: u64, way: u64, direction: Direction) -> Self {
        let lane = way * 2 + u64::from(direction == Direction::Down);
        let random = fastrand::Rng::with_seed(seed ^ (lane + 1).wrapping_mul(SPREAD));
        Self { random, free_at: None, cut_until: None }
    }

    /// Loses all that comes until a moment.
    pub(crate) fn cut(&mut self, until: Instant) {
        self.cut_until = Some(until);
    }

    /// What becomes of a datagram of so many bytes that comes now.
    pub(crate) fn draw(&mut self, faults: &Faults, now: Instant, bytes: usize) -> Fate {
        let mut of_hundred = |percent: u8| self.random.u8(0..100) < percent;
        let is_lost = of_hundred(faults.loss);
        let is_held = of_hundred(faults.reorder);
        let is_doubled = of_hundred(faults.duplicate);
        let mut held = || HELD_MAX.mul_f64(self.random.f64());
        let (held_for, again_after) = (held(), held());
        if self.cut_until.is_some_and(|until| now < until) {
            return Fate::Cut;
        }
        if faults.mtu > 0 && bytes > faults.mtu {
            return Fate::TooLong;
        }
        if is_lost {
            return Fate::Lost;
        }
        let Some(through) = self.pass(faults.bits_per_second, now, bytes) else {
            return Fate::Queued;
        };
        let at = through + faults.delay + if is_held { held_for } else { Duration::ZERO };
        let again = is_doubled.then(|| at + again_after);
        Fate::Arrives { at, again, is_held }
    }

    /// When a datagram has gone through; `None` if the queue is full.
    fn pass(&mut self, bits_per_second: u64, now: Instant, bytes: usize) -> Option<Instant> {
        if bits_per_second == 0 {
            return Some(now);
        }
        let begins = self.free_at.map_or(now, |free_at| free_at.max(now));
        if begins - now > QUEUE_MAX {
            return None;
        }
        let takes = Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_second as f64);
        self.free_at = Some(begins + takes);
        self.free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Faults = Faults {
        loss: 0,
        reorder: 0,
        duplicate: 0,
        delay: Duration::ZERO,
        bits_per_second: 0,
        mtu: 0,
    };

    fn fates(seed: u64, faults: &Faults, count: usize, now: Instant) -> Vec<Fate> {
        let mut lane = Lane::new(seed, 0, Direction::Up);
        (0..count).map(|_| lane.draw(faults, now, 100)).collect()
    }

    fn count(fates: &[Fate], is: impl Fn(&Fate) -> bool) -> usize {
        fates.iter().filter(|fate| is(fate)).count()
    }

    #[test]
    fn a_seed_gives_the_same_fates_again_and_another_gives_others() {
        let now = Instant::now();
        let faults = Faults { loss: 30, reorder: 30, duplicate: 30, ..NONE };
        assert_eq!(fates(7, &faults, 500, now), fates(7, &faults, 500, now));
        assert_ne!(fates(7, &faults, 500, now), fates(8, &faults, 500, now));
    }

    #[test]
    fn the_directions_and_the_ways_have_fates_of_their_own() {
        let (now, faults) = (Instant::now(), Faults { loss: 50, ..NONE });
        let of = |way, direction| {
            let mut lane = Lane::new(7, way, direction);
            (0..200).map(|_| lane.draw(&faults, now, 100)).collect::<Vec<_>>()
        };
        assert_ne!(of(0, Direction::Up), of(0, Direction::Down));
        assert_ne!(of(0, Direction::Up), of(1, Direction::Up));
    }

    #[test]
    fn about_as_many_are_lost_as_was_said_and_the_same_ones_whatever_else_is_wrong() {
        let now = Instant::now();
        let lost = |faults: Faults| {
            let fates = fates(1, &faults, 10_000, now);
            fates.iter().map(|fate| *fate == Fate::Lost).collect::<Vec<_>>()
        };
        let alone = lost(Faults { loss: 10, ..NONE });
        let count = alone.iter().filter(|is_lost| **is_lost).count();
        assert!((800..1_200).contains(&count), "{count} of 10,000");
        assert_eq!(alone, lost(Faults { loss: 10, reorder: 50, duplicate: 50, ..NONE }));
        assert_eq!(lost(NONE).iter().filter(|is_lost| **is_lost).count(), 0);
    }

    #[test]
    fn what_is_reordered_comes_later_and_what_is_doubled_comes_twice() {
        let now = Instant::now();
        let held = fates(1, &Faults { reorder: 100, ..NONE }, 100, now);
        let late =
            |fate: &Fate| matches!(fate, Fate::Arrives { at, is_held: true, .. } if *at > now);
        assert!(count(&held, late) > 95, "one may be held back for less than it takes to see");
        let doubled = fates(1, &Faults { duplicate: 100, ..NONE }, 100, now);
        let twice =
            |fate: &Fate| matches!(fate, Fate::Arrives { at, again: Some(_), .. } if *at == now);
        assert_eq!(count(&doubled, twice), 100);
    }

    #[test]
    fn a_delay_is_that_of_each_datagram() {
        let now = Instant::now();
        let delay = Duration::from_millis(40);
        let fates = fates(1, &Faults { delay, ..NONE }, 3, now);
        let on_time = Fate::Arrives { at: now + delay, again: None, is_held: false };
        assert_eq!(fates, [on_time; 3]);
    }

    #[test]
    fn a_slow_way_makes_datagrams_wait_for_one_another_and_its_queue_has_an_end() {
        let now = Instant::now();
        // A datagram of 100 bytes takes 10 ms.
        let faults = Faults { bits_per_second: 80_000, ..NONE };
        let fates = fates(1, &faults, 100, now);
        for (fate, place) in fates[..20].iter().zip(1..) {
            let at = now + Duration::from_millis(10) * place;
            assert_eq!(*fate, Fate::Arrives { at, again: None, is_held: false });
        }
        assert_eq!(count(&fates, |fate| *fate != Fate::Queued), 26, "250 ms, and the one after");
        let mut lane = Lane::new(1, 0, Direction::Up);
        lane.draw(&faults, now, 100);
        let later = now + Duration::from_secs(1);
        let at = later + Duration::from_millis(10);
        let fresh = Fate::Arrives { at, again: None, is_held: false };
        assert_eq!(lane.draw(&faults, later, 100), fresh, "the queue has emptied");
    }

    #[test]
    fn what_is_longer_than_the_mtu_is_lost() {
        let now = Instant::now();
        let mut lane = Lane::new(1, 0, Direction::Up);
        let faults = Faults { mtu: 1_200, ..NONE };
        assert_eq!(lane.draw(&faults, now, 1_201), Fate::TooLong);
        assert!(matches!(lane.draw(&faults, now, 1_200), Fate::Arrives { .. }));
    }

    #[test]
    fn a_cut_ends() {
        let now = Instant::now();
        let mut lane = Lane::new(1, 0, Direction::Up);
        let until = now + Duration::from_secs(1);
        lane.cut(until);
        assert_eq!(lane.draw(&NONE, now, 100), Fate::Cut);
        assert!(matches!(lane.draw(&NONE, until, 100), Fate::Arrives { .. }));
    }
}
