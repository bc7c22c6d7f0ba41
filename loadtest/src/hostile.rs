//! Hostile clients of each kind, one kind after another, beside a load of `rate`.
//!
//! ```text
//! hostile > attack > flood
//! ```
//!
//! # Invariants
//!
//! * The load of the others is measured before, as long as for each kind: what a busy machine does
//!   to it is not taken for what hostile clients do.
//! * Whatever the server does to a hostile client is right, as long as it serves the others.

mod attack;
mod flood;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

pub(crate) use self::attack::Kind;
use self::attack::{Attack, Told};
use crate::fleet::Fleet;
use crate::measure::Measure;
use crate::options::Hostile;
use crate::peer::Work;
use crate::process;
use crate::rate;
use crate::record::Times;
use crate::report::Brief;
use crate::run::Phase;
use crate::scenario::{Outcome, Stage, rounded};

/// How often the server's memory is read.
const LOOK: Duration = Duration::from_millis(100);
/// How long is waited between two kinds, so that what one left behind is not the next one's.
const CALM: Duration = Duration::from_secs(1);

/// What one kind did to the others.
#[derive(Clone, Debug, Serialize)]
struct Attacked {
    /// The kind; nobody for the time before.
    by: Option<Kind>,
    /// What it did, and what it heard.
    rounds: u64,
    answers: u64,
    /// From the intended send of the others' messages to their apps.
    latency_ms: Option<Brief>,
    /// How long a new client took that came meanwhile; `None` if it could not connect.
    connect_ms: Option<f64>,
    /// The most memory of the server, and by how much that is more than before any attack.
    rss_mib: Option<f64>,
    grown_mib: Option<f64>,
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
        self.latency_ms.is_some_and(|latency| latency.p99 < p99_max_ms)
            && self.grown_mib.is_none_or(|grown| grown < grow_max_mib)
            && self.connect_ms.is_some()
            // A flood from addresses that nobody proved is answered with Retry.
            && (self.by != Some(Kind::Spoof) || self.answers > 0)
    }

    fn told(&self, is_borne: bool) -> String {
        let latency = match self.latency_ms {
            Some(Brief { p50, p99, max }) => format!("p50 {p50:.1}, p99 {p99:.1}, max {max:.0} ms"),
            None => "nothing delivered".into(),
        };
        let connect = match self.connect_ms {
            Some(ms) => format!("a new client in {ms:.0} ms"),
            None => "no new client got in".into(),
        };
        let memory = format!(
            "{:.0} MiB ({:+.0})",
            self.rss_mib.unwrap_or_default(),
            self.grown_mib.unwrap_or_default()
        );
        let did = match self.by {
            Some(by) => format!("; {} rounds, {} {}", self.rounds, self.answers, by.answers()),
            None => String::new(),
        };
        let verdict = if is_borne { "" } else { " TOO MUCH: " };
        format!("{verdict}{latency}; {connect}; {memory}{did}")
    }
}

impl Attacks {
    /// Kinds that did too much to the others. The time before is only to compare with.
    pub(crate) fn wrong(&self) -> u64 {
        self.attacks.iter().filter(|one| one.by.is_some() && !self.is_borne(one)).count() as u64
    }

    fn is_borne(&self, attacked: &Attacked) -> bool {
        attacked.is_borne(self.p99_max_ms, self.grow_max_mib)
    }

    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let name = |one: &Attacked| one.by.map_or("before", Kind::name);
        self.attacks.iter().map(|one| (name(one), one.told(self.is_borne(one)))).collect()
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
    let before = attacked(stage, hostile, None, None).await?;
    let first_mib = before.rss_mib;
    let mut attacks = vec![before];
    for kind in &hostile.kinds {
        attacks.push(attacked(stage, hostile, Some(*kind), first_mib).await?);
        tokio::time::sleep(CALM).await;
    }
    let spent = measure.end().await;
    stage.fleet.settle(stage.progress).await;
    let attacks =
        Attacks { p99_max_ms: hostile.p99_max_ms, grow_max_mib: hostile.grow_max_mib, attacks };
    Ok(Outcome { spent, opening: Some(opening), attacks: Some(attacks), ..Outcome::default() })
}

/// Lets one kind do what it does for a while, or nobody.
async fn attacked(
    stage: &Stage<'_>,
    hostile: &Hostile,
    by: Option<Kind>,
    before_mib: Option<f64>,
) -> Result<Attacked, String> {
    let (fleet, told): (&Fleet, _) = (&stage.fleet, Arc::<Told>::default());
    let name = by.map_or("before", Kind::name);
    stage.progress.begin(name, u64::from(hostile.seconds) * 1_000);
    let began = Instant::now();
    let length = Duration::from_secs(u64::from(hostile.seconds));
    fleet.run.records.take_samples();
    let mut attackers = JoinSet::new();
    if let Some(kind) = by {
        let attack = Attack::new(stage.server, kind, hostile.attacks, told.clone())?;
        attackers.spawn(attack.go_on());
    }
    let newcomer = tokio::spawn(Attack::connect_once(stage.server.address, stage.server.access));
    let mut rss_kib = None;
    while began.elapsed() < length {
        tokio::time::sleep(LOOK).await;
        rss_kib = rss_kib.max(stage.server.pid.and_then(process::rss_kib));
        stage.progress.reach(began.elapsed().as_millis() as u64);
        fleet.wait_until(0, stage.progress).await?;
    }
    attackers.shutdown().await;
    let connect_ms = newcomer.await.ok().flatten().map(|took| rounded(took.as_secs_f64() * 1e3));
    let mut times = Times::default();
    let samples = fleet.run.records.take_samples();
    samples.deliveries.iter().for_each(|one| times.add_ns(u64::from(one.took_us) * 1_000));
    let rss_mib = rss_kib.map(|kib| rounded(kib as f64 / 1024.0));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Attacked {
        by,
        rounds: count(&told.rounds),
        answers: count(&told.answers),
        latency_ms: Brief::of(&times),
        connect_ms,
        rss_mib,
        grown_mib: rss_mib.zip(before_mib).map(|(now, before)| rounded(now - before)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attacked(p99: f64, grown_mib: f64, connect_ms: Option<f64>) -> Attacked {
        Attacked {
            by: Some(Kind::Garbage),
            rounds: 1,
            answers: 0,
            latency_ms: Some(Brief { p50: 1.0, p99, max: 60.0 }),
            connect_ms,
            rss_mib: Some(100.0),
            grown_mib: Some(grown_mib),
        }
    }

    #[test]
    fn a_kind_is_borne_if_the_others_are_served_and_memory_stays() {
        let borne = |attacked: Attacked| attacked.is_borne(50.0, 64.0);
        assert!(borne(attacked(49.0, 63.0, Some(1.0))));
        assert!(!borne(attacked(50.0, 0.0, Some(1.0))));
        assert!(!borne(attacked(1.0, 64.0, Some(1.0))));
        assert!(!borne(attacked(1.0, 0.0, None)));
        let spoof = Attacked { by: Some(Kind::Spoof), ..attacked(1.0, 0.0, Some(1.0)) };
        assert!(!borne(spoof.clone()), "it was not asked to prove its address");
        assert!(borne(Attacked { answers: 1, ..spoof }));
    }
}
