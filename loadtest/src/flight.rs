//! The sends of one peer that await their answers.
//!
//! # Invariants
//!
//! * Numbers rise by one, and each is answered once.

use std::collections::VecDeque;

/// A send that awaits its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Send {
    pub(crate) intended_ns: u64,
    /// The peer that it is for, the first of several; `None` for the group.
    pub(crate) to: Option<u32>,
}

/// The sends that await their answers, by their numbers.
#[derive(Debug)]
pub(crate) struct Flight {
    /// All numbers below this have been answered.
    first: u64,
    /// From `first` on; `None` is answered.
    sends: VecDeque<Option<Send>>,
    unanswered: usize,
}

impl Flight {
    /// Nothing is in flight; `first` is the next number.
    pub(crate) fn new(first: u64) -> Self {
        Self { first, sends: VecDeque::new(), unanswered: 0 }
    }

    /// All numbers below this have been answered.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Sends that await their answers.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Numbers from the oldest unanswered to the newest.
    pub(crate) fn len(&self) -> usize {
        self.sends.len()
    }

    /// Gives a send its number.
    pub(crate) fn begin(&mut self, send: Send) -> u64 {
        self.sends.push_back(Some(send));
        self.unanswered += 1;
        self.first + self.sends.len() as u64 - 1
    }

    /// The send that an answer is for; `None` if there is none, or it was answered.
    pub(crate) fn answered(&mut self, number: u64) -> Option<Send> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let send = self.sends.get_mut(at)?.take()?;
        self.unanswered -= 1;
        while let Some(None) = self.sends.front() {
            self.sends.pop_front();
            self.first += 1;
        }
        Some(send)
    }
}
