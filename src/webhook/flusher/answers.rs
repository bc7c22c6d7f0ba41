//! What an answer makes of a batch: it is done, tried again, split, or given up.
//!
//! # Invariants
//!
//! * A batch is done only when its events were taken, or are dead letters.
//! * Only a batch of one event is given up for being refused, so the others are tried without it.
//! * A message to the back end is settled before the batch that had it is done.

use tokio::time::Instant;

use super::{Run, Step, Tried};
use crate::id::MessageId;
use crate::limits::{
    WEBHOOK_AGE_MAX, WEBHOOK_ALONE_TRIES, WEBHOOK_BACKOFF_MAX, WEBHOOK_REFUSALS_MAX,
    WEBHOOK_SPLIT_TRIES, WEBHOOK_SPLIT_TRIES_AWAY,
};
use crate::store::{Batch, EndpointChange};
use crate::webhook::attempts::{Attempt, Outcome};
use crate::webhook::client::{Answer, Reach};
use crate::webhook::dialect::Fragment;
use crate::webhook::giving_up::{Given, give_up};
use crate::webhook::retry::Verdict;

/// What a failure may be for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Blame {
    /// The endpoint has looked at the batch and stumbled.
    Batch,
    /// The batch, or the endpoint, which may be down behind its proxy.
    Anything,
    /// The endpoint is not there, or wants to be left alone.
    Endpoint,
}

fn blame(answer: &Answer) -> Blame {
    match (answer.reach, answer.status) {
        (Reach::Late, _) | (_, 500) => Blame::Batch,
        (Reach::Cut, _) | (_, 501..) => Blame::Anything,
        _ => Blame::Endpoint,
    }
}

