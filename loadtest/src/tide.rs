//! How much all sessions of a run are to send at the moment.
//!
//! # Invariants
//!
//! * A session counts by itself what is due, so that offering many times what a server carries
//!   costs the generator next to nothing.
//! * What was due and not written when the tide turns is never sent.

use std::collections::VecDeque;

use parking_lot::RwLock;

use crate::rate::offset_ns;

/// How much is to be sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Level {
    /// Nothing.
    #[default]
    Still,
    /// Each session keeps so many sends in flight.
    Closed { window: usize },
    /// So many messages a second in all are due from a moment on, whatever the server does; each
    /// session has no more than so many unanswered.
    Open { from_ns: u64, per_second: u64, unanswered_max: usize },
    /// What the mail says.
    Mail,
}

/// The level of a run.
#[derive(Debug, Default)]
pub(crate) struct Tide(RwLock<Level>);

/// How far one session is in what is due at an open level.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    from_ns: u64,
    next: u64,
}

impl Tide {
    /// The level now.
    pub(crate) fn level(&self) -> Level {
        *self.0.read()
    }

    /// The tide turns.
    pub(crate) fn turn(&self, level: Level) {
        *self.0.write() = level;
    }

    /// Whether a session sends now, and when that counts as due: an open level counts from the
    /// writing, for what waits before that waits in the client.
    pub(crate) fn next(
        &self,
        session: (u32, u32),
        unanswered: usize,
        mark: &mut Mark,
        now_ns: u64,
        due: &mut VecDeque<u64>,
    ) -> Option<u64> {
        let level = self.level();
        if level != Level::Still && !due.is_empty() {
            // What the mail said before the tide turned is late, and not to be later.
            return due.pop_front();
        }
        match level {
            Level::Still | Level::Mail => None,
            Level::Closed { window } => (unanswered < window).then_some(now_ns),
            Level::Open { from_ns, per_second, unanswered_max } => {
                let is_due = mark.is_due(from_ns, per_second, session, now_ns);
                (unanswered < unanswered_max && is_due).then(|| {
                    mark.next += u64::from(session.1);
                    now_ns
                })
            }
        }
    }
}

impl Mark {
    /// Whether a session, the first of so many in `session`, has something due.
    fn is_due(
        &mut self,
        from_ns: u64,
        per_second: u64,
        (index, count): (u32, u32),
        now_ns: u64,
    ) -> bool {
        if self.from_ns != from_ns {
            *self = Self { from_ns, next: u64::from(index % count) };
        }
        from_ns + offset_ns(self.next, per_second) <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    fn open(from_ns: u64, per_second: u64) -> Level {
        Level::Open { from_ns, per_second, unanswered_max: 128 }
    }

    fn sent(tide: &Tide, index: u32, mark: &mut Mark, now_ns: u64, unanswered: usize) -> usize {
        let mut due = VecDeque::new();
        let next = |_| tide.next((index, 4), unanswered, mark, now_ns, &mut due);
        (0..1_000).map_while(next).count()
    }

    #[test]
    fn sessions_share_what_is_due() {
        let tide = Tide::default();
        tide.turn(open(SECOND_NS, 100));
        let mut marks = [Mark::default(); 4];
        let at = |now_ns, marks: &mut [Mark; 4]| -> usize {
            (0..).zip(marks).map(|(index, mark)| sent(&tide, index, mark, now_ns, 0)).sum()
        };
        assert_eq!(at(SECOND_NS - 1, &mut marks), 0, "not yet");
        assert_eq!(at(SECOND_NS, &mut marks), 1);
        assert_eq!(at(2 * SECOND_NS - 1, &mut marks), 99);
        assert_eq!(at(3 * SECOND_NS - 1, &mut marks), 100);
        tide.turn(open(9 * SECOND_NS, 100));
        assert_eq!(at(8 * SECOND_NS, &mut marks), 0, "what was due before is given up");
        assert_eq!(at(10 * SECOND_NS - 1, &mut marks), 100);
    }

    #[test]
    fn no_more_is_unanswered_than_a_session_may_have() {
        let (tide, mut mark) = (Tide::default(), Mark::default());
        tide.turn(open(0, 1_000));
        assert_eq!(sent(&tide, 0, &mut mark, SECOND_NS, 128), 0);
        assert_eq!(sent(&tide, 0, &mut mark, SECOND_NS, 127), 251);
    }

    #[test]
    fn a_closed_level_keeps_its_window_and_the_mail_says_what_is_due() {
        let (tide, mut mark) = (Tide::default(), Mark::default());
        let mut due = VecDeque::from([7]);
        assert_eq!(tide.next((0, 1), 0, &mut mark, 9, &mut due), None, "still");
        tide.turn(Level::Closed { window: 2 });
        assert_eq!(tide.next((0, 1), 2, &mut mark, 9, &mut due), Some(7), "left of the mail");
        due.push_back(8);
        tide.turn(Level::Mail);
        assert_eq!(tide.next((0, 1), 2, &mut mark, 9, &mut due), Some(8));
        tide.turn(Level::Closed { window: 2 });
        assert_eq!(tide.next((0, 1), 1, &mut mark, 9, &mut due), Some(9));
        assert_eq!(tide.next((0, 1), 2, &mut mark, 9, &mut due), None);
        tide.turn(Level::Mail);
        assert_eq!(tide.next((0, 1), 2, &mut mark, 9, &mut due), None);
    }
}
