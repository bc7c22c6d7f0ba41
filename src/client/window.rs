//! The sends of one session that wait for their turn or for their answer.
//!
//! # Invariants
//!
//! * Numbers rise by one in the order of queueing. A send gets its number when it is first
//!   written, so that one given up before leaves no gap.
//! * What has been written on the current stream is a prefix of the queue, and so is what has a
//!   number. A new stream begins at the front, with the same numbers.
//! * The request number of a send follows from its number, and is even; those of other requests
//!   are odd.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The request number that goes with a send number.
pub(super) fn request_of(number: u64) -> u64 {
    number * 2
}

/// The send number that a request number goes with; `None` if it belongs to another request.
pub(super) fn number_of(request: u64) -> Option<u64> {
    (request != 0 && request.is_multiple_of(2)).then_some(request / 2)
}

#[derive(Debug)]
struct Entry<T> {
    /// 0 until it is first written.
    number: u64,
    queued: Instant,
    written: Instant,
    item: T,
}

/// What must be written next.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Next<'a, T> {
    pub(super) number: u64,
    /// All numbers below this have been answered.
    pub(super) answered: u64,
    /// It was written on an earlier stream.
    pub(super) again: bool,
    pub(super) item: &'a mut T,
}

/// A send that is given up.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct GivenUp<T> {
    pub(super) item: T,
    /// It was written at some time, so the server may have it.
    pub(super) maybe_stored: bool,
}

#[derive(Debug)]
pub(super) struct Window<T> {
    entries: VecDeque<Entry<T>>,
    /// How many, from the front, have been written on the current stream.
    written: usize,
    next_number: u64,
    written_max: usize,
    /// When the front was last answered.
    answered: Option<Instant>,
}

impl<T> Window<T> {
    pub(super) fn new() -> Self {
        let entries = VecDeque::new();
        Self { entries, written: 0, next_number: 1, written_max: 0, answered: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether something can be written.
    pub(super) fn has_next(&self) -> bool {
        self.written < self.entries.len().min(self.written_max)
    }

    /// Whether everything was written on the current stream.
    pub(super) fn all_written(&self) -> bool {
        self.written == self.entries.len()
    }

    /// Begins a new stream, on which nothing has been written.
    pub(super) fn begin(&mut self) {
        self.written = 0;
    }

    /// The stream is open: the server expects `next_number` next, and at most `written_max` sends
    /// without an answer.
    pub(super) fn opened(&mut self, next_number: u64, written_max: usize) {
        // A server that knows less than we do has lost the instance, or has not yet had what was
        // written early; numbers never fall.
        self.next_number = self.next_number.max(next_number);
        self.written_max = written_max;
    }

    pub(super) fn push(&mut self, item: T, queued: Instant) {
        self.entries.push_back(Entry { number: 0, queued, written: queued, item });
    }

    /// The next send for the current stream.
    pub(super) fn next(&mut self, now: Instant) -> Option<Next<'_, T>> {
        if !self.has_next() {
            return None;
        }
        let answered = match self.entries.front() {
            Some(first) if first.number != 0 => first.number,
            _ => self.next_number,
        };
        let entry = &mut self.entries[self.written];
        self.written += 1;
        entry.written = now;
        let again = entry.number != 0;
        if !again {
            entry.number = self.next_number;
            self.next_number += 1;
        }
        Some(Next { number: entry.number, answered, again, item: &mut entry.item })
    }

    /// Takes the send that has been answered; `None` if it is not known (any more).
    pub(super) fn answer(&mut self, number: u64, now: Instant) -> Option<T> {
        if number == 0 {
            return None;
        }
        let index = match self.entries.front() {
            Some(first) if first.number == number => {
                self.answered = Some(now);
                0
            }
            // Numbers rise; those of sends without one come last.
            _ => self
                .entries
                .binary_search_by_key(&number.wrapping_sub(1), |entry| entry.number.wrapping_sub(1))
                .ok()?,
        };
        self.remove(index).map(|gone| gone.item)
    }

    fn remove(&mut self, index: usize) -> Option<GivenUp<T>> {
        let entry = self.entries.remove(index)?;
        if index < self.written {
            self.written -= 1;
        }
        Some(GivenUp { item: entry.item, maybe_stored: entry.number != 0 })
    }

    /// Since when the oldest send on the current stream has been without an answer, or since the
    /// one before it was answered, if that is later: as long as they are answered in turn, many
    /// may take longer than one may.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        let front = self.entries.front().filter(|_| self.written > 0)?;
        Some(self.answered.map_or(front.written, |at| at.max(front.written)))
    }

