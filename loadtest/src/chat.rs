//! Closed loop: each session keeps a window of sends to random peers in flight.
//!
//! # Invariants
//!
//! * A send is in flight until it is acknowledged: the window measures the server, not the network.

use crate::fleet::Fleet;
use crate::measure::{Measure, Spent};
use crate::options::{Chat, Timing};
use crate::peer::Work;
use crate::progress::Progress;
use crate::run::Phase;
use crate::scenario::{Outcome, Stage};

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, chat: &Chat) -> Result<Outcome, String> {
    let work = Work::Chat { window: usize::from(chat.window) };
    let opening = stage.open(0..chat.sessions, work).await?;
    let fleet = &stage.fleet;
    let from_ns = plan(fleet, &chat.talk.timing);
    fleet.run.enter(Phase::Send);
    let spent = measure(stage, from_ns, &chat.talk.timing).await?;
    fleet.settle(stage.progress).await;
    Ok(Outcome { spent, opening: Some(opening), ..Outcome::default() })
}

/// Sets the measured time; says when it begins, in nanoseconds of the run's clock.
pub(crate) fn plan(fleet: &Fleet, timing: &Timing) -> u64 {
    const SECOND_NS: u64 = 1_000_000_000;
    let from_ns = fleet.run.now_ns() + u64::from(timing.warmup) * SECOND_NS;
    fleet.run.measure(from_ns, from_ns + u64::from(timing.seconds) * SECOND_NS);
    from_ns
}

/// Waits for the measured time and measures it.
///
/// # Errors
///
/// When no session is left.
pub(crate) async fn measure(
    stage: &Stage<'_>,
    from_ns: u64,
    timing: &Timing,
) -> Result<Spent, String> {
    let (fleet, progress): (&Fleet, &Progress) = (&stage.fleet, stage.progress);
    progress.begin("warming up", u64::from(timing.warmup) * 1_000);
    fleet.wait_until(from_ns, progress).await?;
    let measure = Measure::begin(stage.server);
    progress.begin("measuring", u64::from(timing.seconds) * 1_000);
    let (mut each_second, mut before) = (Vec::new(), 0);
    for second in 1..=u64::from(timing.seconds) {
        fleet.wait_until(from_ns + second * 1_000_000_000, progress).await?;
        let within = fleet.run.records.counts().delivered_within;
        each_second.push(within - before);
        before = within;
    }
    fleet.run.enter(Phase::Quiet);
    Ok(Spent { delivered_each_second: each_second, ..measure.end().await })
}
