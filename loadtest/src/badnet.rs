//! Durable sends over a bad network: a load of `rate` by clients of the client library, all of
//! whose datagrams pass a proxy that loses, reorders, doubles, delays and cuts.
//!
//! # Invariants
//!
//! * All faults are drawn from one seed, which the result names. The sessions open before any.
//! * The clients learn nothing of a change of their address, as behind a NAT that forgets them.
//! * What has not come 60 s after the last that came is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::{JoinHandle, JoinSet};

use crate::chat;
use crate::library::{Books, Client, Library, Lives, await_all};
use crate::measure::Spent;
use crate::options::BadNet;
use crate::proxy::{Carried, Direction, Faults, Proxy};
use crate::rate;
use crate::run::{Phase, Run};
use crate::scenario::{Outcome, Stage};

/// How long nothing may come at the end before what is missing counts as lost: longer than the
/// longest cut, and than a client takes to come back after it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a cut lasts: from less than anybody notices to more than the 10 s after which a client
/// that has no answer gives its connection up.
const CUT_MIN: Duration = Duration::from_millis(500);
const CUT_MAX: Duration = Duration::from_secs(12);

/// Milliseconds that 99 of 100 changes of address may take where nothing else slows them down.
const GAP_MAX_MS: f64 = 500.0;

/// What the network was like.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BadNetwork {
    /// What all faults were drawn from.
    seed: u64,
    #[serde(flatten)]
    carried: Carried,
    /// Connections that clients gave up or lost.
    connections_lost: u64,
    /// Messages that recipients were told they will not get.
    pub(crate) dropped: u64,
    /// Whether changes of address took longer than was allowed.
    gap_too_long: bool,
}

impl BadNetwork {
    /// What breaks the promise: nobody is away, so nothing may be dropped.
    pub(crate) fn wrong(&self) -> u64 {
        self.dropped + u64::from(self.gap_too_long)
    }

    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            ("network", self.carried.told()),
            ("seed", self.seed.to_string()),
            ("connections", format!("{} lost, and made again", self.connections_lost)),
        ];
        if self.gap_too_long {
            rows.push(("gap", "longer than was allowed".into()));
        }
        rows
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, badnet: &BadNet) -> Result<Outcome, String> {
    let (run, seed) = (&stage.fleet.run, badnet.seed.unwrap_or_else(|| fastrand::u64(..)));
    let proxy = Arc::new(Proxy::start(stage.server.address, seed).await?);
    let (address, books) = (proxy.address()?, Arc::new(Books::plain(badnet.sessions)));
    let opening =
        Library::open(run, stage.server, address, badnet.sessions, &books, stage.progress).await;
    let (mut library, took) = opening?;
    proxy.set(faults(badnet));
    let measured = play(stage, badnet, &proxy, &mut library, &books, seed).await;
    await_all(run, PATIENCE, stage.progress).await;
    let carried = proxy.carried();
    proxy.set(Faults::default());
    library.fence().await;
    let lives = library.lives.clone();
    library.end().await;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let Lives { pauses, resumes, .. } = &*lives;
    let gap_ms = run.records.merged().gap.quantile_ms(0.99);
    let network = BadNetwork {
        seed,
        carried,
        connections_lost: count(pauses),
        dropped: run.ledger.verdict().dropped,
        gap_too_long: is_too_long(gap_ms, badnet),
    };
    Ok(Outcome {
        spent: measured?,
        opening: Some((badnet.sessions, took)),
        rebinds: Some(count(&run.rebinds)),
        reopened: Some(count(resumes)),
        network: Some(network),
        ..Outcome::default()
    })
}

/// Whether changes of address took longer than is allowed, or nobody saw how long.
fn is_too_long(gap_ms: Option<f64>, badnet: &BadNet) -> bool {
    let is_slow = badnet.cut > 0 || badnet.delay_ms > 0 || badnet.mbit > 0.0;
    let max_ms = badnet.gap_max_ms.or((!is_slow).then_some(GAP_MAX_MS));
    gap_ms.map_or(badnet.rebind > 0, |gap_ms| max_ms.is_some_and(|max_ms| gap_ms > max_ms))
}

