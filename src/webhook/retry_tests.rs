//! When what failed is tried again.

use std::time::Duration;

use tokio::time::Instant;

use super::retry::{Spread, Turns, Verdict, backoff, retry_after};
use crate::limits::{WEBHOOK_BACKOFF_MAX, WEBHOOK_BREAKER_FAILURES, WEBHOOK_RETRY_AFTER_MAX};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_status_says_what_becomes_of_a_batch() {
    for (status, verdict) in [
        (200, Verdict::Delivered),
        (204, Verdict::Delivered),
        (299, Verdict::Delivered),
        (0, Verdict::Failed),
        (301, Verdict::Failed),
        (307, Verdict::Failed),
        (400, Verdict::Refused),
        (401, Verdict::Refused),
        (404, Verdict::Refused),
        (408, Verdict::Failed),
        (410, Verdict::Gone),
        (413, Verdict::Refused),
        (425, Verdict::Failed),
        (429, Verdict::Failed),
        (499, Verdict::Refused),
        (500, Verdict::Failed),
        (503, Verdict::Failed),
    ] {
        assert_eq!(Verdict::of(status), verdict, "{status}");
    }
}

#[test]
fn the_wait_doubles_up_to_a_minute_and_is_spread_over_its_upper_half() {
    for (failures, full_ms) in [(1, 250), (2, 500), (3, 1_000), (8, 32_000), (9, 60_000)] {
        assert_eq!(backoff(failures, 1.0), full_ms * MS, "{failures}");
        assert_eq!(backoff(failures, 0.0), full_ms * MS / 2, "{failures}");
    }
    assert_eq!(backoff(u32::MAX, 1.0), WEBHOOK_BACKOFF_MAX);
}

#[test]
fn an_endpoint_may_ask_for_seconds_or_for_a_date() {
    // Sun, 06 Nov 1994 08:49:37 GMT.
    let now_ms = 784_111_777_000;
    let seconds = |text: &str| retry_after(text, now_ms).map(|wait| wait.as_secs());
    assert_eq!(seconds("120"), Some(120));
    assert_eq!(seconds(" 0 "), Some(0));
    assert_eq!(seconds("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
    assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0), "it is past");
    assert_eq!(seconds("Mon, 07 Nov 1994 08:49:37 GMT"), Some(3600), "no longer than an hour");
    assert_eq!(seconds("99999999"), Some(WEBHOOK_RETRY_AFTER_MAX.as_secs()));
    for wrong in ["", "soon", "-1", "1.5", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994"] {
        assert_eq!(seconds(wrong), None, "{wrong}");
    }
}

fn all(_: u64) -> bool {
    true
}

#[test]
fn a_batch_that_failed_waits_and_the_others_do_not() {
    let (mut turns, now) = (Turns::new(), Instant::now());
    turns.add(1, now);
    turns.add(2, now);
    assert_eq!((turns.take(now, all), turns.take(now, all)), (Some(1), Some(2)));
    assert_eq!(turns.take(now, all), None);
    turns.failed(1, now, 1.0, None);
    turns.answered(2, now);
    turns.remove(2);
    turns.add(3, now);
    assert_eq!(turns.take(now, all), Some(3));
    assert_eq!(turns.wake_at(all), Some(now + 250 * MS));
    assert_eq!(turns.take(now + 249 * MS, all), None);
    assert_eq!(turns.take(now + 250 * MS, all), Some(1));
    assert_eq!((turns.tries(1), turns.trying()), (2, 2));
}

