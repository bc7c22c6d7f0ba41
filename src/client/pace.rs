//! When to acknowledge, and when to try again.
//!
//! # Invariants
//!
//! * Nothing above what the server put to the current stream is ever acknowledged on it, and
//!   nothing that the app has not had.
//! * An acknowledgement leaves with the next frame out, after [`CLIENT_ACK_MESSAGES`], or
//!   alone [`AckPace::patience`] after the message came or the app had it, whatever is first.

use std::time::Duration;

use tokio::time::Instant;

use crate::id::MessageId;
use crate::limits::{
    CLIENT_ACK_DELAY, CLIENT_ACK_DELAY_MIN, CLIENT_ACK_MESSAGES, CLIENT_BACKOFF_MAX,
    CLIENT_BACKOFF_MIN,
};

/// What is acknowledged, and when.
#[derive(Debug)]
pub(super) struct AckPace {
    /// The last message that the app has had.
    had: MessageId,
    /// Messages that the app had since the last acknowledgement.
    count: usize,
    /// The last message that the server put to the current stream.
    delivered: MessageId,
    /// The last message acknowledged on the current stream.
    acked: MessageId,
    /// When what is to be acknowledged is so even alone.
    due_at: Option<Instant>,
    /// When the writer looks next by itself.
    look_at: Option<Instant>,
    /// A round trip by now.
    rtt: Duration,
    /// When company left last, and the time before.
    company: [Option<Instant>; 2],
}

impl AckPace {
    /// The app has had everything up to `had`.
    pub(super) fn new(had: MessageId) -> Self {
        Self {
            had,
            count: 0,
            delivered: had,
            acked: had,
            due_at: None,
            look_at: None,
            rtt: Duration::ZERO,
            company: [None; 2],
        }
    }

    /// The last message that the app has had.
    pub(super) fn had_up_to(&self) -> MessageId {
        self.had
    }

    /// Begins a new stream, whose Open told what the app has had.
    pub(super) fn opened(&mut self, told: MessageId) {
        *self = Self { had: self.had, ..Self::new(told) };
    }

    /// The server put a message to the current stream. Says whether the writer must look at
    /// [`Self::look_at`] again.
    #[must_use]
    pub(super) fn delivered(&mut self, id: MessageId, now: Instant) -> bool {
        self.delivered = self.delivered.max(id);
        // Most apps have a message within the delay; then one timer serves both.
        self.arm(now)
    }

    /// The app has had everything up to `id`. Says whether the writer must be woken.
    #[must_use]
    pub(super) fn had(&mut self, id: MessageId, now: Instant) -> bool {
        if id <= self.had {
            return false;
        }
        self.had = id;
        self.count += 1;
        self.count == CLIENT_ACK_MESSAGES || self.arm(now)
    }

    fn arm(&mut self, now: Instant) -> bool {
        let patience = self.patience(now);
        let due_at = *self.due_at.get_or_insert(now + patience);
        let arms = self.look_at.is_none_or(|at| at > due_at);
        if arms {
            self.look_at = Some(due_at);
        }
        arms
    }

    /// How long an acknowledgement of what comes now waits for company: four fifths of what QUIC
    /// waits with its own, which so travels with it. Where company comes so often that the next
    /// is likely to come first, as long as it may: it is not worth a packet of its own.
    fn patience(&self, now: Instant) -> Duration {
        if let [Some(last), Some(before)] = self.company
            && last - before <= CLIENT_ACK_DELAY
            && now - last <= CLIENT_ACK_DELAY
        {
            return CLIENT_ACK_DELAY;
        }
        (self.rtt * 4 / 5).clamp(CLIENT_ACK_DELAY_MIN, CLIENT_ACK_DELAY)
    }

