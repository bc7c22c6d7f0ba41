//! When what failed is tried again.
//!
//! # Invariants
//!
//! * Nothing here reads a clock or draws a number by itself: the caller says what time it is, and
//!   how the dice fell.
//! * While the breaker is open at most one request is on its way, and each batch has its turn at
//!   being that one, so that a batch that always fails keeps no other from being delivered.

use std::collections::BTreeMap;
use std::time::Duration;

use time::{Date, Month, PrimitiveDateTime, Time};
use tokio::time::Instant;

use crate::limits::{
    WEBHOOK_BACKOFF_MAX, WEBHOOK_BACKOFF_MIN, WEBHOOK_BREAKER_FAILURES, WEBHOOK_RETRY_AFTER_MAX,
};

/// What an answer means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It is delivered.
    Delivered,
    /// It may go better later.
    Failed,
    /// The endpoint wants nothing any more.
    Gone,
    /// It will never be taken.
    Refused,
}

impl Verdict {
    /// What a status says.
    pub(super) fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            410 => Self::Gone,
            408 | 425 | 429 => Self::Failed,
            400..=499 => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// How long to wait after so many failures in a row; `dice` is from 0 to 1.
pub(super) fn backoff(failures: u32, dice: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let full = (WEBHOOK_BACKOFF_MIN * (1 << doublings)).min(WEBHOOK_BACKOFF_MAX);
    full.mul_f64(0.5 + 0.5 * dice.clamp(0.0, 1.0))
}

/// What a `Retry-After` asks for: seconds, or a date.
pub(super) fn retry_after(text: &str, now_ms: i64) -> Option<Duration> {
    let text = text.trim();
    let asked = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let ms = date_ms(text)?.saturating_sub(now_ms);
            Duration::from_millis(u64::try_from(ms).unwrap_or(0))
        }
    };
    Some(asked.min(WEBHOOK_RETRY_AFTER_MAX))
}

/// Milliseconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date_ms(text: &str) -> Option<i64> {
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day = parts.next()?.parse().ok()?;
    let month = parts.next()?;
    let months = b"JanFebMarAprMayJunJulAugSepOctNovDec".chunks_exact(3);
    let month = 1 + months.into_iter().position(|name| name == month.as_bytes())? as u8;
    let year = parts.next()?.parse().ok()?;
    let mut clock = parts.next()?.splitn(3, ':').map(str::parse::<u8>);
    let mut next = || clock.next()?.ok();
    let time = Time::from_hms(next()?, next()?, next()?.min(59)).ok()?;
    if parts.next() != Some("GMT") {
        return None;
    }
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp() * 1000)
}

/// The breaker of an endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Breaker {
    /// Everything goes out; so many failures in a row.
    Closed { failures: u32 },
    /// One goes out at a time, not before this; so many have failed.
    Open { failures: u32, probe_at: Instant },
}

/// A batch that waits for its next try, or is being tried.
#[derive(Clone, Copy, Debug)]
struct Turn {
    tries: u32,
    not_before: Instant,
    last: Option<Instant>,
    /// When a try has failed first.
    failed: Option<Instant>,
    is_trying: bool,
}

/// Which batch of an endpoint is tried next, and when.
#[derive(Debug)]
pub(super) struct Turns {
    turns: BTreeMap<u64, Turn>,
    breaker: Breaker,
    /// What the endpoint has asked for.
    not_before: Option<Instant>,
    trying: usize,
}

impl Turns {
    /// Of an endpoint of which nothing is known.
    pub(super) fn new() -> Self {
        let breaker = Breaker::Closed { failures: 0 };
        Self { turns: BTreeMap::new(), breaker, not_before: None, trying: 0 }
    }

    /// A batch wants to be tried.
    pub(super) fn add(&mut self, number: u64, now: Instant) {
        let turn = Turn { tries: 0, not_before: now, last: None, failed: None, is_trying: false };
        self.turns.insert(number, turn);
    }

    /// A batch needs no further try.
    pub(super) fn remove(&mut self, number: u64) {
        if self.turns.remove(&number).is_some_and(|turn| turn.is_trying) {
            self.trying -= 1;
        }
    }

    /// The batch to be tried now, if it `may` be; it counts as being tried from here on.
    pub(super) fn take(&mut self, now: Instant, may: impl Fn(u64) -> bool) -> Option<u64> {
        if self.gate().is_some_and(|gate| now < gate) || self.is_open() && self.trying > 0 {
            return None;
        }
        let is_open = self.is_open();
        let due = |turn: &Turn| !turn.is_trying && (is_open || turn.not_before <= now);
        let waiting = self.turns.iter_mut().filter(|(number, turn)| due(turn) && may(**number));
        // The one that was tried longest ago, so that each has its turn.
        let (number, turn) = waiting.min_by_key(|(number, turn)| (turn.last, **number))?;
        turn.is_trying = true;
        turn.last = Some(now);
        turn.tries += 1;
        self.trying += 1;
        Some(*number)
    }

