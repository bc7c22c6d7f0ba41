//! How an endpoint does.
//!
//! # Invariants
//!
//! * Only the endpoint's flusher says how it does; everybody else reads.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use super::attempts::{Attempt, Attempts, Outcome};
use super::dialect::Fragment;
use crate::metrics::EndpointFigures;
use crate::store::EndpointState;

/// Over how long rates are told.
const RATE_WINDOW: Duration = Duration::from_secs(60);
/// In how many parts the window moves on.
const RATE_PARTS: i64 = 12;

/// How an endpoint does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Requests that were taken, since the server started.
    pub ok: u64,
    /// Requests that failed, since the server started.
    pub failed: u64,
    /// Requests that were refused, since the server started.
    pub refused: u64,
    /// Events that were delivered, since the server started.
    pub events: u64,
    /// Events delivered a second, over the last minute.
    pub events_per_second: f64,
    /// How old the oldest event of the last request was when it was taken, in milliseconds; or how
    /// old the oldest is that is not delivered, if that is older.
    pub lag_ms: i64,
    /// When the oldest event happened that is not delivered, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Events that are not delivered, as far as they are looked at ahead. There may be more behind
    /// them in the log.
    pub waiting: usize,
    /// Requests on their way.
    pub in_flight: usize,
    /// Whether the endpoint fails, and one request at a time finds out whether it still does.
    pub breaker_open: bool,
    /// Why it takes nothing, if it does not.
    pub halted: Option<String>,
    /// Dead letters.
    pub letters: usize,
    /// Bytes of these.
    pub letter_bytes: u64,
    /// When a request was taken last, in milliseconds since 1970.
    pub last_ok_ms: Option<i64>,
    /// The last request that was not taken.
    pub last_error: Option<Attempt>,
}

/// What an endpoint's flusher puts up for others to read.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) attempts: Attempts,
    figures: EndpointFigures,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    health: Health,
    /// Events delivered, by part of the window.
    rates: VecDeque<(i64, u64)>,
}

impl Board {
    /// Of an endpoint that has tried nothing.
    pub(super) fn new(figures: EndpointFigures) -> Self {
        Self { attempts: Attempts::default(), figures, state: Mutex::default() }
    }

    /// How the endpoint does.
    pub(super) fn health(&self, now_ms: i64) -> Health {
        let mut state = self.state.lock();
        state.forget(now_ms);
        let events: u64 = state.rates.iter().map(|(_, events)| events).sum();
        let mut health = state.health.clone();
        health.events_per_second = events as f64 / RATE_WINDOW.as_secs_f64();
        let age_ms = health.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
        health.lag_ms = health.lag_ms.max(age_ms);
        health
    }

    /// Something was tried.
    pub(super) fn tried(&self, attempt: Attempt) {
        self.figures.deliveries[attempt.outcome as usize].inc();
        let mut state = self.state.lock();
        let health = &mut state.health;
        match attempt.outcome {
            Outcome::Ok => {
                health.ok += 1;
                health.last_ok_ms = Some(attempt.at_ms);
            }
            Outcome::Failed => health.failed += 1,
            Outcome::Refused => health.refused += 1,
        }
        if attempt.outcome != Outcome::Ok {
            health.last_error = Some(attempt.clone());
        }
        drop(state);
        self.attempts.push(attempt);
    }

    /// Fragments were taken.
    pub(super) fn delivered(&self, fragments: &[Fragment], now_ms: i64) {
        let Some(oldest_ms) = fragments.iter().map(|fragment| fragment.at_ms).min() else { return };
        let (lag_ms, events) = (now_ms.saturating_sub(oldest_ms).max(0), fragments.len() as u64);
        self.figures.events.inc_by(events);
        for fragment in fragments {
            let lag_ms = now_ms.saturating_sub(fragment.at_ms).max(0);
            self.figures.lag_seconds.observe(lag_ms as f64 / 1000.0);
        }
        let mut state = self.state.lock();
        state.health.events += events;
        state.health.lag_ms = lag_ms;
        state.forget(now_ms);
        let part = part(now_ms);
        match state.rates.back_mut().filter(|(at, _)| *at == part) {
            Some((_, sum)) => *sum += events,
            None => state.rates.push_back((part, events)),
        }
    }

    /// What is on its way and what waits.
    pub(super) fn busy(
        &self,
        (waiting, in_flight): (usize, usize),
        breaker_open: bool,
        oldest_ms: Option<i64>,
        now_ms: i64,
    ) {
        let age_ms = oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest).max(0));
        self.figures.oldest_seconds.set(age_ms as f64 / 1000.0);
        self.figures.in_flight.set(in_flight as i64);
        self.figures.breaker.set(breaker_open.into());
        let health = &mut self.state.lock().health;
        (health.waiting, health.in_flight, health.breaker_open) =
            (waiting, in_flight, breaker_open);
        health.oldest_ms = oldest_ms;
    }

    /// What is kept about the endpoint.
    pub(super) fn kept(&self, state: &EndpointState) {
        self.figures.letters.set(state.letters as i64);
        self.figures.halted.set(state.halted.is_some().into());
        let health = &mut self.state.lock().health;
        (health.letters, health.letter_bytes) = (state.letters, state.letter_bytes);
        health.halted = state.halted.clone();
    }

    /// So many messages of which that they wait is told are not in the log any more.
    pub(super) fn missed(&self, messages: usize) {
        self.figures.missed.inc_by(messages as u64);
    }

    /// A part of the log was lost.
    pub(super) fn lost(&self) {
        self.figures.gaps.inc();
    }
}

impl State {
    fn forget(&mut self, now_ms: i64) {
        let first = part(now_ms) - RATE_PARTS;
        while self.rates.front().is_some_and(|(part, _)| *part <= first) {
            self.rates.pop_front();
        }
    }
}

/// The part of the window that a time is in.
fn part(now_ms: i64) -> i64 {
    now_ms.div_euclid(RATE_WINDOW.as_millis() as i64 / RATE_PARTS)
}
