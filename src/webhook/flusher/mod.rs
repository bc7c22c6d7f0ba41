//! What tells one endpoint: it reads the log, forms batches, sends them, and keeps how far it has
//! come.
//!
//! # Invariants
//!
//! * A batch is kept before its first try, and that it is done after its answer. So whatever is
//!   lost in between is sent again, with the same id and the same bytes.
//! * Nothing else waits for an endpoint: a flusher that cannot go on reads no further.
//! * Wherever it is stopped, the next one goes on from what the journal has kept.

mod answers;
mod reading;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::client::{Answer, Client, Letterhead};
use super::endpoint::Endpoint;
use super::event::Kind;
use super::health::Board;
use super::lanes::Lanes;
use super::request::request_id;
use super::retry::{Spread, Turns};
use super::source::Source;
use crate::chain::Chain;
use crate::clock::Clock;
use crate::id::MessageId;
use crate::limits::{
    WEBHOOK_BACKOFF_MAX, WEBHOOK_PASS_INTERVAL, WEBHOOK_PAUSE, WEBHOOK_READ_PAUSE,
    WEBHOOK_SPLIT_TRIES, WEBHOOK_STOP_MAX,
};
use crate::store::{Closed, EndpointChange, EndpointState, Journal, ReadError};

/// How often it is told how old the oldest event is, while there is one.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Tells one endpoint.
pub(super) struct Flusher {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) client: Client,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    /// When this began, in milliseconds since 1970: until then batches did not grow old.
    pub(super) began_ms: i64,
    pub(super) stop: CancellationToken,
}

impl Flusher {
    /// Tells the endpoint until this is stopped, or the store is closed. While it is halted, only
    /// what waits for it is looked up.
    pub(super) async fn run(self) {
        loop {
            match AssertUnwindSafe(self.tell()).catch_unwind().await {
                Ok(Ok(()) | Err(ReadError::Closed(_))) => return,
                Ok(Err(error)) => {
                    let id = &self.endpoint.id;
                    tracing::warn!(endpoint = %id, "cannot read for webhooks: {}", Chain(&error));
                }
                Err(_) => tracing::error!(endpoint = %self.endpoint.id, "webhooks start anew"),
            }
            let pause = tokio::time::sleep(WEBHOOK_PAUSE);
            if self.stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn tell(&self) -> Result<(), ReadError> {
        let id = &self.endpoint.id;
        while !self.stop.is_cancelled() {
            let Some(state) = self.journal.endpoint(id.clone()).await? else { break };
            self.board.kept(&state);
            if state.halted.is_some() {
                return self.stand_by(&state).await;
            }
            Run::new(self, &state).go().await?;
        }
        Ok(())
    }

    /// Tells nothing, but how much there is to be told, until this is stopped.
    async fn stand_by(&self, state: &EndpointState) -> Result<(), ReadError> {
        let backlog = Backlog {
            id: self.endpoint.id.clone(),
            journal: self.journal.clone(),
            board: self.board.clone(),
            clock: self.clock.clone(),
            style: self.endpoint.style.clone(),
        };
        let watch = backlog.watch(state, |kind| self.endpoint.hears(kind));
        self.stop.run_until_cancelled(watch).await.unwrap_or(Ok(()))
    }
}

/// Something that was waited for has happened.
enum Step {
    /// A batch is kept, and may be tried.
    Formed(u64),
    /// A batch was tried.
    Answered(Box<Tried>),
    /// It is kept that a batch is done.
    Done(u64),
    /// It is kept that a batch was given up.
    GivenUp(u64, Option<Box<EndpointState>>),
    /// It is kept that these go out in the place of another.
    Parted(Vec<u64>),
    /// It is kept that nothing up to here waits.
    Passed(MessageId),
}

struct Tried {
    number: u64,
    /// To which of the endpoint's URLs.
    url: usize,
    request: String,
    bytes: usize,
    answer: Answer,
}

/// From reading how far an endpoint has come, to the end.
struct Run<'a> {
    flusher: &'a Flusher,
    lanes: Lanes,
    turns: Turns,
    spread: Spread,
    source: Source,
    steps: FuturesUnordered<BoxFuture<'a, Result<Step, Closed>>>,
    /// Events refused since something was taken.
    refusals: u32,
    /// When something was taken.
    taken_at: Option<Instant>,
    /// Up to where it is kept that nothing waits.
    passed: MessageId,
    /// More could be kept about that.
    is_further: bool,
    /// When it may be.
    pass_at: Instant,
    /// Why the endpoint is to be halted.
    halt: Option<String>,
}

impl<'a> Run<'a> {
    fn new(flusher: &'a Flusher, state: &EndpointState) -> Self {
        let endpoint = &flusher.endpoint;
        let pause = WEBHOOK_READ_PAUSE.min(endpoint.interval / 4);
        let finds = endpoint.hears(Kind::MessageOffline);
        Self {
            flusher,
            lanes: Lanes::new(state),
            turns: Turns::new(),
            spread: Spread::new(endpoint.urls.len()),
            source: Source::new(flusher.journal.clone(), finds, pause),
            steps: FuturesUnordered::new(),
            refusals: 0,
            taken_at: None,
            passed: state.behind(),
            is_further: false,
            pass_at: Instant::now() + WEBHOOK_PASS_INTERVAL,
            halt: None,
        }
    }

