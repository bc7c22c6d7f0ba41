//! Peers that watchers watch log out and open again, so many changes a second.
//!
//! # Invariants
//!
//! * All watchers watch the same peers, and only these change: each change is owed to every watcher
//!   once.
//! * A peer does not change again before its last change was answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::chat;
use crate::fleet::Life;
use crate::options::Presence;
use crate::peer::Work;
use crate::run::{Phase, Run};
use crate::scenario::{Outcome, Stage};

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, presence: &Presence) -> Result<Outcome, String> {
    let (fleet, progress) = (&stage.fleet, stage.progress);
    let run = &fleet.run;
    let (first, watched) = (presence.watchers, run.roster.watched());
    let work = move |index| match watched.contains(&index) {
        true => Work::Restless { due_ns: None },
        false => Work::Listen,
    };
    let took = fleet.open(first..presence.sessions, work, Life::Restless, progress).await?;
    stage.open(0..first, Work::Watch).await?;
    let from_ns = chat::plan(fleet, &presence.timing);
    run.enter(Phase::Send);
    start(run, presence.churn)?;
    let spent = chat::measure(stage, from_ns, &presence.timing).await?;
    progress.begin("settling", 0);
    fleet
        .until_steady(|| {
            let counts = run.records.counts();
            let unanswered = run.asked.load(Ordering::Relaxed).saturating_sub(counts.acked);
            (unanswered + run.roster.awaited(), counts.acked + counts.delivered)
        })
        .await;
    fleet.fence(progress).await;
    let opening = Some((presence.sessions - first, took));
    Ok(Outcome { spent, opening, ..Outcome::default() })
}

fn start(run: &Arc<Run>, per_second: u32) -> Result<(), String> {
    let run = run.clone();
    std::thread::Builder::new()
        .name("churner".into())
        .spawn(move || churn(&run, u64::from(per_second)))
        .map(drop)
        .map_err(|error| format!("cannot start the churner: {error}"))
}

/// Tells watched peers in turn when they change, as long as the run sends.
///
/// In turn, so that a peer rests as long as it can between its changes.
fn churn(run: &Arc<Run>, per_second: u64) {
    let started_ns = run.now_ns();
    let mut order: Vec<u32> = run.roster.watched().collect();
    fastrand::shuffle(&mut order);
    for (number, peer) in (0u64..).zip(order.iter().cycle()) {
        let (seconds, rest) = (number / per_second, number % per_second);
        let due_ns = started_ns + seconds * 1_000_000_000 + rest * 1_000_000_000 / per_second;
        let ahead_ns = due_ns.saturating_sub(run.now_ns());
        std::thread::sleep(Duration::from_nanos(ahead_ns));
        if run.phase() != Phase::Send {
            return;
        }
        let mail = &run.mail[*peer as usize];
        run.asked.fetch_add(1, Ordering::Relaxed);
        mail.slot.lock().due.push_back(due_ns);
        mail.wake();
    }
}
