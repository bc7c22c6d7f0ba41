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
//! * What was not tried, or not measured where it could be, is not proven.

mod attack;
mod flood;
mod stretch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tidings::limits::{HANDSHAKE_TIMEOUT, HANDSHAKES_MAX, HANDSHAKES_PROVEN_PART};
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

/// Handshakes at once with addresses that are not proven.
const UNPROVEN: u64 = (HANDSHAKES_MAX - HANDSHAKES_MAX / HANDSHAKES_PROVEN_PART) as u64;

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

/// What the others, and the server, may suffer.
#[derive(Clone, Copy, Debug, Serialize)]
struct Bounds {
    p99_max_ms: f64,
    grow_max_mib: f64,
    /// Whether the server's memory can be looked at, and so must have been.
    sees_memory: bool,
    /// Handshakes that may begin meanwhile with addresses that are not proven.
    unproven_max: u64,
}

/// What all kinds did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Attacks {
    #[serde(flatten)]
    bounds: Bounds,
    attacks: Vec<Attacked>,
}

impl Attacked {
    fn is_borne(&self, bounds: Bounds) -> bool {
        let is_spared = |grown| grown < bounds.grow_max_mib;
        self.rounds > 0
            && self.beside.latency_ms.is_some_and(|latency| latency.p99 < bounds.p99_max_ms)
            && self.grown_mib.map_or(!bounds.sees_memory, is_spared)
            && self.connect_ms.is_some()
            // A flood from addresses that nobody proved is answered with Retry, but for the
            // handshakes that may begin; an answer may be lost, or come when its socket is gone.
            && (self.by != Kind::Spoof
                || self.answers > self.rounds.saturating_sub(bounds.unproven_max) / 2)
    }

    fn told(&self, is_borne: bool) -> String {
        let connect = match self.connect_ms {
            Some(ms) => format!("a new client in {ms:.0} ms"),
            None => "no new client got in".into(),
        };
        let memory = match self.beside.rss_mib.zip(self.grown_mib) {
            Some((rss_mib, grown_mib)) => format!("{rss_mib:.0} MiB ({grown_mib:+.0})"),
            None => "memory unknown".into(),
        };
        format!(
            "{}{}; {connect}; {memory}; {} rounds, {} {}",
            match (is_borne, self.rounds) {
                (true, _) => "",
                (false, 0) => "NOT TRIED: ",
                (false, _) => "TOO MUCH: ",
            },
            self.beside.told(),
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
        attacked.is_borne(self.bounds)
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
    let bounds = Bounds {
        p99_max_ms: hostile.p99_max_ms,
        grow_max_mib: hostile.grow_max_mib,
        sees_memory: cfg!(target_os = "linux") && stage.server.pid.is_some(),
        unproven_max: UNPROVEN * (u64::from(hostile.seconds) / HANDSHAKE_TIMEOUT.as_secs() + 1),
    };
    let attacks = Some(Attacks { bounds, attacks });
    Ok(Outcome { spent, opening: Some(opening), attacks, ..Outcome::default() })
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
        let bounds =
            Bounds { p99_max_ms: 50.0, grow_max_mib: 64.0, sees_memory: true, unproven_max: 3 };
        let borne = |attacked: Attacked| attacked.is_borne(bounds);
        assert!(borne(attacked(49.0, 63.0, Some(1.0))));
        assert!(!borne(attacked(50.0, 0.0, Some(1.0))));
        assert!(!borne(attacked(1.0, 64.0, Some(1.0))));
        assert!(!borne(attacked(1.0, 0.0, None)));
        let good = attacked(1.0, 0.0, Some(1.0));
        assert!(!borne(Attacked { rounds: 0, ..good.clone() }), "it was not tried");
        let unseen = Attacked { grown_mib: None, ..good.clone() };
        assert!(!borne(unseen.clone()), "the server's memory was not looked at");
        assert!(unseen.is_borne(Bounds { sees_memory: false, ..bounds }));
        let spoof = |answers| Attacked { by: Kind::Spoof, rounds: 11, answers, ..good.clone() };
        assert!(!borne(spoof(4)), "it was not asked to prove its addresses");
        assert!(borne(spoof(5)));
    }
}
