//! What was tried last, for whoever wants to see how an endpoint does.
//!
//! # Invariants
//!
//! * The newest attempts are remembered, and no more than the limit.
//! * No attempt tells a secret, or what was in a body of ours.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::limits::{WEBHOOK_ATTEMPTS_MAX, WEBHOOK_ERROR_BYTES_MAX};

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Outcome {
    /// It was taken.
    Ok,
    /// It may go better later.
    Failed,
    /// It will never be taken.
    Refused,
}

impl Outcome {
    /// Every outcome there is.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Failed, Self::Refused];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// One request to an endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// How long it took.
    pub took: Duration,
    /// The id of the request.
    pub request: String,
    /// Where it went, without the values in the query.
    pub url: String,
    /// Events it had; 0 for one that only asks whether the endpoint answers.
    pub events: usize,
    /// Bytes of its body.
    pub bytes: usize,
    /// Which try it was, from 1.
    pub number: u32,
    /// The status of the answer; 0 if there was none.
    pub status: u16,
    /// What came of it.
    pub outcome: Outcome,
    /// Why there was no answer, or how an answer that was no success begins.
    pub said: String,
}

/// The newest attempts of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<VecDeque<Attempt>>);

impl Attempts {
    /// Remembers one, and forgets the oldest if there are too many.
    pub(super) fn push(&self, attempt: Attempt) {
        let mut attempts = self.0.lock();
        if attempts.len() >= WEBHOOK_ATTEMPTS_MAX {
            attempts.pop_front();
        }
        attempts.push_back(attempt);
    }

    /// Up to `max` of them, the newest first.
    pub(super) fn newest(&self, max: usize) -> Vec<Attempt> {
        self.0.lock().iter().rev().take(max).cloned().collect()
    }
}

/// A text short enough to be remembered, in one line.
pub(super) fn short(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short = String::new();
    for c in plain {
        if short.len() + c.len_utf8() > WEBHOOK_ERROR_BYTES_MAX {
            break;
        }
        short.push(c);
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_attempts_are_remembered_and_no_more_than_the_limit() {
        let attempts = Attempts::default();
        for number in 0..WEBHOOK_ATTEMPTS_MAX as u32 + 5 {
            attempts.push(Attempt {
                at_ms: 0,
                took: Duration::ZERO,
                request: String::new(),
                url: String::new(),
                events: 1,
                bytes: 1,
                number,
                status: 200,
                outcome: Outcome::Ok,
                said: String::new(),
            });
        }
        let all = attempts.newest(usize::MAX);
        assert_eq!(all.len(), WEBHOOK_ATTEMPTS_MAX);
        assert_eq!((all[0].number, all[all.len() - 1].number), (1_004, 5));
        assert_eq!(attempts.newest(2).len(), 2);
    }

    #[test]
    fn a_text_is_cut_at_a_character_and_has_one_line() {
        assert_eq!(short("a\r\nb"), "a  b");
        let cut = short(&"ä".repeat(200));
        assert_eq!(cut.len(), WEBHOOK_ERROR_BYTES_MAX);
    }
}
