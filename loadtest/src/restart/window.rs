//! What is sent between a restart and the receivers' return, at five points of the start-up, by
//! SIGKILL and by drain.
//!
//! # Invariants
//!
//! * The clients are behind a proxy that holds each back, from the end of the old server until all
//!   was sent: whatever is sent to them is sent before they return.
//! * Each gets more messages than the window of a peer that is away, so that a server that takes
//!   them for away drops some, and is found out.
//! * Nobody is held for as long as the server waits before it takes them for away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::library::{Books, Client, Library, await_all};
use crate::measure::Spent;
use crate::options::{Restart, Scenario, With};
use crate::progress::Progress;
use crate::proxy::{Direction, Proxy};
use crate::report::Report;
use crate::run::{Phase, Run};
use crate::scenario::{self, Outcome, rounded};
use crate::server::Server;

/// How long a client is held back at the most; they are let go before.
const HELD_MAX: Duration = Duration::from_secs(600);
/// After so long without a session a peer is away, and the server may begin to drop.
const AWAY_AFTER: Duration = Duration::from_secs(60);
/// How long clients may take to come back, and what was sent to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Kill,
    Drain,
}

/// When the sending begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Moment {
    /// The server is gone; nothing listens. The back end asks until it is answered.
    Gone,
    /// The port of QUIC is bound.
    Bound,
    /// The server says that it is ready.
    Ready,
    /// The first client is back, and is the one who sends.
    First,
    /// Half of the clients are back, and send to the others.
    Half,
}

const MOMENTS: [Moment; 5] =
    [Moment::Gone, Moment::Bound, Moment::Ready, Moment::First, Moment::Half];

impl Moment {
    /// What a person reads.
    fn told(self) -> &'static str {
        match self {
            Self::Gone => "before a port is bound",
            Self::Bound => "when QUIC is bound",
            Self::Ready => "when it is ready",
            Self::First => "when the first is back",
            Self::Half => "when half are back",
        }
    }
}

/// What one restart came to.
#[derive(Clone, Debug, Serialize)]
struct Window {
    how: How,
    moment: Moment,
    /// Messages acknowledged while their receivers were held back.
    sent: u64,
    lost: u64,
    dropped: u64,
    /// From the start of the server until the receivers were let go.
    held_s: f64,
    /// From then until all were back.
    back_s: f64,
    /// Clients that did not come back.
    missing: u64,
}

/// What all restarts came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Windows {
    clients: u32,
    /// Messages for each receiver.
    messages: u32,
    windows: Vec<Window>,
}

impl Windows {
    /// What breaks the promise; what is lost is counted for the whole run.
    pub(crate) fn wrong(&self) -> u64 {
        let wrong = |window: &Window| {
            let late = window.held_s >= AWAY_AFTER.as_secs_f64();
            window.dropped + window.missing + u64::from(late)
        };
        self.windows.iter().map(wrong).sum()
    }

    /// What a person reads: names and values.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let row = |window: &Window| {
            let Window { sent, lost, dropped, held_s, back_s, missing, .. } = window;
            let late = match *held_s >= AWAY_AFTER.as_secs_f64() {
                true => " (too long to prove anything)",
                false => "",
            };
            let told = format!(
                "{}: {sent} sent, {lost} lost, {dropped} dropped, {missing} missing; held for \
                 {held_s:.1} s{late}, all back {back_s:.1} s later",
                window.moment.told()
            );
            (if window.how == How::Kill { "SIGKILL" } else { "drain" }, told)
        };
        self.windows.iter().map(row).collect()
    }
}

/// All that takes part.
struct Scene<'a> {
    run: Arc<Run>,
    restart: &'a With<Restart>,
    /// Messages for each receiver.
    messages: u32,
    proxy: Proxy,
    clients: Vec<Client>,
    backend: Backend,
    books: Arc<Books>,
    progress: &'a Progress,
}