    /// Takes the first send that was queued `timeout` ago or earlier.
    pub(super) fn expired(&mut self, now: Instant, timeout: Duration) -> Option<GivenUp<T>> {
        let first = self.entries.front()?;
        if now.duration_since(first.queued) < timeout { None } else { self.remove(0) }
    }

    /// Takes the first send, whatever its state.
    pub(super) fn give_up(&mut self) -> Option<GivenUp<T>> {
        self.remove(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Window<&'static str> {
        let mut window = Window::new();
        window.opened(1, 8);
        window
    }

    fn push(window: &mut Window<&'static str>, items: &[&'static str]) {
        items.iter().for_each(|item| window.push(item, Instant::now()));
    }

    /// Writes all there is: number, answered, item.
    fn written(window: &mut Window<&'static str>) -> Vec<(u64, u64, &'static str)> {
        let mut all = Vec::new();
        while let Some(next) = window.next(Instant::now()) {
            all.push((next.number, next.answered, *next.item));
        }
        all
    }

    #[test]
    fn numbers_rise_in_the_order_of_queueing() {
        let mut window = opened();
        push(&mut window, &["a", "b"]);
        assert_eq!(written(&mut window), [(1, 1, "a"), (2, 1, "b")]);
        push(&mut window, &["c"]);
        assert_eq!(written(&mut window), [(3, 1, "c")]);
    }

    #[test]
    fn the_server_says_where_numbers_begin() {
        let mut window = Window::new();
        window.opened(17, 8);
        push(&mut window, &["a"]);
        assert_eq!(written(&mut window), [(17, 17, "a")]);
    }

    #[test]
    fn what_was_not_answered_is_written_again_with_its_number_and_in_order() {
        let mut window = opened();
        push(&mut window, &["a", "b", "c", "d"]);
        written(&mut window);
        assert_eq!(window.answer(2, Instant::now()), Some("b"));
        push(&mut window, &["e"]);
        window.begin();
        window.opened(3, 8);
        assert_eq!(written(&mut window), [(1, 1, "a"), (3, 1, "c"), (4, 1, "d"), (5, 1, "e")]);
    }

    #[test]
    fn only_what_was_written_before_counts_as_a_resend() {
        let mut window = opened();
        push(&mut window, &["a"]);
        assert!(!window.next(Instant::now()).unwrap().again);
        push(&mut window, &["b"]);
        window.begin();
        window.opened(2, 8);
        assert!(window.next(Instant::now()).unwrap().again);
        assert!(!window.next(Instant::now()).unwrap().again);
    }

    #[test]
    fn answers_may_come_in_any_order_and_only_once() {
        let mut window = opened();
        push(&mut window, &["a", "b", "c", "d"]);
        for _ in 0..3 {
            window.next(Instant::now());
        }
        assert_eq!(window.answer(3, Instant::now()), Some("c"));
        assert_eq!(window.answer(3, Instant::now()), None);
        assert_eq!(window.answer(4, Instant::now()), None, "it was not written yet");
        assert_eq!(window.answer(0, Instant::now()), None);
        assert_eq!(window.answer(1, Instant::now()), Some("a"));
        assert_eq!(written(&mut window), [(4, 2, "d")], "2 is the lowest without an answer");
        assert_eq!(window.answer(2, Instant::now()), Some("b"));
        assert_eq!(window.answer(4, Instant::now()), Some("d"));
        assert!(window.is_empty());
        push(&mut window, &["e"]);
        assert_eq!(written(&mut window), [(5, 5, "e")]);
    }

