//! What the server counts and measures, in the text forms of Prometheus.
//!
//! # Invariants
//!
//! * Counting costs an atomic addition; histograms are fed once a commit or a request, not once a
//!   message.
//! * Label sets are bounded: no peer, device, path or address is ever a label.

mod webhooks;

use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::reason::Reason;

pub use webhooks::{EndpointFigures, WebhookFigures};

/// The content type of [`Metrics::text`].
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of [`Metrics::classic`].
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

type Label = (&'static str, &'static str);
type Counters<const LABELS: usize> = Family<[Label; LABELS], Counter>;
type Requests = Family<[(&'static str, String); 3], Counter>;
type Routes = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

/// Why an inbox gave a message up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drop {
    /// Newer ones took its place in the window of a peer that is away.
    Window,
    /// It had waited for as long as messages are kept.
    Age,
    /// The inbox of a peer that is not away was full.
    Full,
}

impl Drop {
    const ALL: [Self; 3] = [Self::Window, Self::Age, Self::Full];

    fn label(self) -> [Label; 1] {
        let why = match self {
            Self::Window => "window",
            Self::Age => "age",
            Self::Full => "full",
        };
        [("reason", why)]
    }
}

/// What came of asking the app's back end about a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// It is sent as it is.
    Allowed,
    /// It is sent with another body.
    Replaced,
    /// The back end refuses it.
    Refused,
    /// There was no answer in time.
    Timeout,
    /// There was no answer that means anything.
    Error,
    /// Too many questions were on their way.
    Overload,
}

impl Asked {
    const ALL: [Self; 6] =
        [Self::Allowed, Self::Replaced, Self::Refused, Self::Timeout, Self::Error, Self::Overload];

    fn label(self) -> [Label; 1] {
        let result = match self {
            Self::Allowed => "allowed",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Error => "error",
            Self::Overload => "overload",
        };
        [("result", result)]
    }
}

/// Every figure of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The figures of webhook endpoints.
    pub webhooks: WebhookFigures,
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
    /// Messages that wait in inboxes, each counted for each of its recipients.
    pub inbox_messages: Gauge,
    /// Groups there are.
    pub groups: Gauge,
    /// Devices that have an alias.
    pub aliases: Gauge,
    /// Peers that are blocked.
    pub blocked: Gauge,
    /// Messages that wait for the app's back end.
    pub upstream_waiting: Gauge,
    /// Messages taken over HTTP.
    pub api_sends: Counter,
    /// Requests over HTTP without a valid key.
    pub api_auth_failures: Counter,
    /// HTTP connections open now.
    pub http_connections: Gauge,
    http_requests: Requests,
    http_request_seconds: Routes,
    asked: Counters<1>,
    asked_seconds: Histogram,
    drops: Counters<1>,
    letter_drops: Counters<1>,
    refused: Counters<1>,
    ended: Counters<1>,
    resident_bytes: Gauge,
}

impl Metrics {
    /// Figures that all begin at zero.
    pub fn new() -> Self {
        // 50 us to 17 s; 25 percent from one bound to the next.
        let seconds = || Histogram::new(exponential_buckets(50e-6, 1.25, 58));
        // 0.5 ms to 16 s; there is one for each route.
        let request_seconds = || Histogram::new(exponential_buckets(0.5e-3, 2.0, 16));
        let mut registry = Registry::with_prefix("tidings");
        let mut metrics = Self {
            webhooks: WebhookFigures::new(&mut registry),
            registry,
            commits: Counter::default(),
            syncs: Counter::default(),
            commit_seconds: seconds(),
            sync_seconds: seconds(),
            messages: Counter::default(),
            repeats: Counter::default(),
            deliveries: Counter::default(),
            transients: Counter::default(),
            sessions: Gauge::default(),
            connections: Gauge::default(),
            log_bytes: Gauge::default(),
            damaged_records: Counter::default(),
            tail_bytes: Gauge::default(),
            inbox_messages: Gauge::default(),
            groups: Gauge::default(),
            aliases: Gauge::default(),
            blocked: Gauge::default(),
            upstream_waiting: Gauge::default(),
            api_sends: Counter::default(),
            api_auth_failures: Counter::default(),
            http_connections: Gauge::default(),
            http_requests: Requests::default(),
            http_request_seconds: Routes::new_with_constructor(request_seconds),
            asked: Counters::default(),
            asked_seconds: seconds(),
            drops: Counters::default(),
            letter_drops: Counters::default(),
            refused: Counters::default(),
            ended: Counters::default(),
            resident_bytes: Gauge::default(),
        };
        for why in Drop::ALL {
            metrics.give_up(why, 0);
        }
        for why in [Drop::Age, Drop::Full] {
            metrics.drop_letters(why, 0);
        }
        for result in Asked::ALL {
            metrics.asked.get_or_create(&result.label()).inc_by(0);
        }
        metrics.register_store();
        metrics.register_sessions();
        metrics.register_http();
        metrics.register_process();
        metrics
    }

