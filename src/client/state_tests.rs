//! What the handles of a session and its driver share, without a connection.
//!
//! # Invariants
//!
//! * Time stands still until a test moves it.

use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::inward::Taken;
use super::outward::Work;
use super::requests::Effect;
use super::state::{Shared, Stored, Told};
use super::*;
use crate::id::{DeviceId, MessageId, PeerId};
use crate::limits::CLIENT_SENDS_MAX;
use crate::wire;

const TIMEOUT: Duration = Duration::from_secs(60);

fn peer() -> PeerId {
    PeerId::new("ann").unwrap()
}

fn shared() -> Shared {
    Shared::new(&OpenOptions::new(peer()))
}

fn open(shared: &Shared, sends_max: u64) {
    let frame = wire::Opened {
        session: crate::id::SessionId(1),
        epoch: 7,
        device: DeviceId::new("device").unwrap(),
        next_number: 1,
        waiting: 0,
        dropped: 0,
        at_ms: 1,
        online: vec![],
        frame_bytes_max: 66 * 1024,
        body_bytes_max: 100,
        recipients_max: 2,
        sends_max,
    };
    shared.begin(false, &mut BytesMut::new());
    shared.opened(&frame, Told::default(), None);
}

fn send(shared: &Shared) -> oneshot::Receiver<Result<Stored, SendError>> {
    let (answer, sending) = oneshot::channel();
    shared.permits.try_acquire().unwrap().forget();
    shared.push_send(Outgoing::to(peer(), "text"), Instant::now(), answer).unwrap();
    sending
}

/// Writes what there is; says how many bytes.
fn write(shared: &Shared) -> usize {
    let mut out = BytesMut::new();
    let work = shared.compose(Duration::ZERO, &mut out);
    assert_eq!(matches!(work, Work::Write), !out.is_empty());
    out.len()
}