impl Run<'_> {
    pub(super) fn answered(&mut self, tried: &Tried) {
        let Tried { number, url, ref answer, .. } = *tried;
        let (now, dice) = (Instant::now(), fastrand::f64());
        self.record(tried);
        match answer.verdict {
            Verdict::Failed => {
                self.spread.failed(url, now, dice);
                self.turns.failed(number, now, dice, answer.retry_after);
            }
            _ => {
                self.spread.answered(url);
                self.turns.answered(number, now);
            }
        }
        match answer.verdict {
            Verdict::Delivered => {
                (self.refusals, self.taken_at) = (0, Some(now));
                self.turns.remove(number);
                let fragments = self.lanes.fragments(number);
                self.flusher.board.delivered(fragments, self.flusher.clock.now_ms());
                let upstream = fragments.iter().filter_map(|fragment| fragment.upstream).collect();
                self.done(number, upstream);
            }
            Verdict::Gone => self.halt = Some("it answered 410 Gone".into()),
            Verdict::Refused if self.split(number) => {}
            Verdict::Refused => {
                self.refusals += 1;
                if self.refusals >= WEBHOOK_REFUSALS_MAX {
                    let said = format!("it has refused {} events in a row", self.refusals);
                    self.halt = Some(said);
                }
                self.give_up(tried);
            }
            Verdict::Failed if self.is_old(number) => self.give_up(tried),
            Verdict::Failed if self.is_culprit(tried) => self.give_up(tried),
            Verdict::Failed if self.is_stuck(tried) && self.split(number) => {}
            Verdict::Failed => {}
        }
    }

    fn record(&self, tried: &Tried) {
        let Tried { number, url, request, bytes, answer } = tried;
        let outcome = match answer.verdict {
            Verdict::Delivered => Outcome::Ok,
            Verdict::Failed => Outcome::Failed,
            Verdict::Gone | Verdict::Refused => Outcome::Refused,
        };
        let attempt = Attempt {
            at_ms: answer.at_ms,
            took: answer.took,
            request: request.clone(),
            url: self.flusher.endpoint.shown[*url].clone(),
            events: self.lanes.fragments(*number).len(),
            bytes: *bytes,
            number: self.turns.tries(*number),
            status: answer.status,
            outcome,
            said: answer.said.clone(),
        };
        let id = &self.flusher.endpoint.id;
        if outcome != Outcome::Ok {
            let (status, request) = (answer.status, request.as_str());
            tracing::debug!(endpoint = %id, request, status, "a webhook was not taken");
        }
        self.flusher.board.tried(attempt);
    }

    /// Whether a batch has been tried for as long as batches are.
    fn is_old(&self, number: u64) -> bool {
        let formed_ms = self.lanes.batch(number).map_or(0, |batch| batch.formed_ms);
        let age_ms = self.flusher.clock.now_ms() - formed_ms.max(self.flusher.began_ms);
        age_ms > WEBHOOK_AGE_MAX.as_millis() as i64
    }

    /// Whether a batch fails time and again and may be the reason: an endpoint that is down
    /// answers otherwise than by 500, is not late, or takes no others.
    fn is_stuck(&self, tried: &Tried) -> bool {
        let tries = self.turns.tries(tried.number);
        let takes = self.taken_at.is_some_and(|at| at.elapsed() < WEBHOOK_BACKOFF_MAX);
        match blame(&tried.answer) {
            Blame::Batch => tries >= WEBHOOK_SPLIT_TRIES,
            Blame::Anything if takes => tries >= WEBHOOK_SPLIT_TRIES,
            Blame::Anything => tries >= WEBHOOK_SPLIT_TRIES_AWAY,
            Blame::Endpoint => false,
        }
    }

    /// Whether a batch of one event fails time and again, and others have been taken since it
    /// failed first: then it is the event.
    fn is_culprit(&self, tried: &Tried) -> bool {
        let number = tried.number;
        let since = self.turns.failed_at(number).zip(self.taken_at);
        self.lanes.fragments(number).len() == 1
            && blame(&tried.answer) != Blame::Endpoint
            && self.turns.tries(number) >= WEBHOOK_ALONE_TRIES
            && since.is_some_and(|(failed_at, taken_at)| taken_at > failed_at)
    }

    pub(super) fn split(&mut self, number: u64) -> bool {
        let parts = self.lanes.split(number);
        let is_split = parts.is_some();
        if let Some(parts) = parts {
            self.part(number, parts);
        }
        is_split
    }

    pub(super) fn part(&mut self, number: u64, parts: Vec<Batch>) {
        self.turns.remove(number);
        let numbers = parts.iter().map(|part| part.number).collect();
        let kept = self.flusher.note(EndpointChange::Split { number, parts });
        self.steps.push(Box::pin(async move { kept.await.map(|()| Step::Parted(numbers)) }));
    }

    /// Keeps that a batch is done, after telling of the messages to the back end that it had.
    pub(super) fn done(&mut self, number: u64, upstream: Vec<MessageId>) {
        let flusher = self.flusher;
        self.steps.push(Box::pin(async move {
            for id in upstream {
                flusher.journal.settle_upstream(id, true).await?;
            }
            flusher.note(EndpointChange::Done { number }).await?;
            Ok(Step::Done(number))
        }));
    }

    /// Keeps what a batch has as dead letters, and that it is done.
    fn give_up(&mut self, tried: &Tried) {
        let (flusher, number) = (self.flusher, tried.number);
        let given = Given {
            at_ms: flusher.clock.now_ms(),
            status: tried.answer.status,
            why: tried.answer.said.clone(),
            tries: self.turns.tries(number),
            request: tried.request.clone(),
        };
        self.turns.remove(number);
        let fragments: Vec<Fragment> = self.lanes.fragments(number).to_vec();
        self.steps.push(Box::pin(async move {
            give_up(&flusher.journal, &flusher.endpoint, fragments, given).await?;
            flusher.note(EndpointChange::Done { number }).await?;
            let state = flusher.journal.endpoint(flusher.endpoint.id.clone()).await;
            Ok(Step::GivenUp(number, state.ok().flatten().map(Box::new)))
        }));
    }
}