    #[test]
    fn a_server_that_forgot_the_instance_does_not_turn_numbers_back() {
        let mut window = opened();
        push(&mut window, &["a", "b"]);
        written(&mut window);
        window.answer(1, Instant::now());
        window.begin();
        window.opened(1, 8);
        push(&mut window, &["c"]);
        assert_eq!(written(&mut window), [(2, 2, "b"), (3, 2, "c")]);
    }

    #[test]
    fn numbers_may_have_a_gap_where_the_server_is_ahead() {
        let mut window = opened();
        push(&mut window, &["a"]);
        written(&mut window);
        window.begin();
        window.opened(9, 8);
        push(&mut window, &["b"]);
        assert_eq!(written(&mut window), [(1, 1, "a"), (9, 1, "b")]);
        assert_eq!(window.answer(9, Instant::now()), Some("b"));
        assert_eq!(window.answer(1, Instant::now()), Some("a"));
    }

    #[test]
    fn what_was_written_before_the_stream_was_open_is_not_written_again() {
        let mut window = opened();
        push(&mut window, &["a", "b"]);
        written(&mut window);
        window.begin();
        let early = |next: Next<'_, &'static str>| (next.number, *next.item);
        assert_eq!(window.next(Instant::now()).map(early), Some((1, "a")));
        assert_eq!(
            window.answer(1, Instant::now()),
            Some("a"),
            "an answer may come before the stream is open"
        );
        window.opened(2, 8);
        push(&mut window, &["c"]);
        assert_eq!(written(&mut window), [(2, 2, "b"), (3, 2, "c")]);
    }

    #[test]
    fn no_more_are_written_than_the_server_allows_without_an_answer() {
        let mut window = Window::new();
        window.opened(1, 2);
        push(&mut window, &["a", "b", "c"]);
        assert_eq!(written(&mut window).len(), 2);
        assert!(!window.has_next() && !window.all_written());
        window.answer(1, Instant::now());
        assert_eq!(written(&mut window), [(3, 2, "c")]);
        assert!(window.all_written());
    }

    #[test]
    fn nothing_is_written_before_the_session_is_open() {
        let mut window = Window::new();
        push(&mut window, &["a"]);
        assert_eq!(written(&mut window), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_send_out_of_time_is_given_up_and_leaves_no_gap_if_it_was_not_written() {
        let timeout = Duration::from_secs(60);
        let mut window = Window::new();
        window.opened(1, 1);
        push(&mut window, &["a", "b"]);
        written(&mut window);
        tokio::time::advance(timeout / 2).await;
        push(&mut window, &["c"]);
        assert_eq!(window.expired(Instant::now(), timeout), None);
        tokio::time::advance(timeout / 2).await;
        let now = Instant::now();
        assert_eq!(window.expired(now, timeout), Some(GivenUp { item: "a", maybe_stored: true }));
        assert_eq!(window.expired(now, timeout), Some(GivenUp { item: "b", maybe_stored: false }));
        assert_eq!(window.expired(now, timeout), None);
        assert_eq!(written(&mut window), [(2, 2, "c")]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_without_an_answer_is_that_of_the_oldest_on_this_stream() {
        let mut window = opened();
        push(&mut window, &["a", "b"]);
        assert_eq!(window.unanswered_since(), None);
        let start = Instant::now();
        written(&mut window);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(window.unanswered_since(), Some(start));
        window.begin();
        window.opened(1, 8);
        assert_eq!(window.unanswered_since(), None);
        written(&mut window);
        assert_eq!(window.unanswered_since(), Some(start + Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn sends_that_are_answered_in_turn_are_not_without_an_answer() {
        let mut window = opened();
        push(&mut window, &["a", "b", "c"]);
        let start = Instant::now();
        written(&mut window);
        window.answer(1, start + Duration::from_secs(3));
        assert_eq!(window.unanswered_since(), Some(start + Duration::from_secs(3)));
        window.answer(3, start + Duration::from_secs(5));
        let since = window.unanswered_since();
        assert_eq!(since, Some(start + Duration::from_secs(3)), "it is not the front's turn");
    }

    #[test]
    fn request_numbers_of_sends_are_even_and_never_0() {
        assert_eq!(number_of(request_of(1)), Some(1));
        assert_eq!(number_of(0), None);
        assert_eq!(number_of(3), None);
    }
}
