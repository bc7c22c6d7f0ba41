//! Hostile clients of each kind, one kind after another, beside a load of `rate`.
//!
//! ```text
//! hostile > attack, stretch
//! attack > flood
//! ```
//!
//! # Invariants
//!
//! * The others are measured alone before each kind, as long as beside it: what a busy machine or a
//!   slow disk does to them is not taken for what hostile clients do.
//! * Whatever the server does to a hostile client is right, as long as it serves the others.

mod attack;
mod flood;
mod stretch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinSet;

pub(crate) use self::attack::Kind;
use self::attack::{Attack, Told};
use self::stretch::Stretch;
use crate::measure::Measure;
use crate::options::Hostile;
use crate::peer::Work;
use crate::rate;
use crate::run::Phase;
use crate::scenario::{Outcome, Stage, rounded};

/// What one kind did to the others.
#[derive(Clone, Debug, Serialize)]
struct Attacked {
    by: Kind,
    /// What it did, and what it heard.
    rounds: u64,
    answers: u64,
    /// How long a new client took that came meanwhile; `None` if it could not connect.
    connect_ms: Option<f64>,
    /// By how much the server had more memory than before any attack.
    grown_mib: Option<f64>,
    /// The others before it, and beside it.
    alone: Stretch,
    beside: Stretch,
}

/// What all kinds did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Attacks {
    p99_max_ms: f64,
    grow_max_mib: f64,
    attacks: Vec<Attacked>,
}

impl Attacked {
    fn is_borne(&self, p99_max_ms: f64, grow_max_mib: f64) -> bool {
        self.beside.latency_ms.is_some_and(|latency| latency.p99 < p99_max_ms)
            && self.grown_mib.is_none_or(|grown| grown < grow_max_mib)
            && self.connect_ms.is_some()
            // A flood from addresses that nobody proved is answered with Retry.
            && (self.by != Kind::Spoof || self.answers > 0)
    }

    fn told(&self, is_borne: bool) -> String {
        let connect = match self.connect_ms {
            Some(ms) => format!("a new client in {ms:.0} ms"),
            None => "no new client got in".into(),
        };
        format!(
            "{}{}; {connect}; {:.0} MiB ({:+.0}); {} rounds, {} {}",
            if is_borne { "" } else { "TOO MUCH: " },
            self.beside.told(),
            self.beside.rss_mib.unwrap_or_default(),
            self.grown_mib.unwrap_or_default(),
            self.rounds,
            self.answers,
            self.by.answers()
        )
    }
}

impl Attacks {
    /// Kinds that did too much to the others.
    pub(crate) fn wrong(&self) -> u64 {
        self.attacks.iter().filter(|one| !self.is_borne(one)).count() as u64
    }

    fn is_borne(&self, attacked: &Attacked) -> bool {
        attacked.is_borne(self.p99_max_ms, self.grow_max_mib)
    }

    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let both = |one: &Attacked| {
            [("alone", one.alone.told()), (one.by.name(), one.told(self.is_borne(one)))]
        };
        self.attacks.iter().flat_map(both).collect()
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, hostile: &Hostile) -> Result<Outcome, String> {
    let run = &stage.fleet.run;
    let opening = stage.open(0..hostile.sessions, Work::Rate).await?;
    run.enter(Phase::Send);
    rate::start(run, hostile.rate)?;
    let warm_ns = run.now_ns() + u64::from(hostile.warmup) * 1_000_000_000;
    stage.fleet.wait_until(warm_ns, stage.progress).await?;
    run.measure(run.now_ns(), u64::MAX);
    let measure = Measure::begin(stage.server);
    let mut attacks: Vec<Attacked> = Vec::new();
    for kind in &hostile.kinds {
        let first_mib = attacks.first().and_then(|first| first.alone.rss_mib);
        attacks.push(attacked(stage, hostile, *kind, first_mib).await?);
    }
    let spent = measure.end().await;
    stage.fleet.settle(stage.progress).await;
    let attacks =
        Attacks { p99_max_ms: hostile.p99_max_ms, grow_max_mib: hostile.grow_max_mib, attacks };
    Ok(Outcome { spent, opening: Some(opening), attacks: Some(attacks), ..Outcome::default() })
}

/// Lets nobody and then one kind do what it does, for as long.
async fn attacked(
    stage: &Stage<'_>,
    hostile: &Hostile,
    by: Kind,
    first_mib: Option<f64>,
) -> Result<Attacked, String> {
    let (server, told) = (stage.server, Arc::<Told>::default());
    let length = Duration::from_secs(u64::from(hostile.seconds));
    let alone = Stretch::measure(stage, "alone", length).await?;
    let attack = Attack::new(server, by, hostile.attacks, told.clone())?;
    let mut attackers = JoinSet::new();
    attackers.spawn(attack.go_on());
    let newcomer = tokio::spawn(Attack::connect_once(server.address, server.access));
    let beside = Stretch::measure(stage, by.name(), length).await?;
    attackers.shutdown().await;
    let connect_ms = newcomer.await.ok().flatten().map(|took| rounded(took.as_secs_f64() * 1e3));
    let before_mib = first_mib.or(alone.rss_mib);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Attacked {
        by,
        rounds: count(&told.rounds),
        answers: count(&told.answers),
        connect_ms,
        grown_mib: beside.rss_mib.zip(before_mib).map(|(now, before)| rounded(now - before)),
        alone,
        beside,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attacked(p99: f64, grown_mib: f64, connect_ms: Option<f64>) -> Attacked {
        Attacked {
            by: Kind::Garbage,
            rounds: 1,
            answers: 0,
            connect_ms,
            grown_mib: Some(grown_mib),
            alone: Stretch::of(99.0),
            beside: Stretch::of(p99),
        }
    }

    #[test]
    fn a_kind_is_borne_if_the_others_are_served_and_memory_stays() {
        let borne = |attacked: Attacked| attacked.is_borne(50.0, 64.0);
        assert!(borne(attacked(49.0, 63.0, Some(1.0))));
        assert!(!borne(attacked(50.0, 0.0, Some(1.0))));
        assert!(!borne(attacked(1.0, 64.0, Some(1.0))));
        assert!(!borne(attacked(1.0, 0.0, None)));
        let spoof = Attacked { by: Kind::Spoof, ..attacked(1.0, 0.0, Some(1.0)) };
        assert!(!borne(spoof.clone()), "it was not asked to prove its address");
        assert!(borne(Attacked { answers: 1, ..spoof }));
    }
}
