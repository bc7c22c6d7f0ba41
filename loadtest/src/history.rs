//! Fills a server with messages, starts it again, and asks for pages of its history.
//!
//! # Invariants
//!
//! * The server is started again between the two, so nothing is known to it but what is on disk.
//! * Every page is checked; a wrong one is counted and its fault told.

mod asking;
mod fill;
mod past;
mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use self::asking::{Asking, Pages};
use self::past::{KINDS, Past};
pub(crate) use self::plan::BODY_BYTES;
use self::plan::{Lane, groups_of, peers_of, share};
use crate::http::Api;
use crate::measure::{Measure, Spent};
use crate::names::Names;
use crate::options::{History, With};
use crate::process;
use crate::progress::Progress;
use crate::report::{Brief, Report};
use crate::scenario::{per, rounded};
use crate::server::Server;

/// Requests under way while the server is filled.
const LANES: u32 = 4;
/// Messages from which on several lanes are filled: each must have some of every kind.
const LANES_FROM: u32 = 10_000;
/// Pages under way at a time, the second time.
const IN_FLIGHT: u32 = 4;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Found {
    conversations: u32,
    groups: u32,
    peers: u32,
    /// How soon the server was ready after it was started on the full log.
    ready_ms: f64,
    /// Resident memory once it was full, once it was ready again, and after all pages.
    filled_rss_mib: Option<f64>,
    ready_rss_mib: Option<f64>,
    asked_rss_mib: Option<f64>,
    /// The generator's own, after all pages.
    generator_rss_mib: Option<f64>,
    pages: Vec<Pages>,
    /// Pages that were not as they must be, or did not come.
    pub(crate) wrong_pages: u64,
}

