//! What is counted and measured of webhooks.
//!
//! # Invariants
//!
//! * The only label that is not fixed is an endpoint's id, of which there are few.
//! * An endpoint that is no more is not told of.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::id::EndpointId;

type Of = [(&'static str, String); 1];
type OfOutcome = [(&'static str, String); 2];
type Seconds = Gauge<f64, AtomicU64>;

/// The figures of all endpoints.
#[derive(Debug)]
pub struct WebhookFigures {
    deliveries: Family<OfOutcome, Counter>,
    events: Family<Of, Counter>,
    lag_seconds: Family<Of, Histogram, fn() -> Histogram>,
    oldest_seconds: Family<Of, Seconds>,
    letters: Family<Of, Gauge>,
    in_flight: Family<Of, Gauge>,
    breakers: Family<Of, Gauge>,
    halted: Family<Of, Gauge>,
    gaps: Family<Of, Counter>,
    missed: Family<Of, Counter>,
}

/// The figures of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointFigures {
    /// Requests that were taken, that failed, and that were refused.
    pub deliveries: [Counter; 3],
    /// Events that were delivered.
    pub events: Counter,
    /// From when an event happened to the answer that took it.
    pub lag_seconds: Histogram,
    /// How long ago the oldest event happened that is not delivered; 0 if there is none.
    pub oldest_seconds: Seconds,
    /// Dead letters.
    pub letters: Gauge,
    /// Requests on their way.
    pub in_flight: Gauge,
    /// 1 while the endpoint fails, and one request at a time finds out whether it still does.
    pub breaker: Gauge,
    /// 1 while the endpoint takes nothing.
    pub halted: Gauge,
    /// Parts of the log that were lost before the endpoint was told.
    pub gaps: Counter,
    /// Messages that waited for somebody, which could not be told, for the log has them no more.
    pub missed: Counter,
}

/// What becomes of requests, in the order of [`EndpointFigures::deliveries`].
const OUTCOMES: [&str; 3] = ["ok", "failed", "refused"];

impl WebhookFigures {
    /// Of no endpoint so far.
    pub(super) fn new(registry: &mut Registry) -> Self {
        // 10 ms to 46 hours.
        let lags = || Histogram::new(exponential_buckets(0.01, 2.0, 25));
        let figures = Self {
            deliveries: Family::default(),
            events: Family::default(),
            lag_seconds: Family::new_with_constructor(lags),
            oldest_seconds: Family::default(),
            letters: Family::default(),
            in_flight: Family::default(),
            breakers: Family::default(),
            halted: Family::default(),
            gaps: Family::default(),
            missed: Family::default(),
        };
        figures.register(registry);
        figures
    }

    fn register(&self, r: &mut Registry) {
        let help = "Requests to webhook endpoints, by what became of them";
        r.register("webhook_deliveries", help, self.deliveries.clone());
        let help = "Events that webhook endpoints have taken";
        r.register("webhook_events", help, self.events.clone());
        let help = "How old an event was when a webhook endpoint took it";
        r.register_with_unit("webhook_lag", help, Unit::Seconds, self.lag_seconds.clone());
        let help = "How old the oldest event is that a webhook endpoint has not taken";
        r.register_with_unit("webhook_oldest", help, Unit::Seconds, self.oldest_seconds.clone());
        let help = "Dead letters of webhook endpoints";
        r.register("webhook_letters", help, self.letters.clone());
        let help = "Requests on their way to webhook endpoints";
        r.register("webhook_in_flight", help, self.in_flight.clone());
        let help = "Whether a webhook endpoint fails and is only probed";
        r.register("webhook_breaker_open", help, self.breakers.clone());
        let help = "Whether a webhook endpoint is halted";
        r.register("webhook_halted", help, self.halted.clone());
        let help = "Parts of the log that were lost before a webhook endpoint was told";
        r.register("webhook_gaps", help, self.gaps.clone());
        let help =
            "Messages that waited for a peer and that a webhook endpoint could not be told of";
        r.register("webhook_missed", help, self.missed.clone());
    }

    /// The figures of an endpoint.
    pub fn of(&self, endpoint: &EndpointId) -> EndpointFigures {
        let of = label(endpoint);
        let deliveries = OUTCOMES
            .map(|outcome| self.deliveries.get_or_create_owned(&with_outcome(endpoint, outcome)));
        EndpointFigures {
            deliveries,
            events: self.events.get_or_create_owned(&of),
            lag_seconds: self.lag_seconds.get_or_create_owned(&of),
            oldest_seconds: self.oldest_seconds.get_or_create_owned(&of),
            letters: self.letters.get_or_create_owned(&of),
            in_flight: self.in_flight.get_or_create_owned(&of),
            breaker: self.breakers.get_or_create_owned(&of),
            halted: self.halted.get_or_create_owned(&of),
            gaps: self.gaps.get_or_create_owned(&of),
            missed: self.missed.get_or_create_owned(&of),
        }
    }

    /// Tells of an endpoint no more.
    pub fn forget(&self, endpoint: &EndpointId) {
        let of = label(endpoint);
        for outcome in OUTCOMES {
            self.deliveries.remove(&with_outcome(endpoint, outcome));
        }
        self.events.remove(&of);
        self.lag_seconds.remove(&of);
        self.oldest_seconds.remove(&of);
        for gauges in [&self.letters, &self.in_flight, &self.breakers, &self.halted] {
            gauges.remove(&of);
        }
        self.gaps.remove(&of);
        self.missed.remove(&of);
    }
}

fn label(endpoint: &EndpointId) -> Of {
    [("endpoint", endpoint.to_string())]
}

fn with_outcome(endpoint: &EndpointId, outcome: &str) -> OfOutcome {
    [("endpoint", endpoint.to_string()), ("outcome", outcome.to_owned())]
}
