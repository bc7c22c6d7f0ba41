//! Asking for pages and taking the time.
//!
//! # Invariants
//!
//! * The time of a page is that of all requests that it takes, each to the last byte of its answer;
//!   checking it is not in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hyper::{Method, StatusCode};
use serde::Serialize;
use tokio::task::JoinSet;

use super::LOOK;
use super::past::{KINDS, Kind, PAGE, Part, Past, Wish};
use crate::http::{Answer, Line};
use crate::process;
use crate::progress::Progress;
use crate::record::Times;
use crate::report::Brief;
use crate::scenario::{per, rounded};
use crate::server::Server;

/// Problems that are kept for the report; the rest is only counted.
const TROUBLES_MAX: usize = 5;
/// Parts of a page at the most; a server that gives more is lost.
const PARTS_MAX: usize = 1_000;

/// The pages of one kind.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pages {
    pub(super) kind: Kind,
    pub(super) in_flight: u32,
    pages: u64,
    /// Requests that they took.
    pub(super) requests: u64,
    pub(super) pages_per_second: f64,
    server_cpu_us_per_page: Option<f64>,
    /// From the newest message on, and from a random place in the past.
    pub(super) newest_ms: Option<Brief>,
    pub(super) past_ms: Option<Brief>,
    pub(super) all_ms: Option<Brief>,
}

/// Who asks.
pub(super) struct Asking<'a> {
    past: Arc<Past>,
    /// Pages of a kind.
    each: u64,
    progress: &'a Progress,
    asked: Arc<AtomicU64>,
    pub(super) pages: Vec<Pages>,
    pub(super) wrong: u64,
    pub(super) troubles: Vec<String>,
}

/// What one connection has found.
#[derive(Default)]
struct Taken {
    newest: Times,
    past: Times,
    requests: u64,
    wrong: u64,
    troubles: Vec<String>,
}

impl<'a> Asking<'a> {
    /// Nothing was asked for yet; `each` is how many pages of a kind will be, for each
    /// [`Self::ask`].
    pub(super) fn new(past: Arc<Past>, each: u64, progress: &'a Progress) -> Self {
        // Twice: one after another, and several at a time.
        progress.begin("asking", each * KINDS.len() as u64 * 2);
        let (asked, pages, troubles) = (Arc::default(), Vec::new(), Vec::new());
        Self { past, each, progress, asked, pages, wrong: 0, troubles }
    }

    /// Asks for all pages of a kind, so many at a time.
    ///
    /// # Errors
    ///
    /// When the server does not answer at all.
    pub(super) async fn ask(
        &mut self,
        kind: Kind,
        in_flight: u32,
        server: &Server,
    ) -> Result<(), String> {
        let mut asking = JoinSet::new();
        let cpu_us = || server.pid.and_then(process::cpu_us);
        let (began, cpu_before_us) = (Instant::now(), cpu_us());
        for part in 0..u64::from(in_flight) {
            let (line, past) = (server.api()?.open().await?, self.past.clone());
            let numbers = (part..self.each).step_by(in_flight as usize);
            asking.spawn(ask(kind, line, past, numbers, self.asked.clone()));
        }
        let mut all = Taken::default();
        loop {
            match tokio::time::timeout(LOOK, asking.join_next()).await {
                Ok(Some(taken)) => all.merge(taken.map_err(|error| error.to_string())??),
                Ok(None) => break,
                Err(_) => self.progress.reach(self.asked.load(Ordering::Relaxed)),
            }
        }
        let (seconds, cpu_after_us) = (began.elapsed().as_secs_f64(), cpu_us());
        let spent_us = cpu_before_us.zip(cpu_after_us).map(|(before, after)| after - before);
        let mut both = all.newest.clone();
        both.merge(&all.past);
        self.pages.push(Pages {
            kind,
            in_flight,
            pages: self.each,
            requests: all.requests,
            pages_per_second: rounded(self.each as f64 / seconds),
            server_cpu_us_per_page: per(spent_us, self.each as f64),
            newest_ms: Brief::of(&all.newest),
            past_ms: Brief::of(&all.past),
            all_ms: Brief::of(&both),
        });
        self.wrong += all.wrong;
        let room = TROUBLES_MAX.saturating_sub(self.troubles.len());
        self.troubles.extend(all.troubles.into_iter().take(room));
        Ok(())
    }
}

impl Taken {
    fn merge(&mut self, other: Self) {
        self.newest.merge(&other.newest);
        self.past.merge(&other.past);
        self.requests += other.requests;
        self.wrong += other.wrong;
        self.troubles.extend(other.troubles);
    }
}

/// Asks for the pages with these numbers, over one connection: every other one is of the newest.
async fn ask(
    kind: Kind,
    mut line: Line,
    past: Arc<Past>,
    numbers: impl Iterator<Item = u64>,
    asked: Arc<AtomicU64>,
) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut random = fastrand::Rng::new();
    for (_, turn) in numbers.zip(0u64..) {
        let is_newest = turn % 2 == 0;
        let wish = past.wish(kind, is_newest, &mut random);
        let wish = wish.ok_or_else(|| format!("nothing was told of the kind {kind:?}"))?;
        let (answers, took_ns) = turn_to(&mut line, &past, &wish).await?;
        taken.requests += answers.len() as u64;
        let parts: Result<Vec<_>, String> = answers.iter().map(read).collect();
        if let Err(why) = parts.and_then(|parts| past.check(&wish, &parts)) {
            taken.wrong += 1;
            if taken.troubles.len() < TROUBLES_MAX {
                taken.troubles.push(format!("{wish:?}: {why}"));
            }
        }
        let times = if is_newest { &mut taken.newest } else { &mut taken.past };
        times.add_ns(took_ns);
        asked.fetch_add(1, Ordering::Relaxed);
    }
    Ok(taken)
}

/// Asks for the parts of a page until it is whole; says how long the server took, in nanoseconds.
async fn turn_to(line: &mut Line, past: &Past, wish: &Wish) -> Result<(Vec<Answer>, u64), String> {
    let mut before = wish.before.map(|before| before.to_string());
    let (mut answers, mut took_ns, mut left) = (Vec::new(), 0, PAGE.min(wish.left));
    loop {
        let mut path = past.path(wish, left);
        if let Some(before) = &before {
            path += "&before=";
            path += before;
        }
        let began = Instant::now();
        let answer = line.ask(Method::GET, &path, "").await?;
        took_ns += began.elapsed().as_nanos() as u64;
        // A part that cannot be read is the last one, and is found out when all are checked.
        let (came, next) = match read(&answer) {
            Ok(part) => (part.len(), part.next().map(str::to_owned)),
            Err(_) => (0, None),
        };
        answers.push(answer);
        left = left.saturating_sub(came);
        before = next;
        if left == 0 || before.is_none() || answers.len() >= PARTS_MAX {
            return Ok((answers, took_ns));
        }
    }
}

fn read(answer: &Answer) -> Result<Part<'_>, String> {
    answer.read(StatusCode::OK)
}
