//! One run of a scenario, from starting the server to the report.
//!
//! # Invariants
//!
//! * The server is stopped whatever becomes of the run.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::measure::Spent;
use crate::options::Scenario;
use crate::peer::Work;
use crate::process;
use crate::progress::Progress;
use crate::report::{Millis, Report};
use crate::run::Run;
use crate::server::Server;
use crate::{chat, idle, offline, rate};

/// What a scenario plays on.
pub(crate) struct Stage<'a> {
    pub(crate) server: &'a Server,
    pub(crate) fleet: Fleet,
    pub(crate) progress: &'a Progress,
}

impl Stage<'_> {
    /// Opens sessions that all do the same; says how many and how long it took.
    ///
    /// # Errors
    ///
    /// Why one of them could not be opened.
    pub(crate) async fn open(
        &self,
        indices: std::ops::Range<u32>,
        work: Work,
    ) -> Result<(u32, Duration), String> {
        let sessions = indices.end - indices.start;
        let took = self.fleet.open(indices, move |_| work.clone(), None, self.progress).await?;
        Ok((sessions, took))
    }
}

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
}

/// Runs a scenario once, on the server or on the floor.
///
/// # Errors
///
/// Why there is no result.
pub(crate) async fn run(scenario: &Scenario, on_floor: bool) -> Result<Report, String> {
    let common = scenario.common();
    let name = match on_floor {
        true => format!("floor {}", scenario.name()),
        false => scenario.name().to_owned(),
    };
    let progress = Progress::new(&name);
    let machine = process::machine();
    let mut server = match on_floor {
        true => Server::relay(scenario.peers(), common.pace_us).await?,
        false => Server::start(common).await?,
    };
    let result = play(scenario, &server, &progress).await;
    let blob_files = server.blob_files();
    let restarted = match common.kill && result.is_ok() {
        true => server.kill_and_start(common).await.map(Some),
        false => Ok(None),
    };
    let stopped = server.stop().await;
    progress.end();
    let mut report = result.map_err(|why| match &stopped {
        Ok(()) => why,
        Err(also) => format!("{why}; {also}"),
    })?;
    let ready_again = restarted?;
    stopped?;
    report.scenario = name;
    report.ready_again_ms = ready_again.map(|took| rounded(took.as_secs_f64() * 1e3));
    report.blob_files = blob_files;
    report.machine = machine;
    report.command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    Ok(report)
}

async fn play(scenario: &Scenario, server: &Server, progress: &Progress) -> Result<Report, String> {
    let payload = match scenario {
        Scenario::Chat(chat) => chat.body.payload,
        Scenario::Rate(rate) => rate.body.payload,
        Scenario::Offline(offline) => offline.body.payload,
        Scenario::Idle(_) => 0,
    };
    let keep_ids = matches!(scenario, Scenario::Offline(_));
    let run = Run::new(scenario.peers(), payload, keep_ids);
    let fleet = Fleet::new(run, server, usize::from(scenario.common().sockets))?;
    let rss_before_kib = server.pid.and_then(process::rss_kib);
    let stage = Stage { server, fleet, progress };
    let outcome = match scenario {
        Scenario::Chat(options) => chat::run(&stage, options).await,
        Scenario::Rate(options) => rate::run(&stage, options).await,
        Scenario::Offline(options) => offline::run(&stage, options).await,
        Scenario::Idle(options) => idle::run(&stage, options).await,
    };
    let rss_after_kib = server.pid.and_then(process::rss_kib);
    let run = stage.fleet.run.clone();
    let report = outcome.map(|outcome| {
        let mut report = report(scenario, &run, &outcome, payload);
        let grown_kib = rss_before_kib.zip(rss_after_kib).map(|(b, a)| a as f64 - b as f64);
        report.rss_kib_per_session = grown_kib.map(|kib| rounded(kib / f64::from(report.sessions)));
        report.filesystem = server.filesystem.clone();
        report
    });
    stage.fleet.end().await;
    report
}

fn report(scenario: &Scenario, run: &Run, outcome: &Outcome, payload: usize) -> Report {
    let record = run.records.merged();
    let (counts, verdict, spent) = (record.counts, run.ledger.verdict(), &outcome.spent);
    let sessions = match scenario {
        Scenario::Offline(offline) => offline.peers,
        _ => scenario.peers(),
    };
    let within = counts.delivered_within.min(counts.acked_within);
    let per = |cost: Option<u64>, units: f64| {
        cost.filter(|_| units > 0.0).map(|cost| rounded(cost as f64 / units))
    };
    let mut report = Report {
        sessions,
        payload,
        seconds: rounded(spent.seconds),
        sent: counts.sent_measured,
        acked: counts.acked_measured,
        delivered: counts.delivered_measured,
        lost: verdict.lost,
        duplicated: counts.duplicated,
        duplicated_on_wire: counts.duplicated_on_wire,
        out_of_order: counts.out_of_order,
        dropped: verdict.dropped,
        messages_per_second: rounded(within as f64 / spent.seconds),
        latency_ms: Millis::of(&record.latency),
        ack_ms: Millis::of(&record.ack),
        open_to_last_ms: Millis::of(&record.open_to_last),
        server_cpu_us_per_message: per(spent.server_cpu_us, within as f64),
        log_cpu_us_per_message: per(spent.log_cpu_us, within as f64),
        generator_cpu_us_per_message: per(spent.own_cpu_us, within as f64),
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
        refused: counts.refused,
        misdelivered: counts.misdelivered,
        broken_sessions: run.broken.load(std::sync::atomic::Ordering::Relaxed),
        wrong_windows: run.wrong_windows.load(std::sync::atomic::Ordering::Relaxed),
        troubles: run.troubles(),
        ..Report::default()
    };
    if let Some(alive) = outcome.alive {
        // Each session was sent a Ping; who did not answer it is lost.
        report.sent = u64::from(sessions);
        report.acked = alive;
        report.lost = u64::from(sessions).saturating_sub(alive);
    }
    report
}

/// Three digits after the point are more than any of this is exact to.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