    async fn go(mut self) -> Result<(), ReadError> {
        while self.halt.is_none() {
            let has_more = self.fill();
            self.begin();
            self.tell();
            let wake_at = self.wake_at();
            let (after, may_fetch) = (self.lanes.through(), !has_more && self.lanes.has_room());
            tokio::select! {
                () = self.flusher.stop.cancelled() => break,
                Some(step) = self.steps.next() => self.take(step?),
                fetched = self.source.fetch(after), if may_fetch => fetched?,
                () = tokio::task::yield_now(), if has_more => {}
                () = sleep_until(wake_at) => {}
            }
        }
        self.end().await
    }

    /// Lets what is on its way end, and keeps how far it all has come.
    async fn end(mut self) -> Result<(), ReadError> {
        let until = Instant::now() + WEBHOOK_STOP_MAX;
        while !self.steps.is_empty() {
            tokio::select! {
                Some(step) = self.steps.next() => self.take(step?),
                () = sleep_until(until) => break,
            }
        }
        // Of a batch that the journal may not know yet it cannot be said that nothing waits there.
        let change = if self.steps.is_empty() { self.further() } else { None };
        self.steps.clear();
        self.tell();
        if let Some(change) = change {
            self.flusher.note(change).await?;
        }
        let Some(why) = self.halt else { return Ok(()) };
        tracing::warn!(endpoint = %self.flusher.endpoint.id, "the endpoint is halted: {why}");
        self.flusher.note(EndpointChange::Halted { why: Some(why) }).await?;
        self.flusher.show_kept().await
    }

    /// Forms what batches are due, and begins what tries are due.
    fn begin(&mut self) {
        let now = Instant::now();
        let (endpoint, now_ms) = (&self.flusher.endpoint, self.flusher.clock.now_ms());
        while self.may_form() {
            let Some(batch) = self.lanes.form(now, endpoint.interval, now_ms) else { break };
            let number = batch.number;
            let kept = self.flusher.note(EndpointChange::Formed(batch));
            self.steps.push(Box::pin(async move { kept.await.map(|()| Step::Formed(number)) }));
        }
        while self.turns.trying() < endpoint.in_flight {
            let next = self.turns.take(now, |number| self.lanes.may_try(number));
            let Some(number) = next else { break };
            self.try_batch(number, now);
        }
        if now >= self.pass_at
            && let Some(change) = self.further()
        {
            self.pass_at = now + WEBHOOK_PASS_INTERVAL;
            let EndpointChange::Passed { through } = change else { return };
            let kept = self.flusher.note(change);
            self.steps.push(Box::pin(async move { kept.await.map(|()| Step::Passed(through)) }));
        }
    }

