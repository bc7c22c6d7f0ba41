//! Open loop between peers, while endpoints of the generator hear of every message by webhook.
//!
//! # Invariants
//!
//! * What counts as heard was in a request whose signature verified and that was answered with 204.
//! * Lag counts from the time at which a message should have been sent to the request that brought
//!   it, at every endpoint, so it includes the sending and the commit.

mod heard;
mod receiver;
mod receiving;
mod signature;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde::Serialize;

use crate::chat;
use crate::http::Line;
use crate::options::Webhook;
use crate::peer::Work;
use crate::process;
use crate::progress::Progress;
use crate::proof::Ledger;
use crate::rate;
use crate::report::Brief;
use crate::run::Phase;
use crate::scenario::{Outcome, Stage, rounded};
use heard::{Heard, Total};
use receiver::{Manners, Receiver};
pub(crate) use receiving::Receiving;
use signature::Secret;

/// How long the endpoints are waited for after the last message, beside the time for which they
/// were down.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked whether they have heard everything.
const LOOK: Duration = Duration::from_millis(20);
/// How often the server's memory is read while they are down.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// What webhooks prove and cost.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Webhooks {
    /// Events that the endpoints have heard, each once at each.
    pub(crate) events: u64,
    /// Messages acknowledged to their senders that an endpoint has not heard of.
    pub(crate) events_lost: u64,
    /// Events heard again, which their ids tell.
    pub(crate) events_repeated: u64,
    /// Events that came behind later ones of their conversation.
    pub(crate) events_out_of_order: u64,
    /// Requests with an id that had come before with other bytes.
    pub(crate) requests_changed: u64,
    /// Requests whose signature does not verify, or that are not what they should be.
    pub(crate) requests_bad: u64,
    /// Requests, those answered with 503 on purpose among them.
    pub(crate) requests: u64,
    /// Requests a second of one endpoint while messages were sent.
    pub(crate) requests_per_second: f64,
    /// Events of a request.
    pub(crate) batch_events: Sizes,
    /// From the intended send to the request that was answered with 204.
    pub(crate) lag_ms: Option<Brief>,
    /// What a time without receiver came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) down: Option<Down>,
}

/// How many.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Sizes {
    pub(crate) p50: u64,
    pub(crate) max: u64,
}

/// What a time without receiver came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Down {
    pub(crate) seconds: f64,
    /// Events that waited when the receiver came back.
    pub(crate) backlog: u64,
    /// How long until the server tried again.
    pub(crate) wait_seconds: f64,
    /// How long all of them took from then on.
    pub(crate) catch_up_seconds: f64,
    pub(crate) catch_up_per_second: f64,
    /// The server's memory a tenth into that time.
    pub(crate) rss_mib_early: Option<f64>,
    /// The server's memory at its end.
    pub(crate) rss_mib_late: Option<f64>,
}

impl Webhooks {
    /// What breaks the promise.
    pub(crate) fn wrong(&self) -> u64 {
        self.events_lost + self.events_out_of_order + self.requests_changed + self.requests_bad
    }

    /// The rows of a table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = vec![
            (
                "webhooks",
                format!(
                    "{} events heard, {} lost, {} repeated, {} out of order, {} requests changed, \
                     {} bad",
                    self.events,
                    self.events_lost,
                    self.events_repeated,
                    self.events_out_of_order,
                    self.requests_changed,
                    self.requests_bad
                ),
            ),
            (
                "requests",
                format!(
                    "{}, {:.1} a second, {} events at p50, {} at most",
                    self.requests,
                    self.requests_per_second,
                    self.batch_events.p50,
                    self.batch_events.max
                ),
            ),
        ];
        if let Some(Brief { p50, p99, max }) = self.lag_ms {
            rows.push(("lag", format!("p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms")));
        }
        if let Some(down) = &self.down {
            rows.push((
                "down",
                format!(
                    "{:.0} s, {:.1} s until the next try, then {} events in {:.1} s: {:.0}/s; \
                     memory {:.0} to {:.0} MiB",
                    down.seconds,
                    down.wait_seconds,
                    down.backlog,
                    down.catch_up_seconds,
                    down.catch_up_per_second,
                    down.rss_mib_early.unwrap_or(0.0),
                    down.rss_mib_late.unwrap_or(0.0)
                ),
            ));
        }
        rows
    }
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(crate) async fn run(stage: &Stage<'_>, options: &Webhook) -> Result<Outcome, String> {
    let fleet = &stage.fleet;
    let manners = Manners {
        latency: Duration::from_millis(u64::from(options.latency)),
        fail_percent: options.fail,
    };
    let secret = Secret::random();
    let heard: Arc<[Heard]> =
        (0..options.endpoints).map(|_| Heard::new(fleet.run.talkers)).collect();
    let receiver = Receiver::start(fleet.run.clone(), heard.clone(), secret.clone(), manners);
    let mut receiver = receiver.await?;
    let mut line = stage.server.api()?.open().await?;
    for index in 0..options.endpoints {
        create(&mut line, &receiver.url(index), index, &secret).await?;
    }
    let opening = stage.open(0..options.sessions, Work::Rate).await?;
    let from_ns = chat::plan(fleet, &options.talk.timing);
    if options.down {
        receiver.down().await;
    }
    let memory = options.down.then(|| Memory::watch(stage.server.pid));
    fleet.run.enter(Phase::Send);
    rate::start(&fleet.run, options.rate)?;
    let spent = chat::measure(stage, from_ns, &options.talk.timing).await?;
    let during = total(&heard).requests;
    fleet.settle(stage.progress).await;
    let mut down = memory.map(|memory| memory.end(spent.seconds));
    let back = Instant::now();
    if let Some(down) = &mut down {
        down.backlog = unheard(&fleet.run.ledger, &heard);
        receiver.up().await?;
    }
    let first = hear_out(&fleet.run.ledger, &heard, PATIENCE, stage.progress).await;
    if let Some(down) = &mut down {
        let seconds = first.elapsed().as_secs_f64();
        down.wait_seconds = rounded((first - back).as_secs_f64());
        down.catch_up_seconds = rounded(seconds);
        down.catch_up_per_second = rounded(down.backlog as f64 / seconds);
    }
    receiver.stop().await;
    let sent_for = spent.seconds + f64::from(options.talk.timing.warmup);
    let mut webhooks = told(&fleet.run.ledger, &heard);
    webhooks.requests_per_second = rounded(during as f64 / f64::from(options.endpoints) / sent_for);
    webhooks.down = down;
    Ok(Outcome { spent, opening: Some(opening), webhooks: Some(webhooks), ..Outcome::default() })
}

