//! Lanes against a model: nothing lost, nothing doubled, order kept, memory bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::dialect::Fragment;
use super::event::Kind;
use super::journal_tests::{apply, begun};
use super::lanes::{Lanes, Restored};
use crate::id::MessageId;
use crate::limits::{
    WEBHOOK_BATCH_BYTES_MAX, WEBHOOK_BATCH_EVENTS_MAX, WEBHOOK_EVENTS_MAX, WEBHOOK_LANE_EVENTS_MAX,
};
use crate::store::{Batch, EndpointChange, EndpointState, Position};

const INTERVAL: Duration = Duration::from_millis(500);

fn fragment(entry: i64, part: u32, lane: u8, bytes: usize) -> Fragment {
    Fragment {
        position: Position { entry: MessageId(entry), part },
        event: format!("{entry}-{part}"),
        kind: Kind::MessageSent,
        at_ms: entry,
        lane,
        // Half of the lanes, and a few whose fragments go alone.
        stream: lane / 32,
        alone: lane >= 60,
        bytes: vec![b'x'; bytes].into(),
        upstream: None,
    }
}

fn places(fragments: &[Fragment]) -> Vec<Position> {
    fragments.iter().map(|fragment| fragment.position).collect()
}

/// An endpoint whose state outlives what is in memory.
struct World {
    /// What the log makes, by entry.
    log: Vec<Vec<Fragment>>,
    kept: EndpointState,
    lanes: Lanes,
    read: i64,
    now: Instant,
    delivered: Vec<Fragment>,
    /// What a batch had when it was tried first.
    tried: BTreeMap<u64, Vec<Position>>,
    lane_max: usize,
}

impl World {
    fn new() -> Self {
        Self::bounded(WEBHOOK_LANE_EVENTS_MAX)
    }

    fn bounded(lane_max: usize) -> Self {
        let kept = begun(MessageId(0));
        let lanes = Lanes::bounded(&kept, lane_max);
        let (log, delivered, tried) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { log, lanes, kept, read: 0, now: Instant::now(), delivered, tried, lane_max }
    }

    fn keep(&mut self, change: &EndpointChange) {
        apply(&mut self.kept, change);
    }

    fn write(&mut self, lanes: &[u8]) {
        let entry = self.log.len() as i64 + 1;
        let parts = lanes.iter().enumerate();
        self.log.push(parts.map(|(part, lane)| fragment(entry, part as u32, *lane, 9)).collect());
    }

    /// Reads one entry; false if there is none.
    fn read(&mut self) -> bool {
        let Some(fragments) = self.log.get(self.read as usize).filter(|_| self.lanes.has_room())
        else {
            return false;
        };
        for fragment in fragments {
            self.lanes.take(fragment.clone(), self.now);
        }
        self.read += 1;
        let Restored { whole, again } = self.lanes.passed(MessageId(self.read));
        for number in whole {
            if self.lanes.fragments(number).is_empty() {
                self.keep(&EndpointChange::Done { number });
                self.lanes.done(number, self.now);
            }
        }
        self.read = again.map_or(self.read, |again| again.0);
        self.turn();
        true
    }

    fn form(&mut self) -> Option<Batch> {
        let batch = self.lanes.form(self.now, INTERVAL, 7)?;
        self.keep(&EndpointChange::Formed(batch.clone()));
        Some(batch)
    }

    /// The batches that may be tried. The same batch is always the same.
    fn ready(&mut self) -> Vec<u64> {
        let numbers: Vec<u64> = self.kept.batches.iter().map(|batch| batch.number).collect();
        let ready: Vec<u64> =
            numbers.into_iter().filter(|number| self.lanes.may_try(*number)).collect();
        for number in &ready {
            let places = places(self.lanes.fragments(*number));
            let first = self.tried.entry(*number).or_insert_with(|| places.clone());
            assert_eq!(*first, places, "batch {number} is another");
        }
        ready
    }

    fn deliver(&mut self, number: u64) {
        self.keep(&EndpointChange::Done { number });
        self.delivered.extend(self.lanes.done(number, self.now));
        self.turn();
    }

    fn turn(&mut self) {
        self.read = self.lanes.turn().map_or(self.read, |again| again.0);
    }

    fn split(&mut self, number: u64) {
        if let Some(parts) = self.lanes.split(number) {
            self.keep(&EndpointChange::Split { number, parts });
        }
    }

    fn pass(&mut self) {
        let through = self.lanes.passable();
        self.keep(&EndpointChange::Passed { through });
        self.lanes.pass(through);
    }

    fn crash(&mut self) {
        self.lanes = Lanes::bounded(&self.kept, self.lane_max);
        self.read = self.lanes.through().0;
    }

    /// Everything goes out.
    fn finish(&mut self) {
        loop {
            while self.read() {}
            self.now += INTERVAL;
            while self.form().is_some() {}
            let ready = self.ready();
            ready.iter().for_each(|number| self.deliver(*number));
            if ready.is_empty() && self.read == self.log.len() as i64 && self.lanes.held() == 0 {
                break;
            }
        }
        self.pass();
    }

