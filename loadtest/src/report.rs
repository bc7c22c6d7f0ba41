//! The result of a run: its JSON, its table, and whether it kept the promise.
//!
//! # Invariants
//!
//! * A figure that was not measured is `null`, never 0.
//! * `sent`, `acked` and `delivered` count the messages that should have been sent within the
//!   measured time; `lost`, `duplicated` and `out_of_order` count those of the whole run.

mod rounds;

use std::fmt::Write;

use serde::Serialize;

pub(crate) use self::rounds::{Rounds, median};
use crate::badnet::BadNetwork;
use crate::counters::{self, Compared};
use crate::history::Found;
use crate::hostile::Attacks;
use crate::overload::Overloaded;
use crate::record::Times;
use crate::restart::{Restarted, Windows};
use crate::server::Served;
use crate::soak::Soaked;
use crate::webhook::Webhooks;

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Millis {
    pub(crate) p50: f64,
    p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Millis {
    /// The quantiles of a histogram; `None` when it is empty.
    pub(crate) fn of(times: &Times) -> Option<Self> {
        Some(Self {
            p50: times.quantile_ms(0.5)?,
            p90: times.quantile_ms(0.9)?,
            p99: times.quantile_ms(0.99)?,
            p999: times.quantile_ms(0.999)?,
            max: times.quantile_ms(1.0)?,
        })
    }
}

/// A point of a curve of times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Point {
    /// The part of all times that are below it.
    pub(crate) part: f64,
    pub(crate) ms: f64,
}

impl Point {
    /// The curve of a histogram, four points to each nine; empty when the histogram is.
    pub(crate) fn curve(times: &Times) -> Vec<Self> {
        let parts = (0..=16).map(|quarter| 1.0 - 10f64.powf(-f64::from(quarter) / 4.0));
        let point = |part| Some(Self { part, ms: times.quantile_ms(part)? });
        parts.filter_map(point).collect()
    }
}

/// Times in milliseconds, briefly; those of syncs are as exact as the server's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Brief {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Brief {
    /// The quantiles of a histogram; `None` when it is empty.
    pub(crate) fn of(times: &Times) -> Option<Self> {
        Some(Self {
            p50: times.quantile_ms(0.5)?,
            p99: times.quantile_ms(0.99)?,
            max: times.quantile_ms(1.0)?,
        })
    }
}

/// What a load beside the main one proves.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Beside {
    pub(crate) rate: u32,
    pub(crate) sessions: u32,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) out_of_order: u64,
    pub(crate) misdelivered: u64,
    pub(crate) unanswered: u64,
    pub(crate) broken_sessions: u64,
    pub(crate) messages_per_second: f64,
    /// Deliveries that came within the measured time.
    #[serde(skip)]
    pub(crate) deliveries_within: u64,
    pub(crate) latency_ms: Option<Millis>,
    pub(crate) ack_ms: Option<Millis>,
    pub(crate) troubles: Vec<String>,
}

impl Beside {
    fn wrong(&self) -> u64 {
        self.lost
            + self.duplicated
            + self.out_of_order
            + self.misdelivered
            + self.unanswered
            + self.broken_sessions
    }

    fn proof(&self) -> String {
        format!(
            "{} sent, {} delivered, {} lost, {} duplicated, {} out of order, {} otherwise wrong",
            self.sent,
            self.delivered,
            self.lost,
            self.duplicated,
            self.out_of_order,
            self.misdelivered + self.unanswered + self.broken_sessions,
        )
    }
}