    fn register_store(&mut self) {
        let r = &mut self.registry;
        let commits = self.commits.clone();
        r.register("commits", "Records of the log that were made durable", commits);
        r.register("syncs", "Syncs of the log that have returned", self.syncs.clone());
        let commit = self.commit_seconds.clone();
        let help = "How long a commit took, with its sync";
        r.register_with_unit("commit", help, Unit::Seconds, commit);
        let sync = self.sync_seconds.clone();
        let help = "How long a flush and sync of the log took";
        r.register_with_unit("sync", help, Unit::Seconds, sync);
        r.register("messages", "Messages that were stored", self.messages.clone());
        let repeats = self.repeats.clone();
        r.register("repeats", "Sends that repeated a stored message", repeats);
        let help = "Messages that an inbox gave up before a device had them, by reason";
        r.register("drops", help, self.drops.clone());
        let help = "Dead letters that were dropped though nobody asked for it, by reason";
        r.register("webhook_letter_drops", help, self.letter_drops.clone());
        let help = "Bytes of the log on disk";
        r.register_with_unit("log", help, Unit::Bytes, self.log_bytes.clone());
        let damaged = self.damaged_records.clone();
        r.register("damaged_records", "Records of the log that could not be read", damaged);
        let help = "Bytes of unacknowledged messages held in memory";
        r.register_with_unit("tail", help, Unit::Bytes, self.tail_bytes.clone());
        let help = "Messages that wait in inboxes, counted for each recipient";
        r.register("inbox_messages", help, self.inbox_messages.clone());
        r.register("groups", "Groups that there are", self.groups.clone());
        r.register("aliases", "Devices that have an alias", self.aliases.clone());
        r.register("blocked", "Peers that are blocked", self.blocked.clone());
        let waiting = self.upstream_waiting.clone();
        r.register("upstream_waiting", "Messages that wait for the app's back end", waiting);
    }

    fn register_sessions(&mut self) {
        let r = &mut self.registry;
        let deliveries = self.deliveries.clone();
        r.register("deliveries", "Persistent messages that were put to a session", deliveries);
        let transients = self.transients.clone();
        r.register("transients", "Transient messages that were put to a session", transients);
        r.register("sessions", "Sessions that are open", self.sessions.clone());
        r.register("connections", "QUIC connections that are open", self.connections.clone());
        r.register("refused", "Requests that were refused, by reason", self.refused.clone());
        let help = "Sessions that the server has ended, by reason";
        r.register("ended", help, self.ended.clone());
        let help = "Messages about which the app's back end was asked, by what came of it";
        r.register("presend", help, self.asked.clone());
        let help = "How long it took to hear what becomes of a message";
        r.register_with_unit("presend", help, Unit::Seconds, self.asked_seconds.clone());
    }

    fn register_http(&mut self) {
        let r = &mut self.registry;
        r.register("api_sends", "Messages that were taken over HTTP", self.api_sends.clone());
        let failures = self.api_auth_failures.clone();
        r.register("api_auth_failures", "HTTP requests that had no valid key", failures);
        let connections = self.http_connections.clone();
        r.register("http_connections", "HTTP connections that are open", connections);
        let help = "HTTP requests that were answered, by route, method and class of status";
        r.register("http_requests", help, self.http_requests.clone());
        let help = "How long an HTTP request took to the headers of its answer, by route";
        r.register_with_unit(
            "http_request",
            help,
            Unit::Seconds,
            self.http_request_seconds.clone(),
        );
    }

