//! Kills the server, starts it again, and awaits everybody who was there, and who was not.
//!
//! ```text
//! restart > { crowd > client, attendance }, window
//! ```
//!
//! # Invariants
//!
//! * The server comes back on the same data and the same port; nobody tells the clients anything.
//! * Messages are sent before, while it is down, and after; the proof covers all of them.

mod attendance;
mod client;
mod crowd;
mod window;

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use self::crowd::Crowd;
pub(crate) use self::window::Windows;
use crate::fleet::{Fleet, Life};
use crate::measure::Spent;
use crate::metrics::{self, Metrics};
use crate::options::{Common, Restart, Scenario, With};
use crate::peer::Work;
use crate::process;
use crate::progress::Progress;
use crate::report::{Brief, Point, Report};
use crate::run::{Phase, Run};
use crate::scenario::{self, Outcome, per, rounded};
use crate::server::Server;
use crate::{fill, rate};

/// How long after the last message for the absent the server is killed: by then it has settled
/// most of what was stored, and not all of it.
const CALM: Duration = Duration::from_secs(3);
/// How long the clients may take to come back.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// Absent peers that come at a time.
const COMING_MAX: u32 = 4;
/// How long one of them may take.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restarted {
    clients: u32,
    absent: u32,
    /// Messages that waited for each of the absent.
    waiting: u32,
    /// The log when the server was killed.
    log_mib: Option<f64>,
    /// From starting the process to its answer that it is ready.
    ready_ms: f64,
    /// From the kill to the moment at which a client noticed that its connection was gone.
    noticed_ms: Option<Brief>,
    /// From the kill to the session of a client that was open again.
    back_ms: Option<Brief>,
    /// The same by quantile.
    noticed_curve: Vec<Point>,
    back_curve: Vec<Point>,
    /// From the kill until all were back; `None` if some never were.
    all_back_ms: Option<f64>,
    /// Clients that did not come back.
    missing: u64,
    /// Resident memory before the kill, once it was ready again, and when all were back.
    before_rss_mib: Option<f64>,
    ready_rss_mib: Option<f64>,
    back_rss_mib: Option<f64>,
}