#[derive(Serialize)]
struct Definition<'a> {
    id: String,
    url: &'a str,
    dialect: &'static str,
    events: [&'static str; 1],
    secrets: [&'a str; 1],
}

/// Creates an endpoint that hears of messages.
async fn create(line: &mut Line, url: &str, index: u32, secret: &Secret) -> Result<(), String> {
    let definition = Definition {
        id: format!("loadtest-{index}"),
        url,
        dialect: "tidings",
        events: ["message.sent"],
        secrets: [secret.text()],
    };
    let body = serde_json::to_vec(&definition).map_err(|error| error.to_string())?;
    let answer = line.ask(Method::POST, "/v1/endpoints", body).await?;
    if answer.status == StatusCode::CREATED {
        return Ok(());
    }
    Err(format!("the endpoint was not created: {}", answer.problem()))
}

/// Waits until every endpoint has heard of every message. Says since when they heard.
async fn hear_out(
    ledger: &Ledger,
    heard: &[Heard],
    patience: Duration,
    progress: &Progress,
) -> Instant {
    let waiting = unheard(ledger, heard);
    progress.begin("hearing", waiting);
    let mut moved = (waiting, Instant::now());
    let mut first = moved.1;
    loop {
        let left = unheard(ledger, heard);
        progress.reach(waiting.saturating_sub(left));
        if left == waiting {
            first = Instant::now();
        }
        if left < moved.0 {
            moved = (left, Instant::now());
        }
        if left == 0 || moved.1.elapsed() >= patience {
            return first;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Messages that endpoints have not heard of yet, all endpoints together.
fn unheard(ledger: &Ledger, heard: &[Heard]) -> u64 {
    heard.iter().map(|one| one.lost(ledger)).sum()
}

fn total(heard: &[Heard]) -> Total {
    let mut total = Total::default();
    heard.iter().for_each(|one| one.add_to(&mut total));
    total
}

fn told(ledger: &Ledger, heard: &[Heard]) -> Webhooks {
    let total = total(heard);
    Webhooks {
        events: total.events,
        events_lost: unheard(ledger, heard),
        events_repeated: total.repeated,
        events_out_of_order: total.out_of_order,
        requests_changed: total.changed,
        requests_bad: total.bad,
        requests: total.requests,
        batch_events: total.sizes(),
        lag_ms: Brief::of(&total.lag),
        ..Webhooks::default()
    }
}

/// The server's memory, read again and again.
struct Memory(tokio::task::JoinHandle<()>, Arc<parking_lot::Mutex<Vec<u64>>>);

impl Memory {
    fn watch(pid: Option<u32>) -> Self {
        let readings = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let own = readings.clone();
        let watching = tokio::spawn(async move {
            loop {
                own.lock().extend(pid.and_then(process::rss_kib));
                tokio::time::sleep(MEMORY_EVERY).await;
            }
        });
        Self(watching, readings)
    }

    fn end(self, seconds: f64) -> Down {
        self.0.abort();
        let readings = self.1.lock();
        let mib = |kib: Option<&u64>| kib.map(|kib| rounded(*kib as f64 / 1024.0));
        Down {
            seconds,
            rss_mib_early: mib(readings.get(readings.len() / 10)),
            rss_mib_late: mib(readings.last()),
            ..Down::default()
        }
    }
}