    /// While an endpoint fails nothing is formed that would only wait: what waits in the lanes
    /// makes better batches, and does not grow old. Single events that fail time and again do not
    /// count, nor what is behind them: only others can tell whether it is the endpoint that fails.
    fn may_form(&self) -> bool {
        let flights = self.lanes.flights().filter(|number| !self.waits(*number)).count();
        flights < self.flusher.endpoint.in_flight && (flights == 0 || !self.turns.is_open())
    }

    fn waits(&self, number: u64) -> bool {
        let is_stuck = self.turns.tries(number) >= WEBHOOK_SPLIT_TRIES
            && self.lanes.fragments(number).len() == 1;
        is_stuck || self.lanes.is_behind(number)
    }

    /// That nothing waits up to where nothing does, if it is not kept yet.
    fn further(&mut self) -> Option<EndpointChange> {
        let through = self.lanes.passable();
        if !self.is_further || through <= self.passed {
            return None;
        }
        (self.is_further, self.passed) = (false, through);
        Some(EndpointChange::Passed { through })
    }

    fn try_batch(&mut self, number: u64, now: Instant) {
        let flusher = self.flusher;
        let endpoint = &flusher.endpoint;
        if self.lanes.is_torn(number) && self.split(number) {
            return;
        }
        let Some(batch) = self.lanes.batch(number) else { return };
        let request = request_id(endpoint, batch);
        let outgoing = endpoint.style.body(self.lanes.fragments(number));
        let (url, bytes) = (self.spread.pick(now), outgoing.body.len());
        let to = Letterhead::new(endpoint, url, request.clone());
        self.steps.push(Box::pin(async move {
            let answer = flusher.client.post(&to, outgoing).await;
            Ok(Step::Answered(Box::new(Tried { number, url, request, bytes, answer })))
        }));
    }

    /// When to look again, if nothing happens.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let endpoint = &self.flusher.endpoint;
        let due = self.lanes.due_at(endpoint.interval).filter(|_| self.may_form());
        let turn = self.turns.wake_at(|number| self.lanes.may_try(number));
        let turn = turn.filter(|_| self.turns.trying() < endpoint.in_flight);
        let is_further = self.is_further && self.lanes.passable() > self.passed;
        let pass = is_further.then_some(self.pass_at);
        let idle = if self.lanes.held() > 0 { TELL_INTERVAL } else { WEBHOOK_BACKOFF_MAX };
        let soonest = [due, turn, pass].into_iter().flatten().min();
        soonest.unwrap_or(now + idle).clamp(now + Duration::from_millis(1), now + idle)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Formed(number) => self.turns.add(number, Instant::now()),
            Step::Answered(tried) => self.answered(&tried),
            Step::Done(number) => self.ended(number),
            Step::GivenUp(number, state) => {
                self.ended(number);
                if let Some(state) = state {
                    self.flusher.board.kept(&state);
                }
            }
            Step::Parted(parts) => {
                parts.into_iter().for_each(|number| self.turns.add(number, Instant::now()));
            }
            Step::Passed(through) => self.lanes.pass(through),
        }
    }

    fn ended(&mut self, number: u64) {
        self.lanes.done(number, Instant::now());
        self.is_further = true;
        if self.lanes.turn().is_some() {
            self.source.rewind();
        }
    }

    fn tell(&self) {
        let (held, trying) = (self.lanes.held(), self.turns.trying());
        let oldest_ms = self.lanes.oldest_ms();
        let (is_open, now_ms) = (self.turns.is_open(), self.flusher.clock.now_ms());
        self.flusher.board.busy((held, trying), is_open, oldest_ms, now_ms);
    }
}

impl Flusher {
    fn note(&self, change: EndpointChange) -> BoxFuture<'_, Result<(), Closed>> {
        self.journal.note(self.endpoint.id.clone(), change)
    }

    async fn show_kept(&self) -> Result<(), ReadError> {
        if let Some(state) = self.journal.endpoint(self.endpoint.id.clone()).await? {
            self.board.kept(&state);
        }
        Ok(())
    }
}
