//! What an endpoint has yet to be told: what waits in its lanes, and the batches on their way.
//!
//! # Invariants
//!
//! * Nothing here waits, reads a clock or does anything but move fragments.
//! * Within a lane fragments go out in the order of the log, and one batch of it at a time.
//! * A batch is its bounds: read from the log again, the same fragments make the same batch.
//! * What is in memory is bounded, also while batches of before a start are read again: of what
//!   does not fit, only where it begins is remembered.
//! * A lane whose batch is not taken holds up no other: of what waits behind it, only so much is
//!   here; the rest is read again when there is room.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::id::MessageId;
use crate::limits::{
    ENDPOINT_LANES, WEBHOOK_BATCH_BYTES_MAX, WEBHOOK_BATCH_EVENTS_MAX, WEBHOOK_BYTES_MAX,
    WEBHOOK_EVENTS_MAX, WEBHOOK_LANE_EVENTS_MAX,
};
use crate::store::{Batch, EndpointState, Position, Span};
use crate::webhook::dialect::Fragment;
use crate::webhook::lane::{Lane, Waiting, size};

/// What of one endpoint is in memory.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    flights: BTreeMap<u64, Flight>,
    next_number: u64,
    /// The last entry whose fragments are all here, or done.
    through: MessageId,
    /// Behind which entry fragments were left out, to be read again.
    left_out: Option<MessageId>,
    /// How far all had been read that no lane has left out, while some is read again.
    ahead: Option<MessageId>,
    /// Fragments that wait in a busy lane at the most.
    lane_max: usize,
    fragments: usize,
    bytes: usize,
}

/// A batch on its way.
#[derive(Debug)]
struct Flight {
    batch: Batch,
    /// By their places.
    fragments: Vec<Fragment>,
    /// All of them are here.
    is_whole: bool,
    /// Some of them are lost, so it is not what it was.
    is_other: bool,
}

/// What reading on has brought.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Restored {
    /// Batches of before the start that are whole again.
    pub(super) whole: Vec<u64>,
    /// Where to read on instead, for not everything had room.
    pub(super) again: Option<MessageId>,
}

/// What waits in the free lanes of a stream.
struct Ready {
    stream: u8,
    fragments: usize,
    bytes: usize,
    /// When they are due though they are few.
    due: Instant,
    /// The lane whose turn is a fragment that goes alone.
    alone: Option<usize>,
}

impl Lanes {
    /// Of an endpoint that has come as far as this.
    pub(super) fn new(state: &EndpointState) -> Self {
        Self::bounded(state, WEBHOOK_LANE_EVENTS_MAX)
    }

    /// The same, with so many fragments in a busy lane at the most.
    pub(super) fn bounded(state: &EndpointState, lane_max: usize) -> Self {
        let highest = state.batches.iter().map(|batch| batch.number + 1).max().unwrap_or(0);
        let mut lanes = Self {
            lanes: state.lanes.iter().map(Lane::new).collect(),
            flights: BTreeMap::new(),
            next_number: state.next_number.max(highest),
            through: state.behind(),
            left_out: None,
            ahead: None,
            lane_max,
            fragments: 0,
            bytes: 0,
        };
        for batch in &state.batches {
            lanes.fly(batch.clone(), Vec::new(), false);
        }
        lanes.lift(&state.batches);
        lanes
    }