    /// A round trip takes `rtt` by now.
    pub(super) fn follow(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// A frame that an acknowledgement may travel with leaves now.
    pub(super) fn accompany(&mut self, now: Instant) {
        self.company = [Some(now), self.company[0]];
    }

    /// When the writer looks next if nothing wakes it before.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Whether an acknowledgement should leave even alone. After the time to look has come, the
    /// next one is that of what came since the last acknowledgement, or set by the next message.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = self.due_at.filter(|at| *at > now);
            if self.look_at.is_none() {
                return self.due_at.take().is_some();
            }
        }
        self.count >= CLIENT_ACK_MESSAGES
    }

    /// What to acknowledge now, if anything; it counts as acknowledged.
    pub(super) fn take(&mut self) -> Option<MessageId> {
        let id = self.had.min(self.delivered);
        (self.count, self.due_at) = (0, None);
        (id > self.acked).then(|| {
            self.acked = id;
            id
        })
    }
}

/// Waits that double from [`CLIENT_BACKOFF_MIN`] to [`CLIENT_BACKOFF_MAX`].
#[derive(Debug)]
pub(super) struct Backoff {
    wait_max: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { wait_max: CLIENT_BACKOFF_MIN }
    }

    /// How long to wait this time: between half of the wait and all of it, so that clients which
    /// lost a server at the same time do not come back at the same time.
    pub(super) fn next_wait(&mut self) -> Duration {
        let wait = self.wait_max.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.wait_max = (self.wait_max * 2).min(CLIENT_BACKOFF_MAX);
        wait
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::QUIC_ACK_DELAY;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> AckPace {
        AckPace::new(MessageId::NONE)
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_had_is_acknowledged_after_the_delay() {
        let mut pace = pace();
        let start = Instant::now();
        assert!(pace.delivered(MessageId(1), start), "the writer must learn of the timer");
        assert!(!pace.had(MessageId(1), start + 5 * MS), "the timer serves already");
        assert_eq!(pace.look_at(), Some(start + CLIENT_ACK_DELAY_MIN));
        assert!(!pace.is_due(start + CLIENT_ACK_DELAY_MIN - MS));
        assert!(pace.is_due(start + CLIENT_ACK_DELAY_MIN));
        assert_eq!(pace.take(), Some(MessageId(1)));
        assert_eq!((pace.take(), pace.look_at()), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn an_acknowledgement_leaves_before_one_of_quic_would() {
        let mut pace = pace();
        let mut now = Instant::now();
        for (id, rtt, waits) in
            [(1, MS, 20 * MS), (2, 50 * MS, 40 * MS), (3, QUIC_ACK_DELAY * 2, 200 * MS)]
        {
            pace.follow(rtt);
            assert!(pace.delivered(MessageId(id), now));
            assert_eq!(pace.look_at(), Some(now + waits));
            assert!(!pace.is_due(now + waits - MS));
            assert!(pace.is_due(now + waits));
            assert!(waits < rtt.clamp(25 * MS, QUIC_ACK_DELAY));
            now += waits;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_often_says_something_acknowledges_with_it() {
        let start = Instant::now();
        let [often, seldom] = [CLIENT_ACK_DELAY, CLIENT_ACK_DELAY + MS];
        let (patient, prompt) = (CLIENT_ACK_DELAY, CLIENT_ACK_DELAY_MIN);
        for (gap, quiet, waits) in
            [(often, often, patient), (seldom, MS, prompt), (MS, seldom, prompt)]
        {
            let mut pace = pace();
            pace.accompany(start);
            let last = start + gap;
            pace.accompany(last);
            let now = last + quiet;
            assert!(pace.delivered(MessageId(1), now));
            assert_eq!(pace.look_at(), Some(now + waits), "after {gap:?} and {quiet:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_of_patience_is_set_anew_where_less_is_due() {
        let mut pace = pace();
        let start = Instant::now();
        pace.accompany(start);
        pace.accompany(start);
        assert!(pace.delivered(MessageId(1), start + CLIENT_ACK_DELAY));
        assert!(!pace.had(MessageId(1), start + CLIENT_ACK_DELAY));
        assert_eq!(pace.take(), Some(MessageId(1)), "with another frame");
        let now = start + CLIENT_ACK_DELAY + MS;
        assert!(pace.delivered(MessageId(2), now), "the timer there is too late");
        assert_eq!(pace.look_at(), Some(now + CLIENT_ACK_DELAY_MIN));
        assert!(!pace.had(MessageId(2), now));
        assert!(pace.is_due(now + CLIENT_ACK_DELAY_MIN));
        assert_eq!((pace.take(), pace.look_at()), (Some(MessageId(2)), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_an_acknowledgement_that_had_company_waits_anew() {
        let mut pace = pace();
        let start = Instant::now();
        assert!(pace.delivered(MessageId(1), start));
        assert!(!pace.had(MessageId(1), start));
        assert_eq!(pace.take(), Some(MessageId(1)), "with another frame");
        assert!(!pace.delivered(MessageId(2), start + 5 * MS), "the timer is there");
        assert!(!pace.had(MessageId(2), start + 5 * MS));
        assert!(!pace.is_due(start + CLIENT_ACK_DELAY_MIN));
        assert_eq!(pace.look_at(), Some(start + CLIENT_ACK_DELAY_MIN + 5 * MS));
        assert!(pace.is_due(start + CLIENT_ACK_DELAY_MIN + 5 * MS));
        assert_eq!(pace.take(), Some(MessageId(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_finds_nothing_owed_says_nothing() {
        let mut pace = pace();
        let start = Instant::now();
        assert!(pace.delivered(MessageId(1), start));
        assert!(!pace.had(MessageId(1), start));
        assert_eq!(pace.take(), Some(MessageId(1)), "with another frame");
        assert!(!pace.is_due(start + CLIENT_ACK_DELAY_MIN));
        assert_eq!(pace.look_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_takes_its_time_wakes_the_writer() {
        let mut pace = pace();
        let start = Instant::now();
        assert!(pace.delivered(MessageId(1), start));
        assert!(pace.is_due(start + CLIENT_ACK_DELAY_MIN));
        assert_eq!(pace.take(), None, "the app has had nothing");
        let late = start + Duration::from_secs(1);
        assert!(pace.had(MessageId(1), late));
        assert_eq!(pace.look_at(), Some(late + CLIENT_ACK_DELAY_MIN));
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_are_acknowledged_without_waiting() {
        let mut pace = pace();
        let now = Instant::now();
        let messages = CLIENT_ACK_MESSAGES as i64;
        for id in 1..=messages {
            let armed = pace.delivered(MessageId(id), now);
            assert_eq!(armed, id == 1);
            assert_eq!(pace.had(MessageId(id), now), id == messages);
            assert_eq!(pace.is_due(now), id == messages);
        }
        assert_eq!(pace.take(), Some(MessageId(messages)));
        assert!(!pace.is_due(now));
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_stream_delivered_waits_until_this_one_has() {
        let mut pace = pace();
        let now = Instant::now();
        for id in 1..=5 {
            let _ = pace.delivered(MessageId(id), now);
        }
        let _ = pace.had(MessageId(2), now);
        pace.opened(MessageId(2));
        assert_eq!(pace.take(), None, "the Open has told it");
        let _ = pace.had(MessageId(5), now);
        assert_eq!(pace.take(), None, "the new stream has delivered nothing");
        let _ = pace.delivered(MessageId(4), now);
        assert_eq!(pace.take(), Some(MessageId(4)));
        let _ = pace.delivered(MessageId(6), now);
        assert_eq!(pace.take(), Some(MessageId(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_acknowledgement_does_nothing() {
        let mut pace = pace();
        let now = Instant::now();
        let _ = pace.delivered(MessageId(9), now);
        let _ = pace.had(MessageId(9), now);
        assert!(!pace.had(MessageId(4), now));
        assert_eq!(pace.had_up_to(), MessageId(9));
        assert_eq!(pace.take(), Some(MessageId(9)));
    }

    #[test]
    fn waits_double_within_their_bounds_and_differ() {
        let mut backoff = Backoff::new();
        let mut full = CLIENT_BACKOFF_MIN;
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            full = (full * 2).min(CLIENT_BACKOFF_MAX);
        }
        assert_eq!(full, CLIENT_BACKOFF_MAX);
        backoff.reset();
        assert!(backoff.next_wait() <= CLIENT_BACKOFF_MIN);
    }
}