    /// When to look again, if nothing else happens.
    pub(super) fn wake_at(&self, may: impl Fn(u64) -> bool) -> Option<Instant> {
        if self.is_open() && self.trying > 0 {
            return None;
        }
        let waiting = self.turns.iter().filter(|(number, turn)| !turn.is_trying && may(**number));
        let is_open = self.is_open();
        let soonest = waiting.map(|(_, turn)| if is_open { None } else { Some(turn.not_before) });
        let soonest = soonest.min()?;
        self.gate().max(soonest)
    }

    /// How often a batch has been tried.
    pub(super) fn tries(&self, number: u64) -> u32 {
        self.turns.get(&number).map_or(0, |turn| turn.tries)
    }

    /// When the first try of a batch has failed, if one has.
    pub(super) fn failed_at(&self, number: u64) -> Option<Instant> {
        self.turns.get(&number)?.failed
    }

    /// A try was answered, whatever the answer says about the batch: the endpoint is there.
    pub(super) fn answered(&mut self, number: u64, now: Instant) {
        self.ended(number);
        if self.is_open() {
            // What has waited for the endpoint need not wait for its own time, too, unless the
            // endpoint has asked for it.
            let at = self.not_before.unwrap_or(now).max(now);
            self.turns.values_mut().for_each(|turn| turn.not_before = turn.not_before.min(at));
        }
        self.breaker = Breaker::Closed { failures: 0 };
    }

    /// A try has failed; `asked` is what the endpoint wants to be left alone for.
    pub(super) fn failed(&mut self, number: u64, now: Instant, dice: f64, asked: Option<Duration>) {
        let was_alone = self.trying <= 1;
        self.ended(number);
        self.not_before = self.not_before.max(asked.map(|asked| now + asked));
        if let Some(turn) = self.turns.get_mut(&number) {
            turn.failed.get_or_insert(now);
            turn.not_before = now + backoff(turn.tries, dice).max(asked.unwrap_or_default());
        }
        self.breaker = match self.breaker {
            Breaker::Closed { failures } if failures + 1 < WEBHOOK_BREAKER_FAILURES => {
                Breaker::Closed { failures: failures + 1 }
            }
            Breaker::Closed { .. } => {
                Breaker::Open { failures: 1, probe_at: now + backoff(1, dice) }
            }
            Breaker::Open { failures, .. } if was_alone => {
                let failures = failures + 1;
                Breaker::Open { failures, probe_at: now + backoff(failures, dice) }
            }
            // It was on its way before the breaker opened.
            open => open,
        };
    }

    /// Whether one request is on its way at a time, for the endpoint fails.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.breaker, Breaker::Open { .. })
    }

    /// Requests on their way.
    pub(super) fn trying(&self) -> usize {
        self.trying
    }

    fn gate(&self) -> Option<Instant> {
        let probe_at = match self.breaker {
            Breaker::Open { probe_at, .. } => Some(probe_at),
            Breaker::Closed { .. } => None,
        };
        self.not_before.max(probe_at)
    }

    fn ended(&mut self, number: u64) {
        if let Some(turn) = self.turns.get_mut(&number).filter(|turn| turn.is_trying) {
            turn.is_trying = false;
            self.trying -= 1;
        }
    }
}

/// Which of several URLs a request goes to.
#[derive(Debug)]
pub(super) struct Spread {
    next: usize,
    urls: Vec<Health>,
}

#[derive(Clone, Copy, Debug)]
struct Health {
    failures: u32,
    not_before: Option<Instant>,
}

impl Spread {
    /// Over so many URLs; at least one.
    pub(super) fn new(urls: usize) -> Self {
        Self { next: 0, urls: vec![Health { failures: 0, not_before: None }; urls.max(1)] }
    }

    /// The next URL: one after the other, but one that has failed is passed over for a while, if
    /// there is another.
    pub(super) fn pick(&mut self, now: Instant) -> usize {
        let count = self.urls.len();
        let turn = (0..count).map(|step| (self.next + step) % count);
        let waits = |url: &usize| self.urls[*url].not_before.filter(|at| *at > now);
        let url = turn.min_by_key(waits).unwrap_or(0);
        self.next = (url + 1) % count;
        url
    }

    /// A request to it was answered.
    pub(super) fn answered(&mut self, url: usize) {
        self.urls[url] = Health { failures: 0, not_before: None };
    }

    /// A request to it has failed.
    pub(super) fn failed(&mut self, url: usize, now: Instant, dice: f64) {
        let failures = self.urls[url].failures + 1;
        self.urls[url] = Health { failures, not_before: Some(now + backoff(failures, dice)) };
    }
}