impl Restarted {
    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mib = |mib: Option<f64>| mib.map_or("?".to_owned(), |mib| format!("{mib:.0}"));
        let noticed = self.noticed_ms.map_or("never".to_owned(), |Brief { p50, p99, max }| {
            format!("p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms after the kill")
        });
        let back = match (self.back_ms, self.missing) {
            (Some(Brief { p50, p99, max }), 0) => {
                format!("p50 {p50:.0} ms, p99 {p99:.0} ms, all after {max:.0} ms")
            }
            (_, missing) => format!("{missing} of {} never came", self.clients),
        };
        let Self { absent, waiting, before_rss_mib, ready_rss_mib, back_rss_mib, .. } = self;
        let (before, ready, after) =
            (mib(*before_rss_mib), mib(*ready_rss_mib), mib(*back_rss_mib));
        vec![
            ("log", format!("{} MiB when the server was killed", mib(self.log_mib))),
            ("ready", format!("{:.0} ms after the start", self.ready_ms)),
            ("noticed", noticed),
            ("back", back),
            ("waited", format!("{waiting} for each of {absent} peers")),
            ("memory", format!("{before} MiB before, {ready} ready, {after} with all back")),
        ]
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(
    scenario: &Scenario,
    restart: &With<Restart>,
    server: &mut Server,
    progress: &Progress,
) -> Result<Report, String> {
    if let Some(messages) = restart.messages {
        return window::run(scenario, restart, messages, server, progress).await;
    }
    if let Some(gib) = restart.common.log_gib {
        fill::fill(server, gib, progress).await?;
    }
    let mut run = Run::new(scenario.peers(), scenario.payload(), true);
    run.talkers = restart.sessions;
    let fleet = Fleet::new(run, server, usize::from(restart.common.sockets))?;
    let (mut crowd, took) = Crowd::open(&fleet.run, server, progress).await?;
    let began = Instant::now();
    let played = play(restart, server, &fleet, &mut crowd, progress).await;
    let run = fleet.run.clone();
    if played.is_ok() {
        fleet.quiet(progress).await;
        crowd.fence().await;
    }
    let seconds = began.elapsed().as_secs_f64();
    fleet.end(server, progress).await;
    crowd.end().await;
    let found = played?;
    let outcome = Outcome {
        spent: Spent { seconds, ..Spent::default() },
        opening: Some((restart.sessions, took)),
        ..Outcome::default()
    };
    let mut report = scenario::report(scenario, &run, outcome);
    report.broken_sessions += found.missing;
    report.filesystem = server.filesystem.clone();
    report.server = server.served.clone();
    report.restarted = Some(found);
    Ok(report)
}

/// Stores what waits, lets the server go and come, and awaits everybody.
async fn play(
    restart: &With<Restart>,
    server: &mut Server,
    fleet: &Fleet,
    crowd: &mut Crowd,
    progress: &Progress,
) -> Result<Restarted, String> {
    store(restart, fleet, crowd, progress).await?;
    let log_bytes = log_bytes(server).await;
    let before_rss_mib = rss_mib(server);
    progress.begin("starting again", 0);
    crowd.attendance.expect();
    let outage = outage(&fleet.run, server, &restart.common).await?;
    let ready_rss_mib = rss_mib(server);
    crowd.await_back(BACK_WITHIN, progress).await;
    let back_rss_mib = rss_mib(server);

    let absent = restart.sessions..restart.sessions + restart.absent;
    let (drain, life) = (|_| Work::Drain { opened_ns: 0 }, Life::Within(DRAIN_WITHIN));
    fleet.open_few(absent, drain, life, COMING_MAX, progress).await?;
    let missing = crowd.attendance.missing();
    let noticed = crowd.attendance.notice_times(outage.killed_ns);
    let times = crowd.attendance.back_times(outage.killed_ns);
    Ok(Restarted {
        clients: restart.sessions,
        absent: restart.absent,
        waiting: restart.waiting,
        log_mib: log_bytes.map(|bytes| rounded(bytes / f64::from(1 << 20))),
        ready_ms: rounded(outage.ready.as_secs_f64() * 1e3),
        noticed_ms: Brief::of(&noticed),
        noticed_curve: Point::curve(&noticed),
        back_ms: Brief::of(&times),
        back_curve: Point::curve(&times),
        all_back_ms: times.quantile_ms(1.0).filter(|_| missing == 0),
        missing,
        before_rss_mib,
        ready_rss_mib,
        back_rss_mib,
    })
}

/// Stores what waits for the absent, and begins the talk that goes on through all of it.
async fn store(
    restart: &Restart,
    fleet: &Fleet,
    crowd: &mut Crowd,
    progress: &Progress,
) -> Result<(), String> {
    let run = &fleet.run;
    let messages = u64::from(restart.absent) * u64::from(restart.waiting);
    progress.begin("storing", messages);
    run.enter(Phase::Send);
    crowd.speak(messages, restart.absent);
    fleet
        .until_steady(|| {
            let acked = run.records.counts().acked;
            progress.reach(acked);
            (messages.saturating_sub(acked), acked)
        })
        .await;
    // What waits is late by intent.
    run.measure(run.now_ns(), u64::MAX);
    rate::start(run, restart.rate)?;
    tokio::time::sleep(CALM).await;
    Ok(())
}

/// How the server went and came.
struct Outage {
    /// When it was killed, on the run's clock.
    killed_ns: u64,
    /// From starting it to its answer that it is ready.
    ready: Duration,
}

/// Kills the server and starts it again.
async fn outage(run: &Run, server: &mut Server, common: &Common) -> Result<Outage, String> {
    let killed_ns = run.now_ns();
    server.kill().await?;
    let listening = server.start_again(common).await?;
    Ok(Outage { killed_ns, ready: listening + server.api()?.until_ready().await? })
}

async fn log_bytes(server: &Server) -> Option<f64> {
    let metrics: Metrics = metrics::read_fresh(server.metrics.as_deref()?).await?;
    metrics.value("tidings_log_bytes")
}

fn rss_mib(server: &Server) -> Option<f64> {
    per(server.pid.and_then(process::rss_kib), 1024.0)
}
