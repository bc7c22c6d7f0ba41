//! How far endpoints have come, and their letters, are the same after a replay whatever part of
//! it had reached the state; and what makes no sense is not taken for it.

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::limits::{LETTERS_AGE, LETTERS_BYTES_MAX, LETTERS_MAX};
use crate::metrics::Metrics;
use crate::store::entry::{Entry, Placed};
use crate::store::image::Checkpoint;
use crate::store::journal::{EndpointState, Letter, Span};
use crate::store::ledger::Ledger;
use crate::store::letters::Letters;
use crate::store::peer::Rules;
use crate::store::settle::Settling;

const NAMES: [&str; 3] = ["shop", "search", "audit"];
const AT_MS: i64 = 1_767_225_600_000;
const RULES: Rules = Rules {
    window_messages: 3,
    window_age_ms: 1_000,
    away_after_ms: 1_000,
    inbox_max: 8,
    devices_max: 2,
};

fn name(index: usize) -> EndpointId {
    EndpointId::new(NAMES[index]).unwrap()
}

fn place(entry: i64) -> Position {
    Position { entry: MessageId(entry), part: 0 }
}

fn span(lane: u8, from: i64, to: i64) -> Span {
    Span { lane, from: place(from), to: place(to) }
}

fn batch(number: u64, spans: Vec<Span>) -> Batch {
    Batch { number, formed_ms: AT_MS, spans }
}

fn letter(entry: i64, at_ms: i64, bytes: usize) -> Letter {
    Letter {
        position: place(entry),
        event: format!("{entry}-0"),
        kind: "message.sent".to_owned(),
        at_ms,
        status: 400,
        why: "refused".to_owned(),
        tries: 1,
        request: "request".to_owned(),
        query: String::new(),
        body: vec![b'x'; bytes].into(),
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Which endpoint, and how many entries back it begins.
    Begin(usize, i64),
    /// On which lanes, up to how many entries back.
    Form(usize, Vec<u8>, i64),
    /// Of those on their way.
    Done(usize, prop::sample::Index),
    Split(usize, prop::sample::Index),
    Pass(usize, i64),
    Halt(usize, bool),
    Keep(usize, i64),
    Drop(usize, i64),
    Remove(usize),
    /// Some of it reaches the state, and no checkpoint says so.
    WriteEndpoints(usize),
    WriteLetters(usize),
    Flush,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let (of, back) = (0..NAMES.len(), 0..6i64);
    let lanes = prop::collection::btree_set(0..5u8, 1..4);
    let lanes = lanes.prop_map(|lanes| lanes.into_iter().collect());
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (of.clone(), back.clone()).prop_map(|(of, back)| Step::Begin(of, back)),
        8 => (of.clone(), lanes, back.clone()).prop_map(|(of, l, b)| Step::Form(of, l, b)),
        5 => (of.clone(), index()).prop_map(|(of, which)| Step::Done(of, which)),
        3 => (of.clone(), index()).prop_map(|(of, which)| Step::Split(of, which)),
        3 => (of.clone(), back.clone()).prop_map(|(of, back)| Step::Pass(of, back)),
        2 => (of.clone(), any::<bool>()).prop_map(|(of, halts)| Step::Halt(of, halts)),
        6 => (of.clone(), 1..6i64).prop_map(|(of, entry)| Step::Keep(of, entry)),
        4 => (of.clone(), 1..6i64).prop_map(|(of, entry)| Step::Drop(of, entry)),
        1 => of.prop_map(Step::Remove),
        3 => (1..3usize).prop_map(Step::WriteEndpoints),
        3 => (1..4usize).prop_map(Step::WriteLetters),
        1 => Just(Step::Flush),
        2 => Just(Step::Crash),
    ]
}

/// A ledger, and the log that made it.
struct Run {
    ledger: Ledger,
    log: Vec<Placed>,
    next: i64,
    folder: TempDir,
}

