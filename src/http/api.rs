//! What all routes share.
//!
//! # Invariants
//!
//! * There is no hub before the log has been replayed, and none for new requests during a drain.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::failures::Failures;
use super::keys::Keys;
use super::problem::{Kind, Outcome, Problem};
use crate::clock::Clock;
use crate::hub::Hub;
use crate::limits::HTTP_EXPORTS_MAX;
use crate::metrics::Metrics;
use crate::webhook::Webhooks;

/// How long a caller should wait that came while the server starts or stops.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// How far the server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// The log is being replayed.
    Replaying,
    /// Requests are served.
    Ready,
    /// What was accepted is finished; nothing new is taken.
    Draining,
}

/// What all routes share.
pub(super) struct Api {
    hub: OnceLock<Arc<Hub>>,
    webhooks: OnceLock<Webhooks>,
    is_draining: AtomicBool,
    /// The keys of the back ends.
    pub(super) keys: Keys,
    /// Who has presented no valid key.
    pub(super) failures: Failures,
    /// The server's figures.
    pub(super) metrics: Arc<Metrics>,
    /// The time of day.
    pub(super) clock: Clock,
    /// When the server was started.
    pub(super) started: Instant,
    /// The OpenAPI document, once all routes are known.
    pub(super) document: OnceLock<Bytes>,
    /// Places for exports of history.
    pub(super) exports: Arc<Semaphore>,
}

impl Api {
    /// Without a hub yet.
    pub(super) fn new(keys: Keys, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let started = Instant::now();
        Self {
            hub: OnceLock::new(),
            webhooks: OnceLock::new(),
            is_draining: AtomicBool::new(false),
            keys,
            failures: Failures::new(started),
            metrics,
            clock,
            started,
            document: OnceLock::new(),
            exports: Arc::new(Semaphore::new(HTTP_EXPORTS_MAX)),
        }
    }

    /// Begins to serve.
    pub(super) fn serve(&self, hub: Arc<Hub>, webhooks: Webhooks) {
        let _ = self.webhooks.set(webhooks);
        // A second hub would be a second server.
        let _ = self.hub.set(hub);
    }

    /// Takes nothing new any more.
    pub(super) fn quiesce(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// How far the server is.
    pub(super) fn phase(&self) -> Phase {
        if self.is_draining.load(Ordering::Relaxed) {
            Phase::Draining
        } else if self.hub.get().is_some() {
            Phase::Ready
        } else {
            Phase::Replaying
        }
    }

    /// The webhooks, for a new request.
    ///
    /// # Errors
    ///
    /// As of [`Self::hub`].
    pub(super) fn webhooks(&self) -> Outcome<Webhooks> {
        self.hub()?;
        let starting = || Problem::new(Kind::Starting, "the log is being replayed");
        self.webhooks.get().cloned().ok_or_else(starting)
    }

    /// The hub, for a new request.
    ///
    /// # Errors
    ///
    /// The problem that the caller is told: the server is starting, or going down.
    pub(super) fn hub(&self) -> Outcome<Arc<Hub>> {
        let later = |kind, detail: &'static str| {
            Err(Problem::new(kind, detail).retry_after(COME_BACK_AFTER))
        };
        match (self.phase(), self.hub.get()) {
            (Phase::Draining, _) => later(Kind::Stopping, "nothing new is taken"),
            (_, Some(hub)) => Ok(hub.clone()),
            (_, None) => later(Kind::Starting, "the log is being replayed"),
        }
    }
}