fn events(shared: &Shared) -> Vec<Event> {
    std::iter::from_fn(|| shared.pop(None).ok().flatten()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_send_out_of_time_may_be_stored_only_if_it_was_written() {
    let shared = shared();
    open(&shared, 1);
    let (mut written, mut waiting) = (send(&shared), send(&shared));
    assert!(write(&shared) > 0);
    tokio::time::advance(TIMEOUT).await;
    assert_eq!(shared.expire(TIMEOUT), None, "no send is left");
    assert_eq!(written.try_recv(), Ok(Err(SendError::MaybeStored)));
    assert_eq!(waiting.try_recv(), Ok(Err(SendError::TimedOut)));
    assert_eq!(shared.permits.available_permits(), CLIENT_SENDS_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_end_settles_every_send_and_every_close() {
    let shared = shared();
    open(&shared, 1);
    let (mut written, mut waiting) = (send(&shared), send(&shared));
    write(&shared);
    let mut closing = shared.close();
    shared.finish(None);
    assert_eq!(written.try_recv(), Ok(Err(SendError::MaybeStored)));
    assert_eq!(waiting.try_recv(), Ok(Err(SendError::Ended)));
    assert_eq!(closing.try_recv(), Ok(Err(RequestError::Ended)));
    let ping = shared.ask(Effect::None, |request| wire::Ping { request }.into());
    assert_eq!(ping.await.err(), Some(RequestError::Ended));
}

#[test]
fn a_server_cannot_keep_a_client_away_for_long() {
    let reason = crate::reason::Reason::Restarting;
    for (asked_ms, stays_s) in [(3_000, 3), (wire::VARINT_MAX, 60)] {
        let frame = wire::GoAway { reason, wait_ms: asked_ms, text: wire::Text::default() };
        let taken = shared().take(frame.into());
        assert!(matches!(taken, Taken::SentAway { wait, .. } if wait.as_secs() == stays_s));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_its_time_is_pinged_and_then_counts_as_lost() {
    let shared = shared();
    open(&shared, 1);
    let _sending = send(&shared);
    write(&shared);
    assert_eq!((shared.expire(TIMEOUT), write(&shared)), (Some(Duration::ZERO), 0));
    let second = Duration::from_secs(1);
    tokio::time::advance(second).await;
    assert_eq!(shared.expire(TIMEOUT), Some(second));
    assert_eq!(write(&shared), 4, "a Ping");
    tokio::time::advance(9 * second).await;
    assert_eq!(shared.expire(TIMEOUT), Some(10 * second));
    shared.paused(Pause::Unanswered);
    assert_eq!(shared.expire(TIMEOUT), Some(Duration::ZERO), "it may come back");
    open(&shared, 1);
    assert!(write(&shared) > 4, "the same send again");
    assert_eq!(shared.expire(TIMEOUT), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_comes_and_goes_leaves_one_pause() {
    let shared = shared();
    open(&shared, 1);
    for _ in 0..10 {
        shared.paused(Pause::Lost);
        open(&shared, 1);
    }
    let events = events(&shared);
    let [Event::Opened(_), Event::Paused(_), Event::Resumed(_)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(shared.counts().resumes, 10);
}

#[tokio::test(start_paused = true)]
async fn presence_that_changes_with_each_connection_still_leaves_one_pause() {
    let shared = Shared::new(&OpenOptions::new(peer()).watch([peer()]));
    open(&shared, 1);
    let all = shared.lock().watching.all();
    for round in 0..10 {
        shared.paused(Pause::Lost);
        let online = if round % 2 == 0 { all.clone() } else { vec![] };
        let told = Told { asked: all.clone(), watch: all.clone(), ..Told::default() };
        let frame = wire::Opened { online, ..tests::opened(7, 1) };
        shared.opened(&frame, told, None);
    }
    let events = events(&shared);
    let [Event::Opened(_), Event::Paused(_), Event::Resumed(_), Event::Offline(_)] = &events[..]
    else {
        panic!("{events:?}");
    };
}

#[tokio::test(start_paused = true)]
async fn an_app_that_does_not_take_the_results_of_its_sends_waits_with_the_next() {
    let shared = Shared::new(&OpenOptions::new(peer()).send_events(true));
    open(&shared, 1000);
    for number in 1..=CLIENT_SENDS_MAX as u64 {
        let _sending = send(&shared);
        write(&shared);
        let request = window::request_of(number);
        let (id, sequence) = (MessageId(number as i64), number as u32);
        shared.take(wire::Sent { request, id, sequence, at_ms: 1 }.into());
    }
    assert_eq!(shared.permits.available_permits(), 0);
    assert!(matches!(shared.pop(None), Ok(Some(Event::Opened(_)))));
    assert_eq!(shared.permits.available_permits(), 0);
    assert!(matches!(shared.pop(None), Ok(Some(Event::Sent { .. }))));
    assert_eq!(shared.permits.available_permits(), 1);
    shared.drop_incoming();
    assert_eq!(shared.permits.available_permits(), CLIENT_SENDS_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_the_server_hold_where_they_are_lower() {
    let shared = shared();
    open(&shared, 1);
    let (answer, _sending) = oneshot::channel();
    let long = Outgoing::to(peer(), vec![0; 101]);
    let error = shared.push_send(long, Instant::now(), answer).unwrap_err();
    let too_long = TooLong { what: "body", bytes: 101, bytes_max: 100 };
    assert_eq!(error, SendError::TooLong(too_long));
    let many = Outgoing::to([peer(), peer(), peer()], "text");
    let error = shared.send_transient(many).unwrap_err();
    assert_eq!(error, SendError::TooManyRecipients { count: 3, count_max: 2 });
}

#[tokio::test(start_paused = true)]
async fn transient_messages_that_cannot_be_written_are_refused_at_a_bound() {
    let shared = shared();
    assert_eq!(shared.send_transient(Outgoing::to(peer(), "early")), Err(SendError::Paused));
    open(&shared, 1);
    let mut count = 0;
    while shared.send_transient(Outgoing::to(peer(), vec![0; 100])).is_ok() {
        count += 1;
    }
    let error = shared.send_transient(Outgoing::to(peer(), vec![0; 100]));
    assert_eq!(error, Err(SendError::Full));
    let bytes = write(&shared);
    assert!(count > 0 && bytes <= crate::limits::CLIENT_CONTROL_BYTES_MAX, "{bytes}");
    shared.send_transient(Outgoing::to(peer(), "again")).unwrap();
}