fn ledger(folder: &TempDir) -> Ledger {
    let state = State::open(folder.path()).unwrap().state;
    let checkpoint = state.checkpoint().unwrap().unwrap_or_default();
    Ledger::new(Arc::new(state), RULES, checkpoint, Arc::new(Metrics::new())).unwrap()
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { ledger: ledger(&folder), log: Vec::new(), next: 100, folder }
    }

    /// Makes an entry of a change, if it makes sense.
    fn note(&mut self, of: usize, change: EndpointChange) {
        let (endpoint, id) = (name(of), MessageId(self.next));
        let makes_sense = match &change {
            EndpointChange::Dropped { letters } => self.ledger.letters.has(&endpoint, letters[0]),
            change => self.ledger.endpoints.judge(&endpoint, change, id),
        };
        if makes_sense {
            let entry = Entry::Endpoint { endpoint, change };
            let placed = Placed { id, at_ms: AT_MS, entry };
            self.ledger.replay(&placed, 1).unwrap();
            self.log.push(placed);
        }
        self.next += 1;
    }

    fn state(&self, of: usize) -> Option<EndpointState> {
        self.ledger.endpoint_state(&name(of))
    }

    fn on_its_way(&self, of: usize, which: prop::sample::Index) -> Option<Batch> {
        let batches = self.state(of)?.batches;
        (!batches.is_empty()).then(|| batches[which.index(batches.len())].clone())
    }

    fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Begin(of, back) => {
                self.note(of, EndpointChange::Began { after: MessageId(self.next - 1 - back) });
            }
            Step::Form(of, lanes, back) => {
                let Some(state) = self.state(of) else { return };
                let to = self.next - back;
                let spans = lanes.into_iter().map(|lane| Span {
                    lane,
                    from: state.lanes[usize::from(lane)],
                    to: place(to),
                });
                let formed = batch(state.next_number, spans.collect());
                self.note(of, EndpointChange::Formed(formed));
            }
            Step::Done(of, which) => {
                if let Some(Batch { number, .. }) = self.on_its_way(of, which) {
                    self.note(of, EndpointChange::Done { number });
                }
            }
            Step::Split(of, which) => {
                let Some(Batch { number, spans, .. }) = self.on_its_way(of, which) else { return };
                let next = self.state(of).unwrap().next_number;
                let parts = spans.chunks(1).zip(next..);
                let parts = parts.map(|(spans, number)| batch(number, spans.to_vec())).collect();
                self.note(of, EndpointChange::Split { number, parts });
            }
            Step::Pass(of, back) => {
                let through = MessageId(self.next - 1 - back);
                self.note(of, EndpointChange::Passed { through });
            }
            Step::Halt(of, halts) => {
                let why = halts.then(|| format!("at {}", self.next));
                self.note(of, EndpointChange::Halted { why });
            }
            Step::Keep(of, entry) => {
                let kept = letter(entry, AT_MS + self.next, 10);
                self.note(of, EndpointChange::Kept(kept));
            }
            Step::Drop(of, entry) => {
                self.note(of, EndpointChange::Dropped { letters: vec![place(entry)] });
            }
            Step::Remove(of) => self.note(of, EndpointChange::Removed),
            _ => self.write(step),
        }
    }

    fn write(&mut self, step: &Step) {
        let mut changes = Changes::default();
        let ledger = &mut self.ledger;
        match *step {
            Step::WriteEndpoints(max) => drop(ledger.endpoints.flush_some(max, &mut changes)),
            Step::WriteLetters(max) => drop(ledger.letters.flush_some(max, 99_999, &mut changes)),
            Step::Flush => {
                let mut settling = Settling::default();
                settling.want_flush();
                settling.finish(ledger, MessageId(self.next - 1)).unwrap();
            }
            _ => self.crash(),
        }
        changes.apply(&self.ledger.state).unwrap();
    }

    /// Drops the ledger, replays what the state does not show, and compares.
    fn crash(&mut self) {
        let truth = self.seen();
        let empty = tempfile::tempdir().unwrap();
        // Two databases cannot be open in one folder.
        self.ledger = ledger(&empty);
        self.ledger = ledger(&self.folder);
        let Checkpoint { applied, .. } = self.ledger.checkpoint;
        for placed in self.log.iter().filter(|placed| placed.id > applied) {
            self.ledger.replay(placed, 1).unwrap();
        }
        assert_eq!(self.seen(), truth, "{applied} of {} was applied", self.next - 1);
    }

    /// All endpoints and their letters.
    fn seen(&self) -> Vec<(Option<EndpointState>, Vec<Letter>)> {
        let read = |of: &EndpointId, place, letter: Option<Arc<Letter>>| match letter {
            Some(letter) => (*letter).clone(),
            None => self.ledger.state.letter(of, place).unwrap().unwrap(),
        };
        let letters = |of: EndpointId| {
            let (page, more) = self.ledger.letters.page(&of, None, 99);
            assert!(!more);
            page.into_iter().map(|(place, letter)| read(&of, place, letter)).collect()
        };
        (0..NAMES.len()).map(|of| (self.state(of), letters(name(of)))).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Default::default()
    })]

    #[test]
    fn a_replay_arrives_at_how_far_endpoints_had_come_whatever_had_reached_the_state(
        steps in prop::collection::vec(step(), 20..120),
    ) {
        let mut run = Run::new();
        steps.iter().for_each(|step| run.take(step));
        run.crash();
        run.crash();
    }
}

