//! Opens sessions and holds them: what a session costs that says nothing.
//!
//! # Invariants
//!
//! * A session counts as held only if it answers a Ping at the end.

use std::sync::atomic::Ordering;

use crate::measure::Measure;
use crate::options::Idle;
use crate::peer::Work;
use crate::run::Phase;
use crate::scenario::{Outcome, Stage};

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, idle: &Idle) -> Result<Outcome, String> {
    let opening = stage.open(0..idle.sessions, Work::Listen).await?;
    let fleet = &stage.fleet;
    fleet.run.enter(Phase::Quiet);
    let measure = Measure::begin(stage.server);
    stage.progress.begin("holding", u64::from(idle.seconds) * 1_000);
    let until_ns = fleet.run.now_ns() + u64::from(idle.seconds) * 1_000_000_000;
    fleet.wait_until(until_ns, stage.progress).await?;
    let spent = measure.end().await;
    fleet.fence(stage.progress).await;
    let alive = fleet.run.fenced.load(Ordering::Relaxed);
    Ok(Outcome { spent, opening: Some(opening), alive: Some(alive), ..Outcome::default() })
}
