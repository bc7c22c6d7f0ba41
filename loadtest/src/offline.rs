//! Stores messages for absent peers, then lets them all open and drain.
//!
//! # Invariants
//!
//! * Every peer must get exactly the newest of what was stored for it, and be told how many it
//!   will not get. A broker must hand out all of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::fleet::Life;
use crate::measure::Measure;
use crate::options::Offline;
use crate::peer::Work;
use crate::run::Phase;
use crate::scenario::{Outcome, Stage};

/// Sessions that store messages.
pub(crate) const SENDERS: u32 = 200;
/// Sends that each of them keeps in flight.
const WINDOW: usize = 16;
/// How long a peer may take to drain what waits for it.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, offline: &Offline) -> Result<Outcome, String> {
    let (fleet, progress) = (&stage.fleet, stage.progress);
    let messages = u64::from(offline.peers) * u64::from(offline.messages);
    let peers = offline.peers;
    let store = move |index: u32| Work::Store {
        next: u64::from(index),
        step: u64::from(SENDERS),
        messages,
        first_peer: SENDERS,
        peers,
        window: WINDOW,
    };
    let absent = SENDERS..SENDERS + offline.peers;
    if stage.server.wants_enrolment() {
        let enrol = |_| Work::Enrol;
        fleet.open(absent.clone(), enrol, Life::Within(DRAIN_WITHIN), progress).await?;
    }
    let opening = fleet.open(0..SENDERS, store, Life::Held, progress).await?;
    let measure = Measure::begin_after_reading(stage.server).await;
    fleet.run.measure(fleet.run.now_ns(), u64::MAX);

    progress.begin("storing", messages);
    let started = Instant::now();
    fleet.run.enter(Phase::Send);
    fleet
        .until_steady(|| {
            let counts = fleet.run.records.counts();
            let answered = counts.acked + counts.refused;
            progress.reach(answered);
            (messages - answered, answered)
        })
        .await;
    let store_seconds = started.elapsed().as_secs_f64();
    let stored = fleet.run.records.counts().acked;

    let drain = |_| Work::Drain { opened_ns: 0 };
    let draining = fleet.open(absent, drain, Life::Within(DRAIN_WITHIN), progress).await?;
    let spent = measure.end().await;
    fleet.fence(progress).await;
    let drained = fleet.run.records.counts().delivered;
    let alive = fleet.run.open.load(Ordering::Relaxed);
    if alive != u64::from(SENDERS) {
        fleet.run.trouble(format!("{alive} of {SENDERS} senders are left"));
    }
    Ok(Outcome {
        spent,
        opening: Some((SENDERS, opening)),
        store_per_second: Some(stored as f64 / store_seconds),
        drain_per_second: Some(drained as f64 / draining.as_secs_f64()),
        ..Outcome::default()
    })
}
