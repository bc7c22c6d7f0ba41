//! Sessions: devices, replacement, and how they come and go.

use crate::harness::{End, Running, assert_serves, open, open_on, until};
use tidings::id::{DeviceId, MessageId};
use tidings::limits::{
    SENDS_UNANSWERED, SESSIONS_PER_CONNECTION_MAX, STREAM_INTERVAL, STREAMS_AT_ONCE,
};
use tidings::reason::Reason;
use tidings::wire::{Ack, Close, Open, Ping, ServerFrame};

#[tokio::test]
async fn an_open_tells_the_limits_in_force() {
    let server = Running::start().await;
    let ann = server.open("ann").await;
    let opened = ann.opened();
    assert_eq!((opened.waiting, opened.dropped, opened.next_number), (0, 0, 1));
    assert_eq!(opened.device.as_str(), "ann");
    assert_eq!((opened.frame_bytes_max, opened.body_bytes_max), (66 * 1024, 5120));
    assert_eq!((opened.recipients_max, opened.sends_max), (50, SENDS_UNANSWERED as u64));
    assert_eq!(opened.epoch, server.server().hub().store().epoch());
    let now_ms = server.config.store.clock.now_ms() as u64;
    assert!(opened.at_ms <= now_ms && now_ms - opened.at_ms < 60_000);
}

#[tokio::test]
async fn a_ping_is_answered() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    ann.say(Ping { request: 1 << 60 }).await;
    assert!(matches!(ann.hear().await, ServerFrame::Pong(pong) if pong.request == 1 << 60));
}

#[tokio::test]
async fn a_device_that_opens_again_replaces_its_older_session() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut older = server.open_with(open_on("bob", "phone")).await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    let mut newer = server.open_with(open_on("bob", "phone")).await;
    assert!(newer.opened().session > older.opened().session);
    assert_eq!(older.hear_reason().await, Reason::Replaced);
    until("the end of the older session", || server.sessions() == 3).await;
    ann.send(&["bob"], "to both").await;
    newer.hear_message().await;
    laptop.hear_message().await;
    assert_eq!(laptop.hear_all().await, [], "another device is not replaced");
}

#[tokio::test]
async fn a_device_that_opens_many_times_at_once_has_one_session_in_the_end() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let mut streams = Vec::new();
    for _ in 0..SESSIONS_PER_CONNECTION_MAX {
        let mut stream = raw.stream().await;
        stream.say(open("bob")).await;
        streams.push(stream);
    }
    until("all but one to end", || server.sessions() == 1).await;
    let mut replaced = 0;
    let mut newest = None;
    for mut stream in streams {
        let ServerFrame::Opened(opened) = stream.hear().await else { panic!("not open") };
        if newest.as_ref().is_none_or(|(session, _)| opened.session > *session) {
            let Some((_, mut older)) = newest.replace((opened.session, stream)) else { continue };
            assert_eq!(older.hear_reason().await, Reason::Replaced);
        } else {
            assert_eq!(stream.hear_reason().await, Reason::Replaced);
        }
        replaced += 1;
    }
    assert_eq!(replaced, SESSIONS_PER_CONNECTION_MAX - 1);
    let (_, mut bob) = newest.unwrap();
    server.open("ann").await.send(&["bob"], "hello").await;
    assert_eq!(bob.hear_message().await.body, "hello");
}

#[tokio::test]
async fn a_device_without_an_id_is_given_one_that_it_can_come_back_with() {
    let server = Running::start().await;
    let nameless = || Open { device: None, ..open("bob") };
    let bob = server.open_with(nameless()).await;
    let other = server.open_with(nameless()).await;
    let device = bob.opened().device.clone();
    assert_eq!(device.as_str().len(), 32);
    assert!(device.as_str().bytes().all(|digit| digit.is_ascii_hexdigit()));
    assert_ne!(device, other.opened().device);
    bob.leave().await;
    server.open("ann").await.send(&["bob"], "while it was out").await;
    let mut bob = server.open_with(Open { device: Some(device.clone()), ..open("bob") }).await;
    assert_eq!(bob.opened().device, device);
    assert_eq!(bob.hear_message().await.body, "while it was out");
}