fn begun() -> Endpoints {
    let mut endpoints = Endpoints::default();
    let began = EndpointChange::Began { after: MessageId(10) };
    endpoints.change(&name(0), &began, MessageId(11));
    endpoints
}

#[test]
fn what_makes_no_sense_is_not_taken_for_it() {
    use EndpointChange::{Began, Done, Formed, Halted, Kept, Passed, Removed, Split};
    let mut endpoints = begun();
    let first = batch(1, vec![span(3, 10, 20), span(4, 10, 21)]);
    endpoints.change(&name(0), &Formed(first), MessageId(30));
    let makes_sense = |of: usize, change| endpoints.judge(&name(of), &change, MessageId(50));
    let form = |number, spans| Formed(batch(number, spans));
    let split = |number, parts| Split { number, parts };
    assert!(makes_sense(0, form(2, vec![span(5, 10, 20)])));
    assert!(!makes_sense(1, form(1, vec![span(5, 10, 20)])), "it has not begun");
    assert!(!makes_sense(0, form(1, vec![span(5, 10, 20)])), "a number used before");
    assert!(!makes_sense(0, form(2, vec![])), "nothing in it");
    assert!(!makes_sense(0, form(2, vec![span(64, 10, 20)])), "no such lane");
    assert!(!makes_sense(0, form(2, vec![span(5, 10, 20), span(5, 20, 30)])), "a lane twice");
    assert!(!makes_sense(0, form(2, vec![span(5, 20, 20)])), "nothing of a lane");
    assert!(!makes_sense(0, form(2, vec![span(5, 1, 9)])), "what is done");
    assert!(makes_sense(0, Done { number: 1 }) && !makes_sense(0, Done { number: 2 }));
    let half = |number, lane| batch(number, vec![span(lane, 10, 20)]);
    assert!(makes_sense(0, split(1, vec![half(2, 3), half(3, 4)])));
    assert!(!makes_sense(0, split(2, vec![half(2, 3)])), "not on its way");
    assert!(!makes_sense(0, split(1, vec![half(2, 3), half(2, 4)])), "a number twice");
    assert!(!makes_sense(0, split(1, vec![])), "no parts");
    let through = MessageId;
    assert!(makes_sense(0, Passed { through: through(49) }));
    assert!(!makes_sense(0, Passed { through: through(50) }), "not in the log");
    assert!(!makes_sense(0, Passed { through: through(10) }), "passed before");
    assert!(makes_sense(0, Halted { why: Some("gone".to_owned()) }));
    assert!(!makes_sense(0, Halted { why: None }), "it goes on already");
    assert!(makes_sense(0, Began { after: MessageId(49) }));
    assert!(!makes_sense(0, Began { after: MessageId(50) }), "not in the log");
    assert!(makes_sense(0, Kept(letter(12, AT_MS, 1))) && !makes_sense(1, Removed));
    let lanes: Vec<Span> = (0..64).map(|lane| span(lane, 10, 20)).collect();
    let fits = ENDPOINT_BATCHES_BYTES_MAX / batch(2, lanes.clone()).bytes_max();
    let parts = |count: usize| (0..count as u64).map(|at| batch(2 + at, lanes.clone())).collect();
    assert!(makes_sense(0, split(1, parts(fits - 1))));
    assert!(!makes_sense(0, split(1, parts(fits + 1))), "too much is on its way");
}

#[test]
fn one_endpoint_too_many_does_not_begin() {
    let mut endpoints = Endpoints::default();
    let began = EndpointChange::Began { after: MessageId(10) };
    let of = |index: usize| EndpointId::new(&format!("endpoint-{index}")).unwrap();
    for index in 0..ENDPOINTS_MAX {
        assert!(endpoints.judge(&of(index), &began, MessageId(20)), "{index}");
        endpoints.change(&of(index), &began, MessageId(20));
    }
    assert!(!endpoints.judge(&of(ENDPOINTS_MAX), &began, MessageId(30)));
    assert!(endpoints.judge(&of(0), &began, MessageId(30)), "one that has begun begins anew");
    endpoints.change(&of(0), &EndpointChange::Removed, MessageId(30));
    assert!(endpoints.judge(&of(ENDPOINTS_MAX), &began, MessageId(40)));
}

