//! What waits for an endpoint that is told nothing: it is looked up in the log.
//!
//! # Invariants
//!
//! * Nothing is sent, and nothing is kept: only the board is told.
//! * No more is counted than an endpoint that is told may hold in memory.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::dialect::Style;
use super::event::{self, Event, Kind};
use super::health::Board;
use super::source::{Next, Source};
use crate::chain::Chain;
use crate::clock::Clock;
use crate::id::{EndpointId, MessageId};
use crate::limits::{WEBHOOK_EVENTS_MAX, WEBHOOK_PAUSE, WEBHOOK_READ_PAUSE};
use crate::store::{EndpointState, Journal, ReadError};

/// How often it is told how old the oldest event is.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// Looks up what waits for an endpoint.
pub(super) struct Backlog {
    pub(super) id: EndpointId,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Clock,
    /// In which dialect it is told.
    pub(super) style: Style,
}

/// What has been counted.
struct Count {
    waiting: usize,
    oldest_ms: Option<i64>,
    /// Everything up to here has been looked at.
    through: MessageId,
}

impl Backlog {
    /// Tells the board what waits for an endpoint of which no more is known than its dialect,
    /// until this is stopped, or the endpoint is no more.
    pub(super) async fn run(self, stop: CancellationToken) {
        let watch = async {
            while let Err(error) = self.watch_all().await {
                if matches!(error, ReadError::Closed(_)) {
                    return;
                }
                tracing::warn!(endpoint = %self.id, "cannot read for webhooks: {}", Chain(&error));
                sleep(WEBHOOK_PAUSE).await;
            }
        };
        stop.run_until_cancelled(watch).await;
    }

    async fn watch_all(&self) -> Result<(), ReadError> {
        let Some(state) = self.journal.endpoint(self.id.clone()).await? else { return Ok(()) };
        self.board.kept(&state);
        self.watch(&state, |_| true).await
    }

    /// Tells the board what waits for an endpoint that hears of some kinds of events, and goes on
    /// until it is dropped.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the store is closed or the disk cannot be read.
    pub(super) async fn watch(
        &self,
        state: &EndpointState,
        hears: impl Fn(Kind) -> bool,
    ) -> Result<(), ReadError> {
        let finds = hears(Kind::MessageOffline);
        let mut source = Source::new(self.journal.clone(), finds, WEBHOOK_READ_PAUSE);
        let mut count = Count { waiting: 0, oldest_ms: None, through: state.behind() };
        loop {
            while count.waiting < WEBHOOK_EVENTS_MAX
                && let Some(next) = source.next()
            {
                self.add(next, state, &hears, &mut count);
            }
            let waits = (count.waiting, 0);
            self.board.busy(waits, false, count.oldest_ms, self.clock.now_ms());
            tokio::select! {
                fetched = source.fetch(count.through), if count.waiting < WEBHOOK_EVENTS_MAX => {
                    fetched?;
                }
                () = sleep(TELL_INTERVAL) => {}
            }
        }
    }

    fn add(
        &self,
        next: Next,
        state: &EndpointState,
        hears: &impl Fn(Kind) -> bool,
        count: &mut Count,
    ) {
        let (events, through): (Vec<Event>, _) = match next {
            Next::Entry { placed, found, is_last, .. } => {
                (event::events(&placed, &found), is_last.then_some(placed.id))
            }
            Next::Lost { from, through, at_ms } => {
                let at_ms = at_ms.unwrap_or_else(|| self.clock.now_ms());
                (vec![event::gap(from, through, at_ms)], Some(through))
            }
            Next::Passed(through) => (Vec::new(), Some(through)),
        };
        for event in events.iter().filter(|event| hears(event.kind)) {
            for fragment in self.style.fragments(event) {
                if fragment.position > state.lanes[usize::from(fragment.lane)] {
                    count.waiting += 1;
                    count.oldest_ms.get_or_insert(fragment.at_ms);
                }
            }
        }
        count.through = through.unwrap_or(count.through);
    }
}
