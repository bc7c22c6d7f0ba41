//! What the server counts and measures, in the text form of Prometheus.
//!
//! # Invariants
//!
//! * Counting costs an atomic addition; histograms are fed once a commit, not once a message.
//! * Label sets are bounded: no peer, device or address is ever a label.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::reason::Reason;

type Reasons = Family<[(&'static str, &'static str); 1], Counter>;

/// Every figure of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Records made durable.
    pub commits: Counter,
    /// Syncs of the log that returned.
    pub syncs: Counter,
    /// From taking the first entry of a commit to the return of its sync.
    pub commit_seconds: Histogram,
    /// One flush and sync of the log.
    pub sync_seconds: Histogram,
    /// Messages stored.
    pub messages: Counter,
    /// Sends that repeated a stored message.
    pub repeats: Counter,
    /// Persistent messages put to a session.
    pub deliveries: Counter,
    /// Transient messages put to a session.
    pub transients: Counter,
    /// Messages that a window gave up before a device had them.
    pub dropped: Counter,
    /// Sessions open now.
    pub sessions: Gauge,
    /// Connections open now.
    pub connections: Gauge,
    /// Bytes of the log on disk.
    pub log_bytes: Gauge,
    /// Records of the log that could not be read.
    pub damaged_records: Counter,
    /// Bytes of unacknowledged messages held in memory.
    pub tail_bytes: Gauge,
    refused: Reasons,
    ended: Reasons,
}

impl Metrics {
    /// Figures that all begin at zero.
    pub fn new() -> Self {
        // 50 us to 17 s; 25 percent from one bound to the next.
        let seconds = || Histogram::new(exponential_buckets(50e-6, 1.25, 58));
        let mut metrics = Self {
            registry: Registry::with_prefix("tidings"),
            commits: Counter::default(),
            syncs: Counter::default(),
            commit_seconds: seconds(),
            sync_seconds: seconds(),
            messages: Counter::default(),
            repeats: Counter::default(),
            deliveries: Counter::default(),
            transients: Counter::default(),
            dropped: Counter::default(),
            sessions: Gauge::default(),
            connections: Gauge::default(),
            log_bytes: Gauge::default(),
            damaged_records: Counter::default(),
            tail_bytes: Gauge::default(),
            refused: Reasons::default(),
            ended: Reasons::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("commits", "Records made durable", self.commits.clone());
        r.register("syncs", "Syncs of the log that returned", self.syncs.clone());
        let commit = self.commit_seconds.clone();
        r.register_with_unit("commit", "A commit with its sync", Unit::Seconds, commit);
        let sync = self.sync_seconds.clone();
        r.register_with_unit("sync", "A flush and sync of the log", Unit::Seconds, sync);
        r.register("messages", "Messages stored", self.messages.clone());
        r.register("repeats", "Sends that repeated a stored message", self.repeats.clone());
        r.register("deliveries", "Messages put to a session", self.deliveries.clone());
        let transients = self.transients.clone();
        r.register("transients", "Transient messages put to a session", transients);
        r.register("dropped", "Messages that a window gave up", self.dropped.clone());
        r.register("sessions", "Sessions open", self.sessions.clone());
        r.register("connections", "Connections open", self.connections.clone());
        let log_bytes = self.log_bytes.clone();
        r.register_with_unit("log", "The log on disk", Unit::Bytes, log_bytes);
        let damaged = self.damaged_records.clone();
        r.register("damaged_records", "Records that could not be read", damaged);
        let tail = self.tail_bytes.clone();
        r.register_with_unit("tail", "Unacknowledged messages in memory", Unit::Bytes, tail);
        r.register("refused", "Requests refused, by reason", self.refused.clone());
        r.register("ended", "Sessions ended by the server, by reason", self.ended.clone());
    }

    /// Counts a refused request.
    pub fn refuse(&self, reason: Reason) {
        self.refused.get_or_create(&[("reason", reason.text())]).inc();
    }

    /// Counts a session that the server ended.
    pub fn end(&self, reason: Reason) {
        self.ended.get_or_create(&[("reason", reason.text())]).inc();
    }

    /// All figures, in the text form that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
