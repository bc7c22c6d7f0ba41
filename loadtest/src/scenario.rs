//! One run of a scenario, from starting the server to the report.
//!
//! ```text
//! scenario > outcome
//! ```
//!
//! # Invariants
//!
//! * The server is stopped whatever becomes of the run.

mod outcome;

use std::time::Duration;

pub(crate) use self::outcome::{Outcome, per, report, rounded};
use crate::fleet::{Fleet, Life};
use crate::group::Groups;
use crate::options::{Against, Scenario};
use crate::peer::Work;
use crate::process;
use crate::progress::Progress;
use crate::report::Report;
use crate::roster::Roster;
use crate::run::Run;
use crate::server::Server;
use crate::{
    badnet, chat, fanout, fill, history, hostile, idle, offline, overload, presence, push, rate,
    restart, roam, soak, webhook,
};

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
        let took =
            self.fleet.open(indices, move |_| work.clone(), Life::Held, self.progress).await?;
        Ok((sessions, took))
    }
}

/// What a scenario is run on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum On {
    /// The server.
    Server,
    /// The relay.
    Floor,
    /// A broker.
    Broker(Against),
}

/// Runs a scenario once.
///
/// # Errors
///
/// Why there is no result.
pub(crate) async fn run(scenario: &Scenario, on: On) -> Result<Report, String> {
    let common = scenario.common();
    let name = match on {
        On::Server => scenario.name().to_owned(),
        On::Floor => format!("floor {}", scenario.name()),
        On::Broker(against) => format!("{against} {}", scenario.name()),
    };
    let progress = Progress::new(&name);
    let machine = process::machine();
    let mut server = match on {
        On::Server => Server::start(common).await?,
        On::Floor => Server::relay(scenario.peers(), common.pace_us).await?,
        On::Broker(against) => Server::against(against, common).await?,
    };
    let result = match scenario {
        Scenario::History(options) => history::run(options, &mut server, &progress).await,
        Scenario::Restart(options) => restart::run(scenario, options, &mut server, &progress).await,
        Scenario::Soak(options) => soak::run(scenario, options, &mut server, &progress).await,
        _ => play(scenario, &server, &progress).await,
    };
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

/// What the sessions of a scenario share.
fn share(scenario: &Scenario) -> Run {
    let keep_ids = matches!(scenario, Scenario::Offline(_));
    let mut run = Run::new(scenario.peers(), scenario.payload(), keep_ids);
    match scenario {
        Scenario::Fanout(fanout) => run.groups = Groups::new(fanout.groups, fanout.group),
        Scenario::Presence(options) => {
            let first = options.watchers;
            run.roster = Roster::new(0..first, first..first + options.watched());
        }
        Scenario::Roam(roam) => {
            run.talkers = roam.sessions;
            run.roster = Roster::new(roam.sessions..roam.sessions + 1, 0..roam.sessions);
        }
        Scenario::Push(_) => run.from_backend = true,
        Scenario::Overload(_) | Scenario::Hostile(_) => run.keeps_samples = true,
        Scenario::Chat(chat) => run.partners = chat.partners,
        Scenario::Rate(rate) => run.recipients = rate.recipients,
        _ => {}
    }
    run
}

async fn play(scenario: &Scenario, server: &Server, progress: &Progress) -> Result<Report, String> {
    if let Some(gib) = scenario.common().log_gib.filter(|_| server.is_ours()) {
        fill::fill(server, gib, progress).await?;
    }
    let fleet = Fleet::new(share(scenario), server, scenario.sockets())?;
    let rss_before_kib = server.pid.and_then(process::rss_kib);
    let stage = Stage { server, fleet, progress };
    let outcome = match scenario {
        Scenario::Chat(options) => chat::run(&stage, options).await,
        Scenario::Rate(options) => rate::run(&stage, options).await,
        Scenario::Offline(options) => offline::run(&stage, options).await,
        Scenario::Idle(options) => idle::run(&stage, options).await,
        Scenario::Fanout(options) => fanout::run(&stage, options).await,
        Scenario::Presence(options) => presence::run(&stage, options).await,
        Scenario::Roam(options) => roam::run(&stage, options).await,
        Scenario::Push(options) => push::run(&stage, options).await,
        Scenario::Webhook(options) => webhook::run(&stage, options).await,
        Scenario::Overload(options) => overload::run(&stage, options).await,
        Scenario::BadNet(options) => badnet::run(&stage, options).await,
        Scenario::Hostile(options) => hostile::run(&stage, options).await,
        Scenario::History(_) | Scenario::Restart(_) | Scenario::Soak(_) => {
            Err(format!("`{}` starts its server again", scenario.name()))
        }
    };
    let rss_after_kib = server.pid.and_then(process::rss_kib);
    let run = stage.fleet.run.clone();
    let report = outcome.map(|outcome| {
        let mut report = report(scenario, &run, outcome);
        let grown_kib = rss_before_kib.zip(rss_after_kib).map(|(b, a)| a as f64 - b as f64);
        report.rss_kib_per_session = grown_kib.map(|kib| rounded(kib / f64::from(report.sessions)));
        report.filesystem = server.filesystem.clone();
        report.server = server.served.clone();
        report
    });
    stage.fleet.end(server, progress).await;
    report
}