#[test]
fn what_is_on_its_way_holds_the_log_though_its_lane_is_further() {
    let mut endpoints = begun();
    let take = |endpoints: &mut Endpoints, change| {
        endpoints.change(&name(0), &change, MessageId(90));
        endpoints.known.get_mut(&name(0)).unwrap().applied = MessageId(11);
        endpoints.behind()
    };
    assert_eq!(endpoints.behind(), Some(MessageId(10)));
    assert_eq!(Endpoints::default().behind(), None);
    take(&mut endpoints, EndpointChange::Passed { through: MessageId(40) });
    for (number, from, to) in [(1, 41, 45), (2, 45, 50)] {
        let formed = batch(number, vec![span(0, from, to)]);
        take(&mut endpoints, EndpointChange::Formed(formed));
    }
    let passed = EndpointChange::Passed { through: MessageId(60) };
    assert_eq!(take(&mut endpoints, passed.clone()), Some(MessageId(40)));
    let done = |number| EndpointChange::Done { number };
    assert_eq!(take(&mut endpoints, done(2)), Some(MessageId(40)), "the first is on its way");
    assert_eq!(take(&mut endpoints, done(1)), Some(MessageId(49)));
    assert_eq!(take(&mut endpoints, passed), Some(MessageId(60)));
}

fn kept(letters: &mut Letters, kept: &Letter) -> Vec<Position> {
    let gone = letters.in_the_way(&name(0), kept);
    let dropped = EndpointChange::Dropped { letters: gone.clone() };
    letters.change(&name(0), true, &dropped);
    letters.change(&name(0), true, &EndpointChange::Kept(kept.clone()));
    gone
}

#[test]
fn one_letter_too_many_drops_the_one_given_up_first() {
    let mut letters = Letters::default();
    for entry in 0..LETTERS_MAX as i64 {
        // The last in the log was given up first.
        assert_eq!(kept(&mut letters, &letter(entry, AT_MS - entry, 1)), []);
    }
    let last = LETTERS_MAX as i64 - 1;
    assert_eq!(kept(&mut letters, &letter(7, AT_MS, 1)), [], "it takes its own place");
    assert_eq!(letters.count(&name(0)).0, LETTERS_MAX);
    assert_eq!(kept(&mut letters, &letter(last + 1, AT_MS, 1)), [place(last)]);
    assert_eq!(kept(&mut letters, &letter(last + 2, AT_MS, 1)), [place(last - 1)]);
    assert_eq!(letters.count(&name(0)).0, LETTERS_MAX);
}

#[test]
fn one_byte_of_letters_too_many_drops_the_oldest() {
    let mut letters = Letters::default();
    let mut entry = 0;
    while letters.count(&name(0)).1 + 200_000 < LETTERS_BYTES_MAX {
        entry += 1;
        assert_eq!(kept(&mut letters, &letter(entry, AT_MS + entry, 100_000)), []);
    }
    let none = letter(99_999, AT_MS + 99_999, 0);
    let left = (LETTERS_BYTES_MAX - letters.count(&name(0)).1) as usize - none.bytes();
    assert_eq!(letters.in_the_way(&name(0), &letter(99_999, AT_MS, left)), []);
    assert_eq!(letters.in_the_way(&name(0), &letter(99_999, AT_MS, left + 1)), [place(1)]);
    assert_eq!(letters.memory() as u64, letters.count(&name(0)).1);
    letters.change(&name(0), false, &EndpointChange::Removed);
    assert_eq!((letters.memory(), letters.count(&name(0))), (0, (0, 0)));
}

#[test]
fn a_letter_is_overdue_when_its_time_is_over() {
    let (mut letters, age_ms) = (Letters::default(), LETTERS_AGE.as_millis() as i64);
    kept(&mut letters, &letter(1, 9, 1));
    kept(&mut letters, &letter(2, 5, 1));
    assert_eq!(letters.overdue(4 + age_ms), None);
    assert_eq!(letters.overdue(5 + age_ms), Some((name(0), vec![place(2)])));
    assert_eq!(letters.overdue(9 + age_ms), Some((name(0), vec![place(2), place(1)])));
}

#[test]
fn an_endpoint_whose_row_is_lost_begins_with_the_log_and_not_at_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap().state;
    let mut changes = Changes::default();
    changes.gone(MessageId(7));
    changes.write(b"eshop", b"nothing that can be read".to_vec());
    changes.apply(&state).unwrap();
    let known = state.endpoints().unwrap();
    let shop = &known[&EndpointId::new("shop").unwrap()];
    assert_eq!(behind(&shop.lanes, &shop.batches), MessageId(7));
}
