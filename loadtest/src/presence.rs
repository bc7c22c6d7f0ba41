//! Peers that watchers watch log out and open again, so many changes a second.
//!
//! # Invariants
//!
//! * All watchers watch the same peers, and only these change: each change is owed to every watcher
//!   once.
//! * A peer does not change again before its last change was answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chat;
use crate::fleet::Life;
use crate::options::Presence;
use crate::peer::Work;
use crate::rate;
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

/// Tells watched peers in turn when they change, as long as the run sends.
///
/// In turn, so that a peer rests as long as it can between its changes.
fn start(run: &Arc<Run>, per_second: u32) -> Result<(), String> {
    let mut order: Vec<u32> = run.roster.watched().collect();
    fastrand::shuffle(&mut order);
    let mut in_turn = order.into_iter().cycle();
    rate::pace(run, per_second, move |run, due_ns| {
        if let Some(peer) = in_turn.next() {
            run.mail[peer as usize].ask(due_ns);
        }
    })
}
