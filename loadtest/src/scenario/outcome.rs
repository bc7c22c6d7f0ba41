//! What a run comes to: its proof, its speed, and what that cost.
//!
//! # Invariants
//!
//! * What is wrong is counted over the whole run, what is fast only within the measured time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::badnet::BadNetwork;
use crate::counters::Compared;
use crate::hostile::Attacks;
use crate::measure::Spent;
use crate::options::Scenario;
use crate::overload::Overloaded;
use crate::record::Counts;
use crate::report::{Beside, Brief, Millis, Point, Report};
use crate::run::Run;
use crate::webhook::Webhooks;

/// What a scenario says beside what its messages prove.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) spent: Spent,
    /// Sessions opened at the beginning, and how long that took.
    pub(crate) opening: Option<(u32, Duration)>,
    /// Sessions that answered at the end, where nothing else was asked of them.
    pub(crate) alive: Option<u64>,
    pub(crate) store_per_second: Option<f64>,
    pub(crate) drain_per_second: Option<f64>,
    /// What a load beside this one proves.
    pub(crate) beside: Option<Beside>,
    /// Changes of sockets.
    pub(crate) rebinds: Option<u64>,
    /// What the server has counted beside what was counted here.
    pub(crate) counters: Option<Vec<Compared>>,
    /// Sessions that a client would have had to open again.
    pub(crate) reopened: Option<u64>,
    /// What webhooks prove.
    pub(crate) webhooks: Option<Webhooks>,
    /// What became of more than the server carries.
    pub(crate) overload: Option<Overloaded>,
    /// What hostile clients did.
    pub(crate) attacks: Option<Attacks>,
    /// What the network was like.
    pub(crate) network: Option<BadNetwork>,
}

/// What a run has proven, and what it cost.
pub(crate) fn report(scenario: &Scenario, run: &Run, outcome: Outcome) -> Report {
    let record = run.records.merged();
    let (counts, spent) = (record.counts, &outcome.spent);
    let sessions = match scenario {
        Scenario::Offline(offline) => offline.peers,
        Scenario::Roam(roam) => roam.sessions,
        Scenario::Restart(restart) => restart.sessions,
        Scenario::Soak(soak) => soak.sessions,
        _ => scenario.peers(),
    };
    let mut report = Report {
        sessions,
        payload: scenario.payload(),
        seconds: rounded(spent.seconds),
        sent: counts.sent_measured,
        acked: counts.acked_measured,
        delivered: counts.delivered_measured,
        latency_ms: Millis::of(&record.latency),
        latency_curve: Point::curve(&record.latency),
        delivered_each_second: spent.delivered_each_second.clone(),
        ack_ms: Millis::of(&record.ack),
        open_to_last_ms: Millis::of(&record.open_to_last),
        gap_ms: Brief::of(&record.gap),
        cpu_us_per_session_second: per(spent.server_cpu_us, f64::from(sessions) * spent.seconds),
        server_rss_mib: per(spent.rss_kib, 1024.0),
        connects_per_second: outcome
            .opening
            .map(|(opened, took)| rounded(f64::from(opened) / took.as_secs_f64())),
        commits: spent.commits,
        syncs: spent.syncs,
        sync_ms: spent.sync_ms,
        log_bytes: spent.log_bytes,
        store_per_second: outcome.store_per_second.map(rounded),
        drain_per_second: outcome.drain_per_second.map(rounded),
        rebinds: outcome.rebinds,
        reopened: outcome.reopened,
        troubles: run.troubles(),
        ..Report::default()
    };
    add_proof(&mut report, scenario, run, &counts);
    add_speed(&mut report, scenario, &counts, &outcome);
    report.beside = outcome.beside;
    report.counters = outcome.counters;
    report.webhooks = outcome.webhooks;
    report.network = outcome.network;
    report.attacks = outcome.attacks;
    if let Some(overload) = &outcome.overload {
        // The highest top.
        let tops = overload.tops.iter().map(|top| top.acked_per_second);
        report.messages_per_second = tops.fold(0.0, f64::max);
    }
    report.overload = outcome.overload;
    if let Some(alive) = outcome.alive {
        // Each session was sent a Ping; who did not answer it is lost.
        report.sent = u64::from(sessions);
        report.acked = alive;
        report.lost = u64::from(sessions).saturating_sub(alive);
    }
    report
}

/// What the whole run proves.
fn add_proof(report: &mut Report, scenario: &Scenario, run: &Run, counts: &Counts) {
    let (verdict, group) = (run.ledger.verdict(), run.groups.verdict());
    report.lost = verdict.lost + group.lost + run.roster.lost();
    report.duplicated = counts.duplicated + counts.unasked_notices;
    report.duplicated_on_wire = counts.duplicated_on_wire;
    report.out_of_order = counts.out_of_order + group.out_of_order;
    report.dropped = verdict.dropped;
    report.refused = counts.refused;
    report.misdelivered = counts.misdelivered;
    report.broken_sessions = run.broken.load(Ordering::Relaxed);
    report.wrong_windows = run.wrong_windows.load(Ordering::Relaxed);
    if matches!(scenario, Scenario::Presence(_) | Scenario::Roam(_)) {
        report.offline_notices = Some(counts.offline_notices);
    }
    report.silent_rebinds = run.rebinds.load(Ordering::Relaxed) - counts.rebinds_answered;
    let answers_all = matches!(scenario, Scenario::Fanout(_) | Scenario::Push(_))
        || matches!(scenario, Scenario::Presence(_) | Scenario::Roam(_))
        || matches!(scenario, Scenario::BadNet(_) | Scenario::Soak(_));
    if answers_all {
        let asked = counts.sent.max(run.asked.load(Ordering::Relaxed));
        report.unanswered = Some(asked.saturating_sub(counts.acked));
    }
}

/// How fast it was, and what that cost.
fn add_speed(report: &mut Report, scenario: &Scenario, counts: &Counts, outcome: &Outcome) {
    let spent = &outcome.spent;
    let (delivered, beside) = (counts.delivered_within, outcome.beside.as_ref());
    if !matches!(scenario, Scenario::Idle(_) | Scenario::Offline(_)) {
        report.deliveries_per_second = Some(rounded(delivered as f64 / spent.seconds));
    }
    let within = match scenario.fans_out() {
        true => counts.acked_within,
        false => delivered.min(counts.acked_within),
    };
    report.messages_per_second = rounded(within as f64 / spent.seconds);
    let deliveries = delivered + beside.map_or(0, |beside| beside.deliveries_within);
    if let Some(udp) = spent.udp {
        let each = if scenario.fans_out() { deliveries } else { within };
        report.packets_each = per(Some(udp.sent), each as f64);
        report.packets_dropped_percent = per(Some(100 * udp.dropped), udp.sent as f64);
    }
    match scenario.fans_out() {
        true => {
            report.server_cpu_us_per_delivery = per(spent.server_cpu_us, deliveries as f64);
            report.generator_cpu_us_per_delivery = per(spent.own_cpu_us, deliveries as f64);
        }
        false => {
            report.server_cpu_us_per_message = per(spent.server_cpu_us, within as f64);
            report.log_cpu_us_per_message = per(spent.log_cpu_us, within as f64);
            report.generator_cpu_us_per_message = per(spent.own_cpu_us, within as f64);
        }
    }
}

/// A cost for each of so many units; `None` without any.
pub(crate) fn per(cost: Option<u64>, units: f64) -> Option<f64> {
    cost.filter(|_| units > 0.0).map(|cost| rounded(cost as f64 / units))
}

/// Three digits after the point are more than any of this is exact to.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