/// Runs the scenario.
///
/// # Errors
///
/// Why it could not be run to its end.
pub(super) async fn run(
    scenario: &Scenario,
    restart: &With<Restart>,
    messages: u32,
    server: &mut Server,
    progress: &Progress,
) -> Result<Report, String> {
    let mut run = Run::new(restart.sessions + 1, scenario.payload(), false);
    run.talkers = restart.sessions;
    let run = Arc::new(run);
    let books = Arc::new(Books::plain(restart.sessions + 1));
    let proxy = Proxy::start(server.address, fastrand::u64(..)).await?;
    let address = proxy.address()?;
    let opening = Library::open(&run, server, address, restart.sessions, &books, progress).await;
    let (library, took) = opening?;
    run.measure(run.now_ns(), u64::MAX);
    run.enter(Phase::Send);
    let began = Instant::now();
    let backend = Backend::new(&run, restart.sessions, &books, server.api()?.clone());
    let clients = library.clients.clone();
    let mut scene =
        Scene { run: run.clone(), restart, messages, proxy, clients, backend, books, progress };
    let mut windows = Vec::new();
    let mut failed = None;
    for (how, moment) in
        [How::Kill, How::Drain].into_iter().flat_map(|how| MOMENTS.map(|m| (how, m)))
    {
        match scene.play(server, how, moment).await {
            Ok(window) => windows.push(window),
            Err(why) => {
                failed = Some(why);
                break;
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    await_all(&run, PATIENCE, progress).await;
    library.fence().await;
    drop(scene.clients);
    library.end().await;
    if let Some(why) = failed {
        return Err(why);
    }
    let outcome = Outcome {
        spent: Spent { seconds, ..Spent::default() },
        opening: Some((restart.sessions, took)),
        ..Outcome::default()
    };
    let mut report = scenario::report(scenario, &run, outcome);
    report.filesystem = server.filesystem.clone();
    report.server = server.served.clone();
    report.windows = Some(Windows { clients: restart.sessions, messages, windows });
    Ok(report)
}

impl Scene<'_> {
    /// One restart.
    async fn play(
        &mut self,
        server: &mut Server,
        how: How,
        moment: Moment,
    ) -> Result<Window, String> {
        let told = format!("{} by {how:?}", moment.told());
        self.progress.begin(&told, 0);
        let (before, counts) = (self.run.ledger.verdict(), self.run.records.counts());
        match how {
            How::Kill => server.kill().await?,
            How::Drain => server.drain().await?,
        }
        let all = self.clients.clone();
        all.iter().try_for_each(|client| self.hold(client, HELD_MAX))?;
        let started = Instant::now();
        let mut missing = 0;
        let held = match moment {
            Moment::Gone => {
                let to = self.to_each(&all);
                let again = server.start_again(&self.restart.common);
                let (again, ()) = tokio::join!(again, self.backend.send_many(&to));
                again?;
                &all[..]
            }
            Moment::Bound | Moment::Ready => {
                server.start_again(&self.restart.common).await?;
                if moment == Moment::Ready {
                    server.api()?.until_ready().await?;
                }
                let to = self.to_each(&all);
                self.backend.send_many(&to).await;
                &all[..]
            }
            Moment::First | Moment::Half => {
                server.start_again(&self.restart.common).await?;
                let back = if moment == Moment::First { 1 } else { all.len() / 2 };
                let (back, held) = all.split_at(back);
                missing += self.let_back(back).await?;
                self.send(back, held).await;
                held
            }
        };
        let held_s = started.elapsed().as_secs_f64();
        let sent = self.run.records.counts().acked - counts.acked;
        let released = Instant::now();
        missing += self.let_back(held).await?;
        let back_s = released.elapsed().as_secs_f64();
        self.arrive().await;
        let after = self.run.ledger.verdict();
        Ok(Window {
            how,
            moment,
            sent,
            lost: after.lost.saturating_sub(before.lost),
            dropped: after.dropped - before.dropped,
            held_s: rounded(held_s),
            back_s: rounded(back_s),
            missing,
        })
    }

    /// The receivers, each as often as it gets messages.
    fn to_each(&self, held: &[Client]) -> Vec<u32> {
        let once = held.iter().map(|client| client.index);
        (0..self.messages).flat_map(|_| once.clone()).collect()
    }

    /// Those who are back send to those who are not.
    async fn send(&self, back: &[Client], held: &[Client]) {
        let mut sending = JoinSet::new();
        for (place, client) in back.iter().enumerate() {
            let to: Vec<u32> =
                held.iter().skip(place).step_by(back.len()).map(|held| held.index).collect();
            let (client, books, times) = (client.clone(), self.books.clone(), self.messages);
            sending.spawn(async move {
                for _ in 0..times {
                    client.send_to(&to, &books).await;
                }
            });
        }
        while sending.join_next().await.is_some() {}
    }

    /// Holds back all that a client says and is told, for so long.
    fn hold(&self, client: &Client, time: Duration) -> Result<(), String> {
        let port = client.port()?;
        // One whose socket is new has nothing to be held back yet.
        let _ = self.proxy.cut(port, Direction::Up, time);
        let _ = self.proxy.cut(port, Direction::Down, time);
        Ok(())
    }

    /// Lets clients go, and waits until all are back; says how many are not.
    async fn let_back(&self, clients: &[Client]) -> Result<u64, String> {
        let mut coming = JoinSet::new();
        for client in clients {
            self.hold(client, Duration::ZERO)?;
            let client = client.clone();
            coming.spawn(async move { client.answered().await });
        }
        let mut back = 0;
        let all = async {
            while let Some(came) = coming.join_next().await {
                back += u64::from(matches!(came, Ok(Ok(()))));
            }
        };
        // Who is not back by then is missing.
        let _ = tokio::time::timeout(PATIENCE, all).await;
        Ok(clients.len() as u64 - back)
    }

    /// Waits until all that was acknowledged has come, or nothing comes any more.
    async fn arrive(&self) {
        let (began, run) = (Instant::now(), &self.run);
        loop {
            let counts = run.records.counts();
            let came = counts.delivered + counts.duplicated + run.ledger.verdict().dropped;
            if came >= counts.due || began.elapsed() > PATIENCE {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
