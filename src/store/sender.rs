//! What one client instance has sent: tells a repeat from a new message.
//!
//! # Invariants
//!
//! * A number is given to one message only. Asked again, it answers with that message; asked with
//!   another content, it refuses.
//! * At most [`SENDS_REMEMBERED`] sends are remembered, and none that the sender said was answered.

use std::collections::VecDeque;

use crate::id::MessageId;
use crate::limits::SENDS_REMEMBERED;
use crate::reason::Reason;

/// A message that was stored for a send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stored {
    pub(super) number: u64,
    pub(super) id: MessageId,
    pub(super) sequence: u32,
    pub(super) at_ms: i64,
    pub(super) hash: u32,
}

/// The sends of one client instance.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sender {
    pub(super) instance: u64,
    /// The highest number that was ever stored.
    pub(super) highest: u64,
    /// The sends that may come again, oldest first.
    pub(super) recent: VecDeque<Stored>,
}

/// What a number turns out to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    New,
    Repeat(Stored),
    Refused(Reason),
}

impl Sender {
    pub(super) fn new(instance: u64) -> Self {
        Self { instance, ..Self::default() }
    }

    /// Whether a send is new.
    pub(super) fn judge(&self, number: u64, hash: u32) -> Verdict {
        if number > self.highest {
            return Verdict::New;
        }
        match self.recent.iter().find(|stored| stored.number == number) {
            Some(stored) if stored.hash == hash => Verdict::Repeat(*stored),
            Some(_) => Verdict::Refused(Reason::NumberReused),
            None => Verdict::Refused(Reason::TooOld),
        }
    }

    /// Remembers a stored send, and forgets those below `answered`.
    pub(super) fn remember(&mut self, stored: Stored, answered: u64) {
        while self.recent.front().is_some_and(|oldest| oldest.number < answered) {
            self.recent.pop_front();
        }
        if self.recent.len() == SENDS_REMEMBERED {
            self.recent.pop_front();
        }
        self.highest = self.highest.max(stored.number);
        self.recent.push_back(stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(number: u64) -> Stored {
        Stored { number, id: MessageId(number as i64), sequence: 1, at_ms: 0, hash: number as u32 }
    }

    #[test]
    fn a_repeat_gets_the_first_answer_and_another_content_is_refused() {
        let mut sender = Sender::new(7);
        assert_eq!(sender.judge(1, 1), Verdict::New);
        sender.remember(stored(1), 0);
        assert_eq!(sender.judge(1, 1), Verdict::Repeat(stored(1)));
        assert_eq!(sender.judge(1, 2), Verdict::Refused(Reason::NumberReused));
        assert_eq!(sender.judge(2, 2), Verdict::New);
    }

    #[test]
    fn a_number_that_is_one_too_old_to_be_remembered_is_refused_and_never_stored_again() {
        let mut sender = Sender::new(7);
        let one_over = SENDS_REMEMBERED as u64 + 1;
        (1..=one_over).for_each(|number| sender.remember(stored(number), 0));
        assert_eq!(sender.judge(1, 1), Verdict::Refused(Reason::TooOld));
        assert_eq!(sender.judge(2, 2), Verdict::Repeat(stored(2)));
        assert_eq!(sender.recent.len(), SENDS_REMEMBERED);
    }

    #[test]
    fn answered_sends_are_forgotten() {
        let mut sender = Sender::new(7);
        (1..=9).for_each(|number| sender.remember(stored(number), 0));
        sender.remember(stored(10), 10);
        assert_eq!(sender.recent.len(), 1);
        assert_eq!(sender.judge(9, 9), Verdict::Refused(Reason::TooOld));
    }
}
