//! The store against a model of what one device of one peer finds, over restarts and crashes.

use proptest::prelude::*;
use tidings::id::{MessageId, SessionId};

use super::harness::{MINUTE_MS, Running};

const WINDOW: usize = 5;

/// What Bob's only device finds.
#[derive(Default)]
struct Model {
    /// Each message, and whether it came while he was away.
    inbox: Vec<(MessageId, bool)>,
    session: Option<SessionId>,
    /// His device is known and has not logged out.
    counts: bool,
    cursor: MessageId,
    away_at_ms: i64,
    lost: Vec<MessageId>,
    /// The last sequence of his conversation with Alice.
    sequence: u32,
}

impl Model {
    fn send(&mut self, id: MessageId, now_ms: i64) {
        self.sequence += 1;
        self.inbox.push((id, self.session.is_none() && now_ms >= self.away_at_ms));
        if self.inbox.iter().filter(|message| message.1).count() > WINDOW {
            let oldest = self.inbox.iter().position(|message| message.1).unwrap();
            self.lost.push(self.inbox.remove(oldest).0);
        }
    }

    fn open(&mut self, session: SessionId) {
        (self.session, self.counts) = (Some(session), true);
        self.inbox.iter_mut().for_each(|message| message.1 = false);
        self.release();
    }

    fn ack(&mut self, id: MessageId) {
        self.cursor = self.cursor.max(id);
        self.release();
    }

    /// Without a counted device, the window stays for the first that opens.
    fn release(&mut self) {
        if self.counts {
            self.inbox.retain(|message| message.0 > self.cursor);
        }
        if self.lost.iter().all(|lost| *lost <= self.cursor) {
            self.lost.clear();
        }
    }

    /// Messages that wait for the device.
    fn waiting(&self) -> usize {
        self.inbox.iter().filter(|message| message.0 > self.cursor).count()
    }

    fn end(&mut self, now_ms: i64, closed: bool) {
        if self.session.take().is_some() {
            self.away_at_ms = now_ms + if closed { 0 } else { MINUTE_MS };
            self.counts = !closed;
        }
    }

    fn ids(&self) -> Vec<MessageId> {
        self.inbox.iter().map(|message| message.0).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Open,
    /// So many messages of those that wait.
    Ack(usize),
    End(bool),
    Wait(i64),
    Settle,
    Restart,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8usize).prop_map(Step::Send),
        4 => Just(Step::Open),
        3 => (1..6usize).prop_map(Step::Ack),
        3 => any::<bool>().prop_map(Step::End),
        3 => prop_oneof![Just(MINUTE_MS / 2), Just(MINUTE_MS)].prop_map(Step::Wait),
        2 => Just(Step::Settle),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

fn compare(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut running = Running::with(|options| options.window_messages = WINDOW);
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Send(count) => {
                for sent in running.send_many("alice", "bob", *count) {
                    model.send(sent.id, running.clock().now_ms());
                    prop_assert_eq!(sent.sequence, model.sequence);
                }
            }
            Step::Open => {
                let opened = running.open("bob", "phone");
                let found = (opened.waiting, opened.loss.count, opened.replaced);
                let expected = (model.waiting(), model.lost.len() as u64, model.session);
                prop_assert_eq!(found, expected);
                model.open(opened.session);
            }
            Step::Ack(count) => {
                let waiting = model.ids();
                // A device that logged out has nothing to acknowledge.
                if let Some(id) = waiting.iter().take(*count).next_back().filter(|_| model.counts) {
                    running.ack("bob", "phone", *id);
                    model.ack(*id);
                }
            }
            Step::End(closed) => {
                let session = model.session.unwrap_or_default();
                running.end("bob", "phone", session, *closed);
                model.end(running.clock().now_ms(), *closed);
            }
            Step::Wait(ms) => running.step(*ms),
            Step::Settle => running.settle(),
            Step::Restart | Step::Crash => {
                let is_crash = matches!(step, Step::Crash);
                running = if is_crash { running.crash() } else { running.restart() };
                prop_assert_eq!(&running.store.report().damage, &[""; 0]);
                model.end(running.clock().now_ms(), false);
            }
        }
        prop_assert_eq!(running.waiting_ids("bob"), model.ids(), "after {:?}", step);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8,
        failure_persistence: None,
        max_shrink_iters: 64,
        ..Default::default()
    })]

    #[test]
    fn a_device_finds_what_the_model_says(steps in prop::collection::vec(step(), 10..40)) {
        compare(&steps)?;
    }
}