/// The result of one run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: String,
    /// What was measured.
    pub(crate) server: Served,
    pub(crate) sessions: u32,
    pub(crate) payload: usize,
    pub(crate) seconds: f64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) duplicated_on_wire: u64,
    pub(crate) out_of_order: u64,
    pub(crate) dropped: u64,
    pub(crate) messages_per_second: f64,
    /// Messages handed to apps, or notices to watchers.
    pub(crate) deliveries_per_second: Option<f64>,
    pub(crate) latency_ms: Option<Millis>,
    /// The latency by quantile.
    pub(crate) latency_curve: Vec<Point>,
    /// Messages handed to apps in each second of the measured time.
    pub(crate) delivered_each_second: Vec<u64>,
    pub(crate) ack_ms: Option<Millis>,
    /// From each change of a socket until what was under way then has got through.
    pub(crate) gap_ms: Option<Brief>,
    /// Sessions that ended by themselves, so that a client would have had to open them again.
    pub(crate) reopened: Option<u64>,
    /// Notices that a watched peer has gone off line.
    pub(crate) offline_notices: Option<u64>,
    pub(crate) server_cpu_us_per_message: Option<f64>,
    pub(crate) log_cpu_us_per_message: Option<f64>,
    /// What is handed to UDP on this machine, both ways, for each message, or delivery where it has
    /// several. Packets that are handed over together count once.
    pub(crate) packets_each: Option<f64>,
    /// Of a hundred packets, those for which a socket had no room.
    pub(crate) packets_dropped_percent: Option<f64>,
    pub(crate) server_rss_mib: Option<f64>,
    pub(crate) rss_kib_per_session: Option<f64>,
    pub(crate) connects_per_second: Option<f64>,
    pub(crate) cpu_us_per_session_second: Option<f64>,
    pub(crate) commits: Option<u64>,
    pub(crate) sync_ms: Option<Brief>,
    pub(crate) filesystem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drain_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_to_last_ms: Option<Millis>,
    /// How soon the server was ready again after it was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ready_again_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_us_per_delivery: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generator_cpu_us_per_delivery: Option<f64>,
    /// Changes of sockets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rebinds: Option<u64>,
    /// Changes of sockets after which the session was not answered.
    pub(crate) silent_rebinds: u64,
    /// What was due and not answered with what was asked for, where that breaks the proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unanswered: Option<u64>,
    /// What the load beside this one proves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<Beside>,
    /// What the server has counted, beside what was counted here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counters: Option<Vec<Compared>>,
    /// What was found in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<Found>,
    /// What became of more than the server carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) overload: Option<Overloaded>,
    /// How everybody came back after the server was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restarted: Option<Restarted>,
    /// What was sent before the receivers were back from a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) windows: Option<Windows>,
    /// What became of a long day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) soaked: Option<Soaked>,
    /// What hostile clients did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attacks: Option<Attacks>,
    /// What the network was like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<BadNetwork>,
    /// What webhooks prove.
    #[serde(flatten)]
    pub(crate) webhooks: Option<Webhooks>,
    /// Sends that the server refused.
    pub(crate) refused: u64,
    /// Messages at the wrong peer, or not from who they say.
    pub(crate) misdelivered: u64,
    /// Sessions that ended before they should.
    pub(crate) broken_sessions: u64,
    /// Peers that did not get exactly the newest of what was stored for them.
    pub(crate) wrong_windows: u64,
    pub(crate) syncs: Option<u64>,
    /// The most that the log took on disk.
    pub(crate) log_bytes: Option<u64>,
    /// Files of the log that are never synced; there must be none.
    pub(crate) blob_files: Option<u64>,
    /// The generator's own CPU time.
    pub(crate) generator_cpu_us_per_message: Option<f64>,
    pub(crate) troubles: Vec<String>,
    pub(crate) machine: String,
    pub(crate) command: String,
}

impl Report {
    /// Whether everything is as promised.
    pub(crate) fn is_good(&self) -> bool {
        let wrong = self.lost
            + self.duplicated
            + self.out_of_order
            + self.misdelivered
            + self.broken_sessions
            + self.wrong_windows
            + self.silent_rebinds
            + self.unanswered.unwrap_or(0)
            + self.beside.as_ref().map_or(0, Beside::wrong)
            + self.blob_files.unwrap_or(0)
            + self.webhooks.as_ref().map_or(0, Webhooks::wrong)
            + self.network.as_ref().map_or(0, BadNetwork::wrong)
            + self.attacks.as_ref().map_or(0, Attacks::wrong)
            + self.soaked.as_ref().map_or(0, Soaked::wrong)
            + self.windows.as_ref().map_or(0, Windows::wrong)
            + self.history.as_ref().map_or(0, |found| found.wrong_pages);
        let counted = self.counters.iter().flatten().all(Compared::is_equal);
        wrong == 0 && counted
    }