impl Found {
    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![("talkers".to_owned(), {
            let Self { peers, conversations, groups, .. } = self;
            format!("{peers} peers, {conversations} conversations, {groups} groups")
        })];
        for pages in &self.pages {
            let Some(Brief { p50, p99, max }) = pages.all_ms else { continue };
            let part = |times: Option<Brief>| times.map_or(0.0, |times| times.p99);
            let name = serde_json::to_value(pages.kind).ok();
            let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
            rows.push((
                format!("{name} x {}", pages.in_flight),
                format!(
                    "p50 {p50:.2} ms, p99 {p99:.2} ms (newest {:.2}, past {:.2}), max {max:.2} ms; \
                     {:.0} pages/s, {} requests",
                    part(pages.newest_ms),
                    part(pages.past_ms),
                    pages.pages_per_second,
                    pages.requests,
                ),
            ));
        }
        rows.push(("wrong pages".into(), self.wrong_pages.to_string()));
        rows.push(("ready".into(), format!("{:.0} ms after the start", self.ready_ms)));
        let mib = |mib: Option<f64>| mib.map_or("?".to_owned(), |mib| format!("{mib:.0}"));
        rows.push(("memory".into(), {
            let (filled, ready, asked) =
                (mib(self.filled_rss_mib), mib(self.ready_rss_mib), mib(self.asked_rss_mib));
            let own = mib(self.generator_rss_mib);
            format!(
                "{filled} MiB full, {ready} MiB ready again, {asked} MiB after the pages; \
                 generator {own} MiB"
            )
        }));
        rows
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(
    history: &With<History>,
    server: &mut Server,
    progress: &Progress,
) -> Result<Report, String> {
    let filesystem = server.filesystem.clone();
    let measure = Measure::begin_after_reading(server).await;
    let began = Instant::now();
    let lanes = fill(history, server.api()?, progress).await?;
    let took = began.elapsed();
    let spent = measure.end().await;
    let filled_rss_mib = rss_mib(server.pid);
    let past = Arc::new(Past::new(lanes));

    progress.begin("starting again", 0);
    let mut ready = server.restart(&history.common).await?;
    ready += server.api()?.until_ready().await?;
    let ready_rss_mib = rss_mib(server.pid);
    let mut asking = Asking::new(past, u64::from(history.pages), progress);
    for in_flight in [1, IN_FLIGHT] {
        for kind in KINDS {
            asking.ask(kind, in_flight, server).await?;
        }
    }
    let found = Found {
        conversations: history.conversations,
        groups: lanes_of(history).map(|(conversations, _)| groups_of(conversations)).sum(),
        peers: lanes_of(history).map(|(conversations, _)| peers_of(conversations)).sum(),
        ready_ms: rounded(ready.as_secs_f64() * 1e3),
        filled_rss_mib,
        ready_rss_mib,
        asked_rss_mib: rss_mib(server.pid),
        generator_rss_mib: rss_mib(Some(std::process::id())),
        pages: asking.pages,
        wrong_pages: asking.wrong,
    };
    Ok(Report { filesystem, troubles: asking.troubles, ..report(history, &spent, took, found) })
}

/// The conversations and the messages of each lane.
fn lanes_of(history: &History) -> impl Iterator<Item = (u32, u32)> {
    let lanes = match history.messages {
        LANES_FROM.. => LANES.min(history.conversations),
        _ => 1,
    };
    let (conversations, messages) = (history.conversations, history.messages);
    (0..lanes).map(move |lane| (share(conversations, lanes, lane), share(messages, lanes, lane)))
}

/// Stores all messages.
async fn fill(history: &History, api: &Api, progress: &Progress) -> Result<Vec<Lane>, String> {
    progress.begin("filling", u64::from(history.messages));
    let (names, stored) = (Names::random(), Arc::new(AtomicU64::new(0)));
    let (mut filling, mut first_peer) = (JoinSet::new(), 0);
    for (index, (conversations, messages)) in (0..).zip(lanes_of(history)) {
        let lane = Lane::new(index, names, first_peer, conversations, messages);
        first_peer += peers_of(conversations);
        filling.spawn(fill::fill(lane, api.clone(), messages, stored.clone()));
    }
    let mut lanes: Vec<Lane> = Vec::new();
    loop {
        match tokio::time::timeout(LOOK, filling.join_next()).await {
            Ok(Some(filled)) => lanes.push(filled.map_err(|error| error.to_string())??),
            Ok(None) => break,
            Err(_) => progress.reach(stored.load(Ordering::Relaxed)),
        }
    }
    // A message says in which lane it was told.
    lanes.sort_unstable_by_key(Lane::index);
    Ok(lanes)
}

fn rss_mib(pid: Option<u32>) -> Option<f64> {
    per(pid.and_then(process::rss_kib), 1024.0)
}

/// The report of the fill, with what was found.
fn report(history: &History, spent: &Spent, took: Duration, found: Found) -> Report {
    let messages = f64::from(history.messages);
    Report {
        payload: BODY_BYTES,
        seconds: rounded(took.as_secs_f64()),
        sent: u64::from(history.messages),
        acked: u64::from(history.messages),
        messages_per_second: rounded(messages / took.as_secs_f64()),
        server_cpu_us_per_message: per(spent.server_cpu_us, messages),
        log_cpu_us_per_message: per(spent.log_cpu_us, messages),
        generator_cpu_us_per_message: per(spent.own_cpu_us, messages),
        server_rss_mib: per(spent.rss_kib, 1024.0),
        commits: spent.commits,
        syncs: spent.syncs,
        sync_ms: spent.sync_ms,
        log_bytes: spent.log_bytes,
        history: Some(found),
        ..Report::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lanes_share_all_conversations_and_messages() {
        for (messages, conversations, lanes) in [(100, 7, 1), (10_001, 3, 3), (50_000, 10, 4)] {
            let history = History { messages, conversations, pages: 1 };
            let all: Vec<(u32, u32)> = lanes_of(&history).collect();
            assert_eq!(all.len(), lanes);
            assert_eq!(all.iter().map(|lane| lane.0).sum::<u32>(), conversations);
            assert_eq!(all.iter().map(|lane| lane.1).sum::<u32>(), messages);
            assert!(all.iter().all(|lane| lane.0 > 0));
        }
    }
}