#[tokio::test]
async fn a_connection_has_16_sessions_and_one_more_when_one_ends() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let mut sessions = Vec::new();
    for number in 0..SESSIONS_PER_CONNECTION_MAX {
        sessions.push(raw.open(open(&format!("peer-{number}"))).await);
    }
    let mut one_more = raw.stream().await;
    one_more.say(open("one more")).await;
    assert_eq!(one_more.hear_reason().await, Reason::TooManySessions);
    drop(one_more);
    // As soon as one has ended, there is a place for another.
    for number in 0..20 {
        sessions.remove(0).leave().await;
        sessions.push(raw.open(open(&format!("next-{number}"))).await);
    }
    for session in &mut sessions {
        assert_eq!(session.hear_all().await, []);
    }
}

#[tokio::test]
async fn who_opens_and_breaks_off_too_many_streams_waits_for_the_next_and_loses_no_session() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let began = std::time::Instant::now();
    let mut ann = raw.open(open("ann")).await;
    for _ in 0..=STREAMS_AT_ONCE {
        let mut stream = raw.stream().await;
        stream.say_bytes(bytes::Bytes::from_static(&[1])).await;
        stream.send.reset(1u8.into()).unwrap();
        stream.recv.stop(1u8.into()).unwrap();
    }
    ann.say(Ping { request: 1 }).await;
    assert!(matches!(ann.hear().await, ServerFrame::Pong(pong) if pong.request == 1));
    let mut bob = raw.open(open("bob")).await;
    // His is the third stream that had to wait; a slow machine only makes it longer.
    assert!(began.elapsed() >= STREAM_INTERVAL * 3);
    ann.send(&["bob"], "hello").await;
    assert_eq!(bob.hear_message().await.body, "hello");
}

#[tokio::test]
async fn a_peer_has_16_devices_and_the_one_not_seen_for_longest_gives_way() {
    let server = Running::start().await;
    for number in 0..17 {
        server.open_with(open_on("bob", &format!("device-{number}"))).await.leave().await;
        until("its end", || server.sessions() == 0).await;
        server.step(std::time::Duration::from_secs(1));
    }
    let mut ann = server.open("ann").await;
    ann.send(&["bob"], "1").await;
    let mut known = server.open_with(open_on("bob", "device-1")).await;
    known.hear_message().await;
}

#[tokio::test]
async fn a_session_of_another_app_is_refused() {
    let server = Running::start_with(|config| config.hub.app_id = "chat".into()).await;
    let raw = server.connect().await;
    for app in ["", "other"] {
        let mut stream = raw.stream().await;
        stream.say(Open { app: app.into(), ..open("ann") }).await;
        assert_eq!(stream.hear_reason().await, Reason::WrongApp);
    }
    raw.open(Open { app: "chat".into(), ..open("ann") }).await;
}

/// However sessions end, none is left over.
#[tokio::test]
async fn sessions_and_connections_are_counted_and_none_is_left_over() {
    let server = Running::start().await;
    let mut sessions = Vec::new();
    for number in 0..7 {
        sessions.push(server.open(&format!("peer-{number}")).await);
    }
    assert_eq!((server.sessions(), server.connections()), (7, 7));
    let mut sessions = sessions.into_iter();
    let mut next = || sessions.next().unwrap();

    next().leave().await;
    next().raw.connection.close(0_u32.into(), b"gone");
    drop(next());
    let mut closed = next();
    closed.say(Close { request: 1 }).await;
    closed.hear_end().await;
    let mut mistaken = next();
    mistaken.say(Ack { id: MessageId(i64::MAX) }).await;
    assert_eq!(mistaken.hear_reason().await, Reason::AckOfFuture);
    let mut reset = next();
    reset.send.reset(0_u32.into()).unwrap();
    assert!(matches!(reset.hear_end().await.1, End::Reset(_) | End::Finished));
    let mut stopped = next();
    stopped.recv.stop(0_u32.into()).unwrap();
    // It is noticed when there is something to write.
    stopped.say(Ping { request: 1 }).await;

    until("no session is left", || server.sessions() == 0).await;
    drop((closed, mistaken, reset, stopped));
    until("no connection is left", || server.connections() == 0).await;
    assert_serves(&server).await;
    for number in 0..7 {
        let peer = format!("peer-{number}").parse().unwrap();
        assert_eq!(server.server().hub().sessions(&peer), []);
    }
}

#[tokio::test]
async fn a_device_id_may_have_a_colon_and_64_bytes() {
    let server = Running::start().await;
    for device in ["a:b".to_owned(), "d".repeat(64)] {
        let session = server.open_with(open_on("ann", &device)).await;
        assert_eq!(session.opened().device, DeviceId::new(&device).unwrap());
    }
}