    fn check(&self) {
        let all: BTreeSet<Position> = self.log.iter().flatten().map(|f| f.position).collect();
        let mut lanes: BTreeMap<u8, Vec<Position>> = BTreeMap::new();
        for fragment in &self.delivered {
            lanes.entry(fragment.lane).or_default().push(fragment.position);
        }
        assert!(lanes.values().all(|lane| lane.is_sorted_by(|a, b| a < b)), "{lanes:?}");
        let delivered: BTreeSet<Position> = lanes.into_values().flatten().collect();
        assert_eq!(delivered.len(), self.delivered.len(), "something came twice");
        assert_eq!(delivered, all, "something is lost");
        assert_eq!(self.kept.behind().0, self.log.len() as i64);
        assert!(self.kept.batches.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_fragment_is_done_once_and_in_its_order_whatever_happens(
        steps in prop::collection::vec((0u8..9, prop::collection::vec(0u8..64, 0..4)), 1..120),
        (lane_max, apart) in (1usize..6, 1u8..30),
    ) {
        let mut world = World::bounded(lane_max);
        for (step, mut lanes) in steps {
            // Also in few lanes, of which some is left out.
            lanes.iter_mut().for_each(|lane| *lane -= *lane % apart);
            let pick = usize::from(lanes.first().copied().unwrap_or(0));
            match step {
                0..3 => world.write(&lanes),
                3 => while world.read() {},
                4 => {
                    world.now += INTERVAL;
                    world.form();
                }
                5 | 6 => {
                    let ready = world.ready();
                    if let Some(number) = ready.get(pick % ready.len().max(1)) {
                        if step == 5 { world.deliver(*number) } else { world.split(*number) }
                    }
                }
                7 => world.pass(),
                _ => world.crash(),
            }
        }
        world.finish();
        world.check();
    }
}

#[test]
fn a_batch_is_due_when_it_is_full_or_its_first_has_waited() {
    let (mut lanes, now) = (Lanes::new(&begun(MessageId(0))), Instant::now());
    lanes.take(fragment(1, 0, 3, 10), now);
    assert_eq!(lanes.due_at(INTERVAL), Some(now + INTERVAL));
    assert_eq!(lanes.form(now + INTERVAL / 2, INTERVAL, 7), None);
    for entry in 2..=WEBHOOK_BATCH_EVENTS_MAX as i64 + 5 {
        lanes.take(fragment(entry, 0, (entry % 8) as u8, 10), now);
    }
    let batch = lanes.form(now, INTERVAL, 7).unwrap();
    let fragments = lanes.fragments(batch.number);
    assert_eq!(fragments.len(), WEBHOOK_BATCH_EVENTS_MAX);
    assert!(places(fragments).is_sorted());
    assert_eq!(lanes.form(now, INTERVAL, 7), None, "five are left");
    let rest = lanes.form(now + INTERVAL, INTERVAL, 7);
    assert_eq!(rest, None, "their lane is on its way");
    lanes.done(batch.number, now);
    let rest = lanes.form(now + INTERVAL, INTERVAL, 7).unwrap();
    assert_eq!((rest.number, lanes.fragments(rest.number).len()), (1, 5));
}

#[test]
fn a_batch_has_no_more_bytes_than_the_limit_unless_one_alone_has() {
    let (mut lanes, now) = (Lanes::new(&begun(MessageId(0))), Instant::now());
    lanes.take(fragment(1, 0, 0, WEBHOOK_BATCH_BYTES_MAX + 1), now);
    lanes.take(fragment(2, 0, 1, WEBHOOK_BATCH_BYTES_MAX / 2), now);
    lanes.take(fragment(3, 0, 2, WEBHOOK_BATCH_BYTES_MAX / 2), now);
    lanes.take(fragment(4, 0, 3, 1), now);
    let mut sizes = Vec::new();
    while let Some(batch) = lanes.form(now + INTERVAL, INTERVAL, 7) {
        sizes.push(lanes.fragments(batch.number).len());
    }
    assert_eq!(sizes, [1, 2, 1]);
}

#[test]
fn a_lane_that_was_just_freed_waits_a_little_for_others() {
    let (mut lanes, now) = (Lanes::new(&begun(MessageId(0))), Instant::now());
    lanes.take(fragment(1, 0, 3, 10), now);
    let batch = lanes.form(now + INTERVAL, INTERVAL, 7).unwrap();
    lanes.take(fragment(2, 0, 3, 10), now + INTERVAL);
    lanes.done(batch.number, now + INTERVAL * 3);
    let due = now + INTERVAL * 3 + INTERVAL / 4;
    assert_eq!(lanes.due_at(INTERVAL), Some(due));
    assert_eq!(lanes.form(due - Duration::from_millis(1), INTERVAL, 7), None);
    assert!(lanes.form(due, INTERVAL, 7).is_some());
}

#[test]
fn streams_do_not_share_a_batch_and_what_goes_alone_goes_at_once() {
    let (mut lanes, now) = (Lanes::new(&begun(MessageId(0))), Instant::now());
    for (entry, lane) in [(1, 0), (2, 40), (3, 61), (4, 61), (5, 1)] {
        lanes.take(fragment(entry, 0, lane, 1), now);
    }
    let batch = lanes.form(now, INTERVAL, 7).unwrap();
    assert_eq!(places(lanes.fragments(batch.number)).len(), 1);
    assert_eq!(lanes.fragments(batch.number)[0].lane, 61);
    assert_eq!(lanes.form(now, INTERVAL, 7), None);
    let mut formed = Vec::new();
    while let Some(batch) = lanes.form(now + INTERVAL, INTERVAL, 7) {
        let streams = lanes.fragments(batch.number).iter().map(|f| (f.stream, f.position.entry.0));
        formed.push(streams.collect::<Vec<_>>());
    }
    assert_eq!(formed, [vec![(0, 1), (0, 5)], vec![(1, 2)]]);
}

#[test]
fn memory_is_bounded_also_while_batches_of_before_are_read_again() {
    let mut world = World::new();
    let count = WEBHOOK_EVENTS_MAX as i64 * 2;
    for entry in 0..count {
        world.write(&[(entry % 60) as u8]);
    }
    while world.read() {}
    assert_eq!(world.lanes.held(), WEBHOOK_EVENTS_MAX);
    for _ in 0..16 {
        world.form();
    }
    let ready = world.ready();
    // All but the first are done, so the first lies far behind the last.
    ready[1..].iter().for_each(|number| world.deliver(*number));
    while world.read() {}
    world.now += INTERVAL;
    world.form().unwrap();
    for _ in 0..2 {
        world.crash();
        while world.read() {
            assert!(world.lanes.held() <= WEBHOOK_EVENTS_MAX + WEBHOOK_BATCH_EVENTS_MAX * 2);
        }
    }
    world.finish();
    world.check();
}

#[test]
fn a_batch_of_which_something_is_lost_gets_another_number() {
    let (mut world, interval) = (World::new(), INTERVAL);
    for lane in [1, 2, 1, 2] {
        world.write(&[lane]);
    }
    while world.read() {}
    world.now += interval;
    let batch = world.form().unwrap();
    let mut lanes = Lanes::new(&world.kept);
    lanes.lose(MessageId(2));
    assert!(lanes.passed(MessageId(2)).whole.is_empty());
    for fragment in world.log[2..].iter().flatten() {
        lanes.take(fragment.clone(), world.now);
    }
    assert_eq!(lanes.passed(MessageId(4)).whole, [batch.number]);
    let parts = lanes.renumber(batch.number).unwrap();
    assert_eq!((parts[0].number, &parts[0].spans), (1, &batch.spans));
    assert_eq!(lanes.fragments(1).len(), 2);
    assert_eq!(lanes.renumber(1), None);
    assert!(lanes.may_try(1));
}

#[test]
fn what_one_lane_has_is_left_out_while_it_stands_still_and_read_again_then() {
    let mut world = World::bounded(10);
    world.write(&[1]);
    while world.read() {}
    world.now += INTERVAL;
    let stuck = world.form().unwrap().number;
    for entry in 0..WEBHOOK_EVENTS_MAX * 2 {
        world.write(&[1 + 2 * u8::from(entry % 100 == 0)]);
    }
    let mut reads = 0;
    while world.read() {}
    assert_eq!(world.lanes.held(), 1 + 10 + WEBHOOK_EVENTS_MAX / 50, "the other has all of its");
    world.pass();
    assert!(world.kept.behind() < MessageId(1));
    world.deliver(stuck);
    while world.lanes.held() > 0 {
        while world.read() {
            reads += 1;
        }
        world.now += INTERVAL;
        while world.form().is_some() {}
        for number in world.ready() {
            world.deliver(number);
        }
    }
    assert!(reads < 8 * WEBHOOK_EVENTS_MAX, "{reads} entries were read again");
    world.finish();
    world.check();
}

#[test]
fn a_batch_that_begins_before_what_the_journal_knows_of_its_lane_is_tried() {
    let mut world = World::new();
    for lane in [1, 2, 1] {
        world.write(&[lane]);
    }
    while world.read() {}
    world.now += INTERVAL;
    let mut batch = world.form().unwrap();
    batch.spans[0].from = Position::end_of(MessageId(1));
    let kept = EndpointState { batches: vec![batch.clone()], ..begun(MessageId(0)) };
    let mut lanes = Lanes::new(&kept);
    for fragment in world.log.iter().flatten() {
        lanes.take(fragment.clone(), world.now);
    }
    assert_eq!(lanes.passed(MessageId(3)).whole, [batch.number]);
    assert!(lanes.may_try(batch.number));
    assert_eq!(lanes.fragments(batch.number).len(), 2);
}