#[test]
fn an_endpoint_that_fails_is_probed_by_one_batch_after_the_other() {
    let (mut turns, mut now) = (Turns::new(), Instant::now());
    for number in 0..8 {
        turns.add(number, now);
    }
    while turns.take(now, all).is_some() {}
    for number in 0..8 {
        assert_eq!(turns.is_open(), number >= u64::from(WEBHOOK_BREAKER_FAILURES));
        turns.failed(number, now, 1.0, None);
    }
    // What was on its way when it opened counts once.
    let mut waits = Vec::new();
    let mut probes = Vec::new();
    for _ in 0..10 {
        let at = turns.wake_at(all).unwrap();
        waits.push((at - now).as_millis());
        now = at;
        let probe = turns.take(now, all).unwrap();
        assert_eq!((turns.take(now, all), turns.wake_at(all)), (None, None), "one at a time");
        turns.failed(probe, now, 1.0, None);
        probes.push(probe);
    }
    assert_eq!(waits[1..8], [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
    assert_eq!(probes[..8], [0, 1, 2, 3, 4, 5, 6, 7], "each has its turn");
    now = turns.wake_at(all).unwrap();
    let probe = turns.take(now, all).unwrap();
    turns.answered(probe, now);
    turns.remove(probe);
    assert!(!turns.is_open());
    let mut free = Vec::new();
    while let Some(number) = turns.take(now, all) {
        free.push(number);
    }
    assert_eq!(free.len(), 7, "all go out at once");
}

#[test]
fn an_endpoint_that_asks_to_be_left_alone_is() {
    let (mut turns, now) = (Turns::new(), Instant::now());
    turns.add(1, now);
    turns.add(2, now);
    assert_eq!(turns.take(now, all), Some(1));
    turns.failed(1, now, 1.0, Some(3_000 * MS));
    assert_eq!(turns.take(now + 2_999 * MS, all), None);
    assert_eq!(turns.wake_at(all), Some(now + 3_000 * MS));
    assert_eq!(turns.take(now + 3_000 * MS, all), Some(2));
}

#[test]
fn a_batch_that_may_not_go_yet_is_passed_over() {
    let (mut turns, now) = (Turns::new(), Instant::now());
    turns.add(1, now);
    turns.add(2, now);
    assert_eq!(turns.take(now, |number| number == 2), Some(2));
    assert_eq!(turns.wake_at(|_| false), None);
}

#[test]
fn urls_take_turns_and_one_that_fails_is_passed_over_while_there_is_another() {
    let (mut spread, now) = (Spread::new(3), Instant::now());
    let picks = |spread: &mut Spread, now| [0; 6].map(|_| spread.pick(now));
    assert_eq!(picks(&mut spread, now), [0, 1, 2, 0, 1, 2]);
    spread.failed(1, now, 1.0);
    assert_eq!(picks(&mut spread, now), [0, 2, 0, 2, 0, 2]);
    let later = now + 250 * MS;
    assert!(picks(&mut spread, later).contains(&1), "it has another chance");
    spread.answered(1);
    for url in 0..3 {
        spread.failed(url, now + url as u32 * MS, 1.0);
    }
    assert_eq!(spread.pick(now), 0, "if all fail, the one that may be back first");
    assert_eq!(Spread::new(1).pick(now), 0);
}

#[test]
fn what_an_endpoint_asked_for_holds_though_it_takes_others() {
    let (mut turns, now) = (Turns::new(), Instant::now());
    for number in 0..8 {
        turns.add(number, now);
        assert_eq!(turns.take(now, |_| true), Some(number));
    }
    let later = now + Duration::from_secs(30);
    turns.failed(0, now, 1.0, Some(Duration::from_secs(30)));
    turns.answered(1, now);
    turns.remove(1);
    assert_eq!(turns.take(now + Duration::from_secs(29), |_| true), None);
    assert_eq!(turns.wake_at(|_| true), Some(later));
    // Also when the breaker closes again.
    for number in 2..8 {
        turns.failed(number, now, 1.0, None);
    }
    assert!(turns.is_open());
    assert_eq!(turns.take(later, |_| true), Some(0));
    turns.failed(0, later, 1.0, Some(Duration::from_secs(60)));
    turns.add(9, later);
    turns.answered(9, later);
    assert_eq!(turns.wake_at(|_| true), Some(later + Duration::from_secs(60)));
}
