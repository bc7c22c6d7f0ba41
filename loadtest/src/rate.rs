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
    let from_ns = chat::plan(fleet, &rate.timing);
    fleet.run.enter(Phase::Send);
    start(&fleet.run, rate.rate)?;
    let spent = chat::measure(stage, from_ns, &rate.timing).await?;
    fleet.settle(stage.progress).await;
    Ok(Outcome { spent, opening: Some(opening), ..Outcome::default() })
}

/// Lets random talkers of a run send, so many messages a second, as long as the run sends.
///
/// # Errors
///
/// When the system gives no thread.
pub(crate) fn start(run: &Arc<Run>, per_second: u32) -> Result<(), String> {
    let run = run.clone();
    std::thread::Builder::new()
        .name("pacer".into())
        .spawn(move || pace(&run, u64::from(per_second)))
        .map(drop)
        .map_err(|error| format!("cannot start the pacer: {error}"))
}

/// Tells random talkers when their sends are due.
fn pace(run: &Arc<Run>, per_second: u64) {
    let started_ns = run.now_ns();
    let mut random = fastrand::Rng::new();
    for number in 0u64.. {
        // In two parts, so that the product cannot overflow.
        let (seconds, rest) = (number / per_second, number % per_second);
        let due_ns = started_ns + seconds * 1_000_000_000 + rest * 1_000_000_000 / per_second;
        let ahead_ns = due_ns.saturating_sub(run.now_ns());
        if ahead_ns > 0 {
            std::thread::sleep(Duration::from_nanos(ahead_ns));
        }
        if run.phase() != Phase::Send {
            return;
        }
        let mail = &run.mail[random.u32(0..run.talkers) as usize];
        run.asked.fetch_add(1, Ordering::Relaxed);
        mail.slot.lock().due.push_back(due_ns);
        mail.wake();
    }
}
