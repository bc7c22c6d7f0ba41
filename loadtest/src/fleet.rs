//! Many sessions at once, over a few sockets.
//!
//! # Invariants
//!
//! * At most [`OPENING_MAX`] sessions are being opened at a time.
//! * The first session that cannot be opened ends the run: a smaller fleet proves something else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use quinn::Endpoint;
use tokio::task::JoinSet;

use crate::carrier::Carrier;
use crate::peer::Work;
use crate::process;
use crate::progress::Progress;
use crate::run::{Phase, Run};
use crate::server::Server;

/// Sessions being opened at a time.
const OPENING_MAX: u32 = 64;
/// How often the progress of a wait is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long what is under way may make no progress before it counts as lost.
const STUCK: Duration = Duration::from_secs(10);

/// How long a session lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// To the end of the run.
    Held,
    /// It must end by itself within this time, and the next one is only opened then.
    Within(Duration),
    /// Until its peer logs out, which opens another one when that is due.
    Restless,
}

/// The sessions of one run and what carries them.
pub(crate) struct Fleet {
    pub(crate) run: Arc<Run>,
    carrier: Carrier,
    /// The server's process, where it can be looked at.
    pid: Option<u32>,
}

impl Fleet {
    /// A fleet without sessions, over `sockets` sockets where sessions share them.
    ///
    /// # Errors
    ///
    /// When the system gives no sockets.
    pub(crate) fn new(run: Run, server: &Server, sockets: usize) -> Result<Self, String> {
        let carrier = Carrier::new(server, sockets)?;
        let run = Arc::new(run);
        let ticking = run.clone();
        std::thread::Builder::new()
            .name("ticker".into())
            .spawn(move || ticking.tick())
            .map_err(|error| format!("cannot start the ticker: {error}"))?;
        Ok(Self { run, carrier, pid: server.pid })
    }

    /// Opens the sessions of the peers `indices` and lets them run; says how long it took.
    ///
    /// # Errors
    ///
    /// Why the first that failed could not be opened.
    pub(crate) async fn open(
        &self,
        indices: std::ops::Range<u32>,
        work: impl Fn(u32) -> Work + Send + Sync + 'static,
        life: Life,
        progress: &Progress,
    ) -> Result<Duration, String> {
        self.open_few(indices, work, life, OPENING_MAX, progress).await
    }

    /// The same, with no more than so many being opened at a time, those included that must end
    /// before the next one.
    ///
    /// # Errors
    ///
    /// Why the first that failed could not be opened.
    pub(crate) async fn open_few(
        &self,
        indices: std::ops::Range<u32>,
        work: impl Fn(u32) -> Work + Send + Sync + 'static,
        life: Life,
        at_once: u32,
        progress: &Progress,
    ) -> Result<Duration, String> {
        progress.begin("opening", u64::from(indices.end - indices.start));
        let started = Instant::now();
        let next = Arc::new(AtomicU32::new(indices.start));
        let work = Arc::new(work);
        let mut openers: JoinSet<Result<(), String>> = JoinSet::new();
        for _ in 0..at_once.min(indices.end - indices.start) {
            let (next, work) = (next.clone(), work.clone());
            let (run, carrier) = (self.run.clone(), self.carrier.clone());
            let end = indices.end;
            openers.spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= end {
                        return Ok(());
                    }
                    carrier.play(run.clone(), index, work(index), life).await?;
                }
            });
        }
        loop {
            match tokio::time::timeout(LOOK, openers.join_next()).await {
                Ok(Some(opener)) => opener.map_err(|error| error.to_string())??,
                Ok(None) => return Ok(started.elapsed()),
                Err(_) => {
                    let begun = next.load(Ordering::Relaxed).min(indices.end) - indices.start;
                    progress.reach(u64::from(begun));
                }
            }
        }
    }

    /// Waits until a moment of the run's clock.
    ///
    /// # Errors
    ///
    /// When the server or every session is gone.
    pub(crate) async fn wait_until(&self, ns: u64, progress: &Progress) -> Result<(), String> {
        let moment = self.run.at(ns);
        let (started, reached) = (Instant::now(), progress.reached());
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            progress.reach(reached + started.elapsed().as_millis() as u64);
            self.check_alive()?;
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    fn check_alive(&self) -> Result<(), String> {
        if self.pid.is_some_and(|pid| !process::is_running(pid)) {
            return Err("the server is gone".into());
        }
        if self.run.open.load(Ordering::Relaxed) > 0 {
            return Ok(());
        }
        Err(format!("every session is gone: {}", self.run.troubles().join("; ")))
    }

    /// Awaits every answer and every delivery, then the last sign of life of every session.
    pub(crate) async fn settle(&self, progress: &Progress) {
        self.quiet(progress).await;
        self.fence(progress).await;
    }

    /// Awaits every answer and every delivery.
    pub(crate) async fn quiet(&self, progress: &Progress) {
        self.run.enter(Phase::Quiet);
        progress.begin("settling", 0);
        let counts = || self.run.records.counts();
        self.until_steady(|| {
            let counts = counts();
            let missing = counts.due.saturating_sub(counts.delivered + counts.duplicated);
            let begun = counts.sent.max(self.run.asked.load(Ordering::Relaxed));
            let unanswered = begun - counts.acked - counts.refused;
            (unanswered + missing, counts.sent + counts.acked + counts.delivered)
        })
        .await;
    }

    /// Awaits a last sign of life of every session.
    pub(crate) async fn fence(&self, progress: &Progress) {
        self.run.enter(Phase::Fence);
        progress.begin("fencing", 0);
        self.until_steady(|| {
            let fenced = self.run.fenced.load(Ordering::Relaxed);
            (self.run.open.load(Ordering::Relaxed).saturating_sub(fenced), fenced)
        })
        .await;
    }

    /// Waits until nothing is left of something, or nothing has come for a while.
    ///
    /// `look` says what is left and a number that rises when something comes.
    pub(crate) async fn until_steady(&self, look: impl Fn() -> (u64, u64)) {
        let mut last = (look().1, Instant::now());
        loop {
            let (left, came) = look();
            if left == 0 || last.1.elapsed() > STUCK {
                return;
            }
            if came != last.0 {
                last = (came, Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The sockets; the peers are spread over them by their indices.
    pub(crate) fn endpoints(&self) -> Arc<[Endpoint]> {
        self.carrier.endpoints()
    }

    /// Ends every session and closes the sockets; leaves nothing behind in a broker that goes on.
    pub(crate) async fn end(self, server: &Server, progress: &Progress) {
        self.run.enter(Phase::End);
        self.run.stop_ticking();
        self.until_steady(|| {
            let open = self.run.open.load(Ordering::Relaxed);
            (open, u64::MAX - open)
        })
        .await;
        if server.remembers() {
            let (all, life) = (0..self.run.mail.len() as u32, Life::Within(STUCK));
            // A broker that is gone has nothing to forget.
            let _ = self.open(all, |_| Work::Forget, life, progress).await;
        }
        self.carrier.close().await;
    }
}