    /// What a person reads.
    pub(crate) fn table(&self) -> String {
        let mut rows = Rows::default();
        rows.add("scenario", &self.scenario);
        rows.add("machine", &self.machine);
        if self.sessions > 0 {
            rows.add("sessions", self.sessions);
        }
        rows.add("seconds", format_args!("{:.1}", self.seconds));
        let what = if self.scenario == "presence" { "changes" } else { "messages" };
        if self.history.is_none() {
            rows.add(what, self.counted());
            rows.add("proof", self.proof());
        } else {
            rows.add(what, format_args!("{} stored", self.acked));
        }
        rows.add(&format!("{what}/s"), format_args!("{:.0}", self.messages_per_second));
        if let Some(speed) = self.deliveries_per_second.filter(|_| self.fans_out()) {
            rows.add("deliveries/s", format_args!("{speed:.0}"));
        }
        rows.number("stored/s", self.store_per_second, "");
        rows.number("drained/s", self.drain_per_second, "");
        rows.times("latency", self.latency_ms);
        rows.times("acknowledged", self.ack_ms);
        rows.times("open to last", self.open_to_last_ms);
        self.add_roaming(&mut rows);
        if let Some(beside) = &self.beside {
            rows.add("beside", beside.proof());
            rows.times("beside latency", beside.latency_ms);
        }
        rows.brief("sync", self.sync_ms);
        rows.number("server CPU", self.server_cpu_us_per_message, " us a message");
        rows.number("log CPU", self.log_cpu_us_per_message, " us a message");
        rows.number("generator CPU", self.generator_cpu_us_per_message, " us a message");
        rows.number("server CPU", self.server_cpu_us_per_delivery, " us a delivery");
        rows.number("generator CPU", self.generator_cpu_us_per_delivery, " us a delivery");
        if let Some((each, dropped)) = self.packets_each.zip(self.packets_dropped_percent) {
            let what = if self.fans_out() { "delivery" } else { "message" };
            rows.add("UDP packets", format_args!("{each:.2} a {what}, {dropped:.1}% dropped"));
        }
        if self.scenario.ends_with("idle") {
            let cost = self.cpu_us_per_session_second;
            rows.number("session CPU", cost, " us a session and second");
        }
        rows.number("server memory", self.server_rss_mib, " MiB at most");
        rows.number("session memory", self.rss_kib_per_session, " KiB");
        rows.number("connects/s", self.connects_per_second, "");
        rows.number("ready again", self.ready_again_ms, " ms after the server was killed");
        rows.count("commits", self.commits);
        rows.count("log bytes", self.log_bytes);
        if let Some(filesystem) = &self.filesystem {
            rows.add("file system", filesystem);
        }
        if let Some(counters) = &self.counters {
            rows.add("counters", counters::told(counters));
        }
        self.add_parts(&mut rows);
        let beside = self.beside.iter().flat_map(|beside| &beside.troubles);
        self.troubles.iter().chain(beside).for_each(|trouble| rows.add("trouble", trouble));
        rows.0
    }

    /// What only some scenarios have found.
    fn add_parts(&self, rows: &mut Rows) {
        for (name, value) in self.history.iter().flat_map(Found::rows) {
            rows.add(&name, value);
        }
        for (name, value) in self.overload.iter().flat_map(Overloaded::rows) {
            rows.add(&name, value);
        }
        for (name, value) in self.restarted.iter().flat_map(Restarted::rows) {
            rows.add(name, value);
        }
        for (name, value) in self.windows.iter().flat_map(Windows::rows) {
            rows.add(name, value);
        }
        for (name, value) in self.attacks.iter().flat_map(Attacks::rows) {
            rows.add(name, value);
        }
        for (name, value) in self.soaked.iter().flat_map(Soaked::rows) {
            rows.add(name, value);
        }
        for (name, value) in self.network.iter().flat_map(BadNetwork::rows) {
            rows.add(name, value);
        }
        for (name, value) in self.webhooks.iter().flat_map(Webhooks::rows) {
            rows.add(name, value);
        }
    }