/// What is wrong with every way at every moment.
fn faults(badnet: &BadNet) -> Faults {
    Faults {
        loss: badnet.loss,
        reorder: badnet.reorder,
        duplicate: badnet.duplicate,
        delay: Duration::from_millis(u64::from(badnet.delay_ms)),
        bits_per_second: (badnet.mbit * 1e6) as u64,
        mtu: usize::from(badnet.mtu),
    }
}

/// Talks while the network does what it does.
async fn play(
    stage: &Stage<'_>,
    badnet: &BadNet,
    proxy: &Arc<Proxy>,
    library: &mut Library,
    books: &Arc<Books>,
    seed: u64,
) -> Result<Spent, String> {
    let run = &stage.fleet.run;
    let from_ns = chat::plan(&stage.fleet, &badnet.talk.timing);
    run.enter(Phase::Send);
    library.speak(books);
    rate::start(run, badnet.rate)?;
    let clients: Arc<[Client]> = library.clients.clone().into();
    let moving = changes(badnet.rebind)
        .map(|every| tokio::spawn(keep_moving(run.clone(), proxy.clone(), clients.clone(), every)));
    let cutting = changes(badnet.cut)
        .map(|every| tokio::spawn(keep_cutting(run.clone(), proxy.clone(), clients, every, seed)));
    let measured = chat::measure(stage, from_ns, &badnet.talk.timing).await;
    for changing in [moving, cutting].into_iter().flatten() {
        let changed: JoinHandle<Result<(), String>> = changing;
        changed.await.map_err(|error| error.to_string())??;
    }
    measured
}

/// How often something happens to each client, if it does at all.
fn changes(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// Waits for a client's turn, evenly spread within `every`; `None` once the run sends no more.
async fn turn(run: &Run, started: Instant, every: Duration, number: u32) -> Option<usize> {
    let talkers = run.talkers;
    let due = started + every * (number / talkers) + every * (number % talkers) / talkers;
    tokio::time::sleep_until(due.into()).await;
    (run.phase() == Phase::Send).then_some((number % talkers) as usize)
}

/// Changes the address of each client once within `every`, and measures how soon the client is
/// answered over the new one.
async fn keep_moving(
    run: Arc<Run>,
    proxy: Arc<Proxy>,
    clients: Arc<[Client]>,
    every: Duration,
) -> Result<(), String> {
    let (started, mut answers) = (Instant::now(), JoinSet::new());
    for number in 0.. {
        let Some(index) = turn(&run, started, every, number).await else { break };
        let moved_ns = run.now_ns();
        let client = clients[index].clone();
        proxy.rebind(client.port()?).await?;
        run.rebinds.fetch_add(1, Ordering::Relaxed);
        let run = run.clone();
        answers.spawn(async move {
            if let Err(error) = client.answered().await {
                return run.trouble(format!("no answer after a change of address: {error}"));
            }
            let mut record = run.records.own();
            record.counts.rebinds_answered += 1;
            if run.is_measured(moved_ns) {
                record.gap.add_ns(run.now_ns().saturating_sub(moved_ns));
            }
        });
        while answers.try_join_next().is_some() {}
    }
    let all = async { while answers.join_next().await.is_some() {} };
    // Who is not answered by then never is, and is counted.
    let _ = tokio::time::timeout(PATIENCE, all).await;
    Ok(())
}

/// Cuts one direction of each client once within `every`.
async fn keep_cutting(
    run: Arc<Run>,
    proxy: Arc<Proxy>,
    clients: Arc<[Client]>,
    every: Duration,
    seed: u64,
) -> Result<(), String> {
    let (started, mut random) = (Instant::now(), fastrand::Rng::with_seed(seed));
    for number in 0.. {
        let Some(index) = turn(&run, started, every, number).await else { break };
        let direction = if random.bool() { Direction::Up } else { Direction::Down };
        let time = CUT_MIN + (CUT_MAX - CUT_MIN).mul_f64(random.f64());
        proxy.cut(clients[index].port()?, direction, time)?;
    }
    Ok(())
}