    fn register_process(&mut self) {
        let r = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "What is running", build);
        let started = Gauge::<f64, AtomicU64>::default();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        started.set(since.as_secs_f64());
        let help = "When the server was started, since 1970 UTC";
        r.register_with_unit("start_time", help, Unit::Seconds, started);
        let help = "Resident memory of the process";
        r.register_with_unit("resident_memory", help, Unit::Bytes, self.resident_bytes.clone());
    }

    /// Counts a refused request.
    pub fn refuse(&self, reason: Reason) {
        self.refused.get_or_create(&[("reason", reason.text())]).inc();
    }

    /// Counts a session that the server ended.
    pub fn end(&self, reason: Reason) {
        self.ended.get_or_create(&[("reason", reason.text())]).inc();
    }

    /// Counts a message about which the app's back end was asked.
    pub fn asked(&self, result: Asked, took: Duration) {
        self.asked.get_or_create(&result.label()).inc();
        self.asked_seconds.observe(took.as_secs_f64());
    }

    /// Counts messages that an inbox gave up.
    pub fn give_up(&self, why: Drop, count: u64) {
        self.drops.get_or_create(&why.label()).inc_by(count);
    }

    /// Counts dead letters that were dropped for their age, or for their number or bytes.
    pub fn drop_letters(&self, why: Drop, count: u64) {
        self.letter_drops.get_or_create(&why.label()).inc_by(count);
    }

    /// Messages that an inbox gave up before a device had them, for whatever reason.
    pub fn dropped(&self) -> u64 {
        Drop::ALL.iter().map(|why| self.drops.get_or_create(&why.label()).get()).sum()
    }

    /// Counts an answered HTTP request. `route` is the pattern of its path.
    pub fn http_request(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let class = format!("{}xx", status / 100);
        let route = route.to_owned();
        let labels = [("route", route.clone()), ("method", method.into()), ("status", class)];
        self.http_requests.get_or_create(&labels).inc();
        let seconds = self.http_request_seconds.get_or_create(&[("route", route)]);
        seconds.observe(took.as_secs_f64());
    }

    /// All figures, as OpenMetrics.
    pub fn text(&self) -> String {
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// All figures, in the text form 0.0.4 that Prometheus has always read.
    pub fn classic(&self) -> String {
        classic(&self.text())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Resident memory of this process, where the system tells it.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Turns OpenMetrics into the text form 0.0.4: there a counter is called by the name of its
/// samples, what is told once is a gauge, and units and the end are not told.
fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        let comment = line.strip_prefix("# ").and_then(|rest| rest.split_once(' '));
        match comment {
            Some(("HELP", rest)) => help = rest.split_once(' '),
            Some(("TYPE", rest)) => {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                    out.push_str(&format!("# HELP {name}{suffix} {help}\n"));
                }
                out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            Some(_) => {}
            None if line == "# EOF" => {}
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_form_calls_a_counter_by_its_samples_and_tells_no_units() {
        let open = "# HELP a_b Help: of # it.\n# TYPE a_b counter\na_b_total{x=\"# \\\" y\"} 1\n\
                    # HELP t_seconds T.\n# TYPE t_seconds histogram\n# UNIT t_seconds seconds\n\
                    t_seconds_sum 0.5\nt_seconds_bucket{le=\"+Inf\"} 1\n\
                    # HELP build What.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_b_total Help: of # it.\n# TYPE a_b_total counter\n\
                        a_b_total{x=\"# \\\" y\"} 1\n\
                        # HELP t_seconds T.\n# TYPE t_seconds histogram\nt_seconds_sum 0.5\n\
                        t_seconds_bucket{le=\"+Inf\"} 1\n# HELP build_info What.\n\
                        # TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(classic(open), expected);
    }

    #[test]
    fn what_is_counted_is_told_with_its_labels() {
        let metrics = Metrics::new();
        metrics.give_up(Drop::Window, 3);
        metrics.give_up(Drop::Age, 1);
        metrics.http_request("/v1/keys/{name}", "GET", 404, Duration::from_millis(3));
        assert_eq!(metrics.dropped(), 4);
        let text = metrics.classic();
        for line in [
            "tidings_drops_total{reason=\"window\"} 3",
            "tidings_drops_total{reason=\"age\"} 1",
            "tidings_http_requests_total{route=\"/v1/keys/{name}\",method=\"GET\",\
             status=\"4xx\"} 1",
            "tidings_http_request_seconds_count{route=\"/v1/keys/{name}\"} 1",
            concat!("tidings_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "# TYPE tidings_start_time_seconds gauge",
        ] {
            assert!(text.lines().any(|had| had == line), "no {line} in\n{text}");
        }
    }
}
