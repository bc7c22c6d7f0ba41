//! Restarts of the server at random moments, by SIGKILL and by drain.
//!
//! # Invariants
//!
//! * When, and how, is drawn from a seed before anything begins.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::LOOK;
use super::watching::Watching;
use crate::options::Common;
use crate::process;
use crate::progress::Progress;
use crate::scenario::rounded;
use crate::server::Server;

/// How a server is ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum How {
    Kill,
    Drain,
}

/// A restart that is planned.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    at: Duration,
    how: How,
}

/// A restart that was.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restarting {
    at_s: f64,
    how: How,
    /// How long it took to end; next to nothing for a kill.
    end_ms: f64,
    /// From starting the process to its answer that it is ready.
    ready_ms: f64,
    /// The server's memory before.
    rss_mib: Option<f64>,
}

impl Restarting {
    pub(super) fn is_kill(&self) -> bool {
        self.how == How::Kill
    }

    pub(super) fn ready_ms(&self) -> f64 {
        self.ready_ms
    }

    /// What a page shows of it.
    pub(super) fn cells(&self) -> [String; 5] {
        let how = if self.is_kill() { "SIGKILL" } else { "drain" };
        [
            format!("{:.1}", self.at_s),
            how.into(),
            format!("{:.0}", self.end_ms),
            format!("{:.0}", self.ready_ms),
            self.rss_mib.map(|mib| format!("{mib:.0}")).unwrap_or_default(),
        ]
    }
}

/// What happens to the server.
pub(super) struct Mischief {
    plans: Vec<Plan>,
    pub(super) done: Vec<Restarting>,
}

impl Mischief {
    /// Plans so many restarts within a time from the beginning.
    pub(super) fn plan(seed: u64, within: Duration, restarts: u32) -> Self {
        Self { plans: plans(seed, within, restarts), done: Vec::new() }
    }

    /// Does all of it, and waits until the time is over.
    ///
    /// # Errors
    ///
    /// When the server does not end well, or does not come back.
    pub(super) async fn play(
        &mut self,
        server: &mut Server,
        common: &Common,
        watching: &Watching,
        length: Duration,
        progress: &Progress,
    ) -> Result<(), String> {
        progress.begin("soaking", length.as_millis() as u64);
        let began = Instant::now();
        for plan in std::mem::take(&mut self.plans) {
            wait(server, began, plan.at, progress).await?;
            let rss_kib = server.pid.and_then(process::rss_kib);
            watching.pid.store(0, Ordering::Relaxed);
            let ending = Instant::now();
            match plan.how {
                How::Kill => server.kill().await?,
                How::Drain => server.drain().await?,
            }
            let end = ending.elapsed();
            let listening = server.start_again(common).await?;
            watching.pid.store(server.pid.unwrap_or_default(), Ordering::Relaxed);
            let ready = listening + server.api()?.until_ready().await?;
            self.done.push(Restarting {
                at_s: rounded(plan.at.as_secs_f64()),
                how: plan.how,
                end_ms: rounded(end.as_secs_f64() * 1e3),
                ready_ms: rounded(ready.as_secs_f64() * 1e3),
                rss_mib: rss_kib.map(|kib| rounded(kib as f64 / 1024.0)),
            });
        }
        wait(server, began, length, progress).await
    }
}

/// One restart in each part of the time, not at its edges.
fn plans(seed: u64, within: Duration, restarts: u32) -> Vec<Plan> {
    let mut random = fastrand::Rng::with_seed(seed);
    let part = within / restarts.max(1);
    let plan = |number: u32| Plan {
        at: part * number + part.mul_f64(0.1 + 0.8 * random.f64()),
        how: if random.bool() { How::Kill } else { How::Drain },
    };
    (0..restarts).map(plan).collect()
}

/// Waits for a moment; a server that ends before it is found out.
async fn wait(
    server: &Server,
    began: Instant,
    at: Duration,
    progress: &Progress,
) -> Result<(), String> {
    while began.elapsed() < at {
        if server.pid.is_some_and(|pid| !process::is_running(pid)) {
            return Err("the server is gone, and nobody killed it".into());
        }
        progress.reach(began.elapsed().as_millis() as u64);
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_spread_over_the_time_and_the_same_for_a_seed() {
        let length = Duration::from_secs(600);
        let planned = plans(7, length, 20);
        assert_eq!(planned, plans(7, length, 20));
        assert_ne!(planned, plans(8, length, 20));
        assert!(planned.is_sorted_by(|a, b| a.at < b.at) && planned[19].at < length);
        let kills = planned.iter().filter(|plan| plan.how == How::Kill).count();
        assert!((3..18).contains(&kills), "{kills} of 20 are kills");
        assert!(plans(7, length, 0).is_empty());
    }
}