    /// Whether what is sent once is delivered more than once.
    fn fans_out(&self) -> bool {
        self.server_cpu_us_per_delivery.is_some()
    }

    fn add_roaming(&self, rows: &mut Rows) {
        rows.brief("gap", self.gap_ms);
        rows.count("rebinds", self.rebinds);
        rows.count("reopened", self.reopened);
        rows.count("offline notices", self.offline_notices);
    }

    fn counted(&self) -> String {
        let Self { sent, acked, delivered, dropped, .. } = self;
        format!("{sent} sent, {acked} acked, {delivered} delivered, {dropped} dropped")
    }

    fn proof(&self) -> String {
        let mut proof = format!(
            "{} lost, {} duplicated ({} on the wire), {} out of order",
            self.lost, self.duplicated, self.duplicated_on_wire, self.out_of_order
        );
        let more = [
            (self.misdelivered, "misdelivered"),
            (self.refused, "refused"),
            (self.broken_sessions, "sessions broken"),
            (self.wrong_windows, "wrong windows"),
            (self.silent_rebinds, "rebinds not answered"),
            (self.unanswered.unwrap_or(0), "unanswered"),
            (self.blob_files.unwrap_or(0), "files never synced"),
        ];
        for (count, what) in more.iter().filter(|(count, _)| *count > 0) {
            let _ = write!(proof, ", {count} {what}");
        }
        proof
    }
}

/// Lines of a name and a value.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:>16}  {value}");
    }

    fn number(&mut self, name: &str, value: Option<f64>, unit: &str) {
        if let Some(value) = value {
            let digits = if value < 100.0 { 2 } else { 0 };
            self.add(name, format_args!("{value:.digits$}{unit}"));
        }
    }

    fn count(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn brief(&mut self, name: &str, times: Option<Brief>) {
        if let Some(Brief { p50, p99, max }) = times {
            self.add(name, format_args!("p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms"));
        }
    }

    fn times(&mut self, name: &str, times: Option<Millis>) {
        if let Some(Millis { p50, p90, p99, p999, max }) = times {
            self.add(
                name,
                format_args!(
                    "p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max \
                     {max:.2} ms"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentiles_are_those_of_the_histogram() {
        let mut times = Times::default();
        (1..=1_000).for_each(|us| times.add_ns(us * 1_000));
        let millis = Millis::of(&times).unwrap();
        let all = [millis.p50, millis.p90, millis.p99, millis.p999, millis.max];
        assert_eq!(all, [0.5, 0.9, 0.99, 0.999, 1.0]);
        assert_eq!(Millis::of(&Times::default()), None);
        let curve = Point::curve(&times);
        assert!(curve.is_sorted_by(|a, b| a.part < b.part && a.ms <= b.ms));
        assert_eq!(curve.last().map(|point| point.ms), Some(1.0));
        assert!(Point::curve(&Times::default()).is_empty());
    }

    #[test]
    fn any_broken_promise_is_noticed() {
        assert!(Report::default().is_good());
        assert!(!Report { lost: 1, ..Report::default() }.is_good());
        assert!(!Report { duplicated: 1, ..Report::default() }.is_good());
        assert!(!Report { out_of_order: 1, ..Report::default() }.is_good());
        assert!(!Report { broken_sessions: 1, ..Report::default() }.is_good());
        assert!(!Report { silent_rebinds: 1, ..Report::default() }.is_good());
        assert!(!Report { unanswered: Some(1), ..Report::default() }.is_good());
        for beside in
            [Beside { lost: 1, ..Beside::default() }, Beside { unanswered: 1, ..Beside::default() }]
        {
            assert!(!Report { beside: Some(beside), ..Report::default() }.is_good());
        }
        let compared = |server| vec![Compared { name: "x", server: Some(server), counted: 1 }];
        assert!(Report { counters: Some(compared(1)), ..Report::default() }.is_good());
        assert!(!Report { counters: Some(compared(2)), ..Report::default() }.is_good());
        assert!(Report { dropped: 1, duplicated_on_wire: 1, ..Report::default() }.is_good());
    }
}
