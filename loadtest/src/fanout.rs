//! Open loop in groups: each message reaches every other member, while others talk beside it.
//!
//! # Invariants
//!
//! * The groups are complete, and every member knows that it is one, before the first message.
//! * The load beside it is a `rate` load of peers of its own, with a proof of its own.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::chat;
use crate::fleet::{Fleet, Life};
use crate::options::{Fanout, With};
use crate::peer::Work;
use crate::rate;
use crate::report::{Beside, Millis};
use crate::run::{Phase, Run};
use crate::scenario::{Outcome, Stage, rounded};

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, fanout: &With<Fanout>) -> Result<Outcome, String> {
    let Some(per_second) = fanout.beside_rate else { return fan_out(stage, fanout, None).await };
    let run = Run::new(fanout.beside_sessions, fanout.talk.body.payload, false);
    let beside = Fleet::new(run, stage.server, usize::from(fanout.common.sockets))?;
    let played = fan_out(stage, fanout, Some((&beside, per_second))).await;
    let run = beside.run.clone();
    beside.end(stage.server, stage.progress).await;
    let mut outcome = played?;
    outcome.beside = Some(report(&run, per_second, &outcome));
    Ok(outcome)
}

async fn fan_out(
    stage: &Stage<'_>,
    fanout: &With<Fanout>,
    beside: Option<(&Fleet, u32)>,
) -> Result<Outcome, String> {
    let (fleet, progress) = (&stage.fleet, stage.progress);
    let opening = gather(stage).await?;
    if let Some((beside, per_second)) = beside {
        let talkers = 0..beside.run.talkers;
        beside.open(talkers, |_| Work::Rate, Life::Held, progress).await?;
        chat::plan(beside, &fanout.talk.timing);
        beside.run.enter(Phase::Send);
        rate::start(&beside.run, per_second)?;
    }
    let from_ns = chat::plan(fleet, &fanout.talk.timing);
    fleet.run.enter(Phase::Send);
    rate::start(&fleet.run, fanout.rate)?;
    let spent = chat::measure(stage, from_ns, &fanout.talk.timing).await?;
    if let Some((beside, _)) = beside {
        beside.settle(progress).await;
    }
    fleet.settle(progress).await;
    Ok(Outcome { spent, opening: Some(opening), ..Outcome::default() })
}

/// Opens the members of all groups and lets the first of each make it; says how many were opened
/// before their groups were made, and how long that took.
async fn gather(stage: &Stage<'_>) -> Result<(u32, Duration), String> {
    let (fleet, progress) = (&stage.fleet, stage.progress);
    let (mut opened, mut took) = (0, Duration::ZERO);
    for group in fleet.run.groups.all() {
        let founder = group.peers.start;
        let (some, time) = stage.open(founder + 1..group.peers.end, Work::Member).await?;
        (opened, took) = (opened + some, took + time);
        let found = Work::Found { asked: false, invited: founder + 1 };
        stage.open(founder..founder + 1, found).await?;
    }
    let all = u64::from(fleet.run.talkers);
    progress.begin("gathering", all);
    fleet
        .until_steady(|| {
            let count = fleet.run.groups.count();
            progress.reach(count);
            (all - count, count)
        })
        .await;
    if fleet.run.groups.count() < all {
        let (count, troubles) = (fleet.run.groups.count(), fleet.run.troubles().join("; "));
        return Err(format!("only {count} peers know that they are members: {troubles}"));
    }
    Ok((opened, took))
}

/// What the load beside the group proves.
fn report(run: &Run, per_second: u32, outcome: &Outcome) -> Beside {
    let record = run.records.merged();
    let (counts, verdict) = (record.counts, run.ledger.verdict());
    let within = counts.delivered_within.min(counts.acked_within);
    let begun = counts.sent.max(run.asked.load(Ordering::Relaxed));
    Beside {
        rate: per_second,
        sessions: run.talkers,
        sent: counts.sent_measured,
        acked: counts.acked_measured,
        delivered: counts.delivered_measured,
        lost: verdict.lost,
        duplicated: counts.duplicated,
        out_of_order: counts.out_of_order,
        misdelivered: counts.misdelivered,
        unanswered: begun.saturating_sub(counts.acked),
        broken_sessions: run.broken.load(Ordering::Relaxed),
        messages_per_second: rounded(within as f64 / outcome.spent.seconds),
        deliveries_within: counts.delivered_within,
        latency_ms: Millis::of(&record.latency),
        ack_ms: Millis::of(&record.ack),
        troubles: run.troubles(),
    }
}