    /// A lane had come to where the first of its batches begins, though the journal may not have
    /// kept that.
    fn lift(&mut self, batches: &[Batch]) {
        let spans = || batches.iter().flat_map(|batch| &batch.spans);
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            let of_lane = spans().filter(|span| usize::from(span.lane) == at);
            let begin = of_lane.map(|span| span.from).min().unwrap_or_default();
            lane.done = lane.done.max(begin);
            lane.taken = lane.done;
        }
    }

    /// Behind which entry to read on.
    pub(super) fn through(&self) -> MessageId {
        self.through
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        self.is_restoring() || !self.is_full()
    }

    /// Takes a fragment, unless it is done, or here already. Those of a lane come in their order.
    pub(super) fn take(&mut self, fragment: Fragment, now: Instant) {
        let at = usize::from(fragment.lane) % ENDPOINT_LANES;
        let (position, size) = (fragment.position, size(&fragment));
        if position <= self.lanes[at].taken {
            return;
        }
        if let Some(flight) = self.flight_of(at, position) {
            flight.fragments.push(fragment);
        } else if self.left_out.is_some() || self.is_restoring() && self.is_full() {
            self.left_out.get_or_insert(self.through);
            return;
        } else if self.lanes[at].leaves_out(self.lane_max) {
            self.lanes[at].left_out.get_or_insert(self.through);
            return;
        } else {
            let lane = &mut self.lanes[at];
            lane.waiting.push_back(Waiting { fragment, since: now });
            lane.bytes += size;
        }
        self.lanes[at].taken = position;
        self.fragments += 1;
        self.bytes += size;
    }

    /// Takes what tells of a hole, though what is behind the hole was taken before.
    pub(super) fn take_gap(&mut self, mut gap: Fragment, now: Instant) {
        let lane = &self.lanes[usize::from(gap.lane) % ENDPOINT_LANES];
        if gap.position <= lane.taken && lane.left_out.is_none() && !lane.is_behind {
            gap.position = Position::end_of(self.through.max(self.ahead.unwrap_or_default()));
        }
        self.take(gap, now);
    }

    /// The entries up to `through` are lost: batches on their way that had some of them are not
    /// what they were.
    pub(super) fn lose(&mut self, through: MessageId) {
        let lost = Position::end_of(through);
        for flight in self.flights.values_mut().filter(|flight| !flight.is_whole) {
            flight.is_other |= flight.batch.spans.iter().any(|span| span.from < lost);
        }
    }

    /// Some of what an entry made is lost.
    pub(super) fn lose_of(&mut self, entry: MessageId) {
        let has = |span: &Span| span.from < Position::end_of(entry) && entry <= span.to.entry;
        for flight in self.flights.values_mut().filter(|flight| !flight.is_whole) {
            flight.is_other |= flight.batch.spans.iter().any(has);
        }
    }

    /// All fragments of the entries up to `through` have been taken.
    pub(super) fn passed(&mut self, through: MessageId) -> Restored {
        self.through = self.through.max(through);
        let mut restored = Restored::default();
        for (number, flight) in self.flights.iter_mut().filter(|(_, flight)| !flight.is_whole) {
            if flight.batch.spans.iter().all(|span| span.to.entry <= through) {
                flight.is_whole = true;
                flight.fragments.sort_by_key(|fragment| fragment.position);
                restored.whole.push(*number);
            }
        }
        if !self.is_restoring() {
            restored.again = self.left_out.take();
            self.through = restored.again.unwrap_or(self.through);
        }
        restored.again = self.turn().or(restored.again);
        restored
    }

    /// Where to read on instead: back where something was left out of a lane that has room again,
    /// or ahead where reading had come before, when no such lane has room any more.
    pub(super) fn turn(&mut self) -> Option<MessageId> {
        if self.is_restoring() || self.left_out.is_some() {
            return None;
        }
        let before = self.through;
        if self.ahead.is_some_and(|ahead| ahead <= before) {
            self.all_read();
        }
        let (mut back, half) = (None, self.lane_max / 2);
        for lane in self.lanes.iter_mut().filter(|lane| lane.has_room(half)) {
            if let Some(left_out) = lane.left_out.take() {
                lane.is_behind = true;
                back = Some(back.map_or(left_out, |back: MessageId| back.min(left_out)));
            }
        }
        let wants = |lane: &Lane| lane.is_behind && lane.left_out.is_none();
        if let Some(back) = back {
            self.ahead = self.ahead.max(Some(before));
            self.through = before.min(back);
        } else if let Some(ahead) = self.ahead.filter(|_| !self.lanes.iter().any(wants)) {
            self.through = ahead;
            self.all_read();
        }
        (self.through != before).then_some(self.through)
    }

    fn all_read(&mut self) {
        self.ahead = None;
        self.lanes.iter_mut().for_each(|lane| lane.is_behind = false);
    }

    /// Forms the next batch, if one is due: enough is ready, or has waited for `interval`.
    pub(super) fn form(&mut self, now: Instant, interval: Duration, now_ms: i64) -> Option<Batch> {
        let full = |ready: &Ready| {
            ready.alone.is_some()
                || ready.fragments >= WEBHOOK_BATCH_EVENTS_MAX
                || ready.bytes >= WEBHOOK_BATCH_BYTES_MAX
                || now >= ready.due
        };
        let due = self.ready(interval).into_iter().filter(full).min_by_key(|ready| ready.due)?;
        let mut order: Vec<(Position, usize)> = match due.alone {
            Some(at) => vec![(Position::default(), at)],
            None => self.free(due.stream).collect(),
        };
        order.sort_unstable();
        let (mut spans, mut fragments, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (_, at) in order {
            let before = fragments.len();
            let is_full = self.lanes[at].move_into(&mut fragments, &mut bytes);
            if let Some(last) = fragments[before..].last() {
                let (from, to) = (self.lanes[at].done, last.position);
                spans.push(Span { lane: at as u8, from, to });
            }
            if is_full {
                break;
            }
        }
        spans.sort_unstable_by_key(|span| span.lane);
        fragments.sort_by_key(|fragment| fragment.position);
        let batch = Batch { number: self.next_number, formed_ms: now_ms, spans };
        self.next_number += 1;
        self.fly(batch.clone(), fragments, true);
        Some(batch)
    }

    /// When the next batch is due, if nothing else comes.
    pub(super) fn due_at(&self, interval: Duration) -> Option<Instant> {
        self.ready(interval).into_iter().map(|ready| ready.due).min()
    }

    /// Whether a batch may be tried: it is whole, and what goes before it in its lanes is done.
    pub(super) fn may_try(&self, number: u64) -> bool {
        self.flights.get(&number).is_some_and(|flight| {
            let reached = |span: &Span| self.lanes[usize::from(span.lane)].done >= span.from;
            flight.is_whole && flight.batch.spans.iter().all(reached)
        })
    }

    /// The bounds of a batch on its way.
    pub(super) fn batch(&self, number: u64) -> Option<&Batch> {
        self.flights.get(&number).map(|flight| &flight.batch)
    }

    /// What a batch on its way has, by place.
    pub(super) fn fragments(&self, number: u64) -> &[Fragment] {
        self.flights.get(&number).map_or(&[], |flight| &flight.fragments)
    }

    /// A batch is done. It gives back what it had.
    pub(super) fn done(&mut self, number: u64, now: Instant) -> Vec<Fragment> {
        let Some(flight) = self.flights.remove(&number) else { return Vec::new() };
        for span in &flight.batch.spans {
            let lane = &mut self.lanes[usize::from(span.lane)];
            lane.done = lane.done.max(span.to);
            lane.flights -= 1;
            lane.freed = Some(now);
        }
        self.fragments -= flight.fragments.len();
        self.bytes -= flight.fragments.iter().map(size).sum::<usize>();
        flight.fragments
    }

    /// Puts two halves in the place of a batch; nothing if it has one fragment only.
    pub(super) fn split(&mut self, number: u64) -> Option<Vec<Batch>> {
        let flight = self.flights.get(&number).filter(|flight| flight.fragments.len() > 1)?;
        let half = flight.fragments.len() / 2;
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for span in &flight.batch.spans {
            let in_lane = |f: &&Fragment| f.lane == span.lane;
            let last = flight.fragments[..half].iter().rfind(in_lane).map(|f| f.position);
            let more = flight.fragments[half..].iter().any(|f| f.lane == span.lane);
            match last {
                Some(to) if more => {
                    first.push(Span { to, ..*span });
                    second.push(Span { from: to, ..*span });
                }
                Some(_) => first.push(*span),
                None => second.push(*span),
            }
        }
        Some(self.replace(number, vec![(first, half), (second, usize::MAX)]))
    }

    /// Whether fragments of a batch may not share a request, which they did not when it was formed.
    pub(super) fn is_torn(&self, number: u64) -> bool {
        let fragments = self.fragments(number);
        fragments.len() > 1 && fragments.iter().any(|fragment| fragment.alone)
    }

    /// Gives a batch another number if some of it is lost: under its own it was another.
    pub(super) fn renumber(&mut self, number: u64) -> Option<Vec<Batch>> {
        let flight = self.flights.get(&number).filter(|flight| flight.is_other)?;
        let spans = flight.batch.spans.clone();
        Some(self.replace(number, vec![(spans, usize::MAX)]))
    }

    /// The last entry of which nothing waits.
    pub(super) fn passable(&self) -> MessageId {
        let oldest = self.lanes.iter().filter_map(|lane| lane.waiting.front());
        let oldest = oldest.map(|waiting| MessageId(waiting.fragment.position.entry.0 - 1)).min();
        let left_out = self.lanes.iter().filter_map(|lane| lane.left_out).chain(self.left_out);
        let read = left_out.fold(self.through, MessageId::min);
        oldest.map_or(read, |oldest| oldest.min(read))
    }

    /// It is kept that nothing up to `through` waits.
    pub(super) fn pass(&mut self, through: MessageId) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.flights == 0) {
            lane.done = lane.done.max(Position::end_of(through));
            lane.taken = lane.taken.max(lane.done);
        }
    }

    /// The numbers of the batches on their way.
    pub(super) fn flights(&self) -> impl Iterator<Item = u64> {
        self.flights.keys().copied()
    }

    /// Whether a batch waits for another of its lanes.
    pub(super) fn is_behind(&self, number: u64) -> bool {
        self.flights.get(&number).is_some_and(|flight| flight.is_whole) && !self.may_try(number)
    }

    /// Fragments that are not done.
    pub(super) fn held(&self) -> usize {
        self.fragments
    }

    /// When the oldest that is not done happened, in milliseconds since 1970.
    pub(super) fn oldest_ms(&self) -> Option<i64> {
        let waiting = self.lanes.iter().filter_map(|lane| lane.waiting.front());
        let flying = self.flights.values().filter_map(|flight| flight.fragments.first());
        waiting.map(|waiting| &waiting.fragment).chain(flying).map(|fragment| fragment.at_ms).min()
    }

    fn is_restoring(&self) -> bool {
        self.flights.values().any(|flight| !flight.is_whole)
    }

    fn is_full(&self) -> bool {
        self.fragments >= WEBHOOK_EVENTS_MAX || self.bytes >= WEBHOOK_BYTES_MAX
    }

    /// The batch of before the start that has this place of a lane.
    fn flight_of(&mut self, at: usize, position: Position) -> Option<&mut Flight> {
        if self.lanes[at].flights == 0 {
            return None;
        }
        let has = |span: &Span| {
            usize::from(span.lane) == at && span.from < position && position <= span.to
        };
        let mut open = self.flights.values_mut().filter(|flight| !flight.is_whole);
        open.find(|flight| flight.batch.spans.iter().any(has))
    }

    fn fly(&mut self, batch: Batch, fragments: Vec<Fragment>, is_whole: bool) {
        for span in &batch.spans {
            self.lanes[usize::from(span.lane)].flights += 1;
        }
        let number = batch.number;
        self.flights.insert(number, Flight { batch, fragments, is_whole, is_other: false });
    }

    /// Puts batches with these spans, and up to so many of the fragments, in the place of one.
    fn replace(&mut self, number: u64, parts: Vec<(Vec<Span>, usize)>) -> Vec<Batch> {
        let Some(flight) = self.flights.remove(&number) else { return Vec::new() };
        for span in &flight.batch.spans {
            self.lanes[usize::from(span.lane)].flights -= 1;
        }
        let mut rest = flight.fragments.into_iter();
        let mut batches = Vec::new();
        for (spans, count) in parts {
            let formed_ms = flight.batch.formed_ms;
            let batch = Batch { number: self.next_number, formed_ms, spans };
            self.next_number += 1;
            self.fly(batch.clone(), rest.by_ref().take(count).collect(), true);
            batches.push(batch);
        }
        batches
    }

    /// Lanes of a stream of which nothing is on its way, each with the place of its first fragment.
    fn free(&self, stream: u8) -> impl Iterator<Item = (Position, usize)> {
        self.lanes.iter().enumerate().filter(|(_, lane)| lane.flights == 0).filter_map(
            move |(at, lane)| {
                let first = &lane.waiting.front()?.fragment;
                (first.stream == stream).then_some((first.position, at))
            },
        )
    }

    fn ready(&self, interval: Duration) -> Vec<Ready> {
        let mut all: Vec<Ready> = Vec::new();
        for (at, lane) in self.lanes.iter().enumerate().filter(|(_, lane)| lane.flights == 0) {
            let Some(Waiting { fragment, since }) = lane.waiting.front() else { continue };
            let alone = fragment.alone.then_some(at);
            let due = if fragment.alone { *since } else { lane.due(*since, interval) };
            let (stream, fragments, bytes) = (fragment.stream, lane.waiting.len(), lane.bytes);
            let Some(ready) = all.iter_mut().find(|ready| ready.stream == stream) else {
                all.push(Ready { stream, fragments, bytes, due, alone });
                continue;
            };
            ready.fragments += fragments;
            ready.bytes += bytes;
            // Of those that go alone, the one that waits longest.
            if alone.is_some() && (ready.alone.is_none() || due < ready.due) {
                ready.alone = alone;
            }
            ready.due = ready.due.min(due);
        }
        all
    }
}
