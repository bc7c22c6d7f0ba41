//! Open loop: sends are due at fixed times, whatever the server does.
//!
//! # Invariants
//!
//! * Latency counts from the time at which a message should have been sent, so a server that makes
//!   its senders wait is found out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::chat;
use crate::options::Rate;
use crate::peer::Work;
use crate::run::{Phase, Run};
use crate::scenario::{Outcome, Stage};

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, rate: &Rate) -> Result<Outcome, String> {
    let opening = stage.open(0..rate.sessions, Work::Rate).await?;
    let fleet = &stage.fleet;
    let from_ns = chat::plan(fleet, &rate.talk.timing);
    fleet.run.enter(Phase::Send);
    start(&fleet.run, rate.rate)?;
    let spent = chat::measure(stage, from_ns, &rate.talk.timing).await?;
    fleet.settle(stage.progress).await;
    Ok(Outcome { spent, opening: Some(opening), ..Outcome::default() })
}

/// Lets random talkers of a run send, so many messages a second, as long as the run sends.
///
/// # Errors
///
/// When the system gives no thread.
pub(crate) fn start(run: &Arc<Run>, per_second: u32) -> Result<(), String> {
    let mut random = fastrand::Rng::new();
    pace(run, per_second, move |run, due_ns| {
        run.mail[random.u32(0..run.talkers) as usize].ask(due_ns);
    })
}

/// Says so many times a second that something is due, and when it was, as long as the run sends.
///
/// # Errors
///
/// When the system gives no thread.
pub(crate) fn pace(
    run: &Arc<Run>,
    per_second: u32,
    mut tell: impl FnMut(&Run, u64) + Send + 'static,
) -> Result<(), String> {
    pace_while(
        run,
        per_second,
        |run| run.phase() == Phase::Send,
        move |run, due_ns| {
            run.asked.fetch_add(1, Ordering::Relaxed);
            tell(run, due_ns);
        },
    )
}

/// Says so many times a second that something is due, and when it was, as long as `going` says so.
///
/// # Errors
///
/// When the system gives no thread.
pub(crate) fn pace_while(
    run: &Arc<Run>,
    per_second: u32,
    going: impl Fn(&Run) -> bool + Send + 'static,
    mut tell: impl FnMut(&Run, u64) + Send + 'static,
) -> Result<(), String> {
    let run = run.clone();
    let pacing = move || {
        let started_ns = run.now_ns();
        for number in 0.. {
            let due_ns = started_ns + offset_ns(number, u64::from(per_second));
            let ahead_ns = due_ns.saturating_sub(run.now_ns());
            if ahead_ns > 0 {
                std::thread::sleep(Duration::from_nanos(ahead_ns));
            }
            if !going(&run) {
                return;
            }
            tell(&run, due_ns);
        }
    };
    std::thread::Builder::new()
        .name("pacer".into())
        .spawn(pacing)
        .map(drop)
        .map_err(|error| format!("cannot start the pacer: {error}"))
}

/// When something is due that comes so many times a second, in nanoseconds from the first.
pub(crate) fn offset_ns(number: u64, per_second: u64) -> u64 {
    // In two parts, so that the product cannot overflow.
    let (seconds, rest) = (number / per_second, number % per_second);
    seconds * 1_000_000_000 + rest * 1_000_000_000 / per_second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_keeps_its_rate_for_ever() {
        assert_eq!(offset_ns(0, 3), 0);
        assert_eq!(offset_ns(1, 3), 333_333_333);
        assert_eq!(offset_ns(3, 3), 1_000_000_000);
        let year = 365 * 24 * 3600;
        assert_eq!(offset_ns(year * 20_000 + 1, 20_000), year * 1_000_000_000 + 50_000);
    }
}
