//! Bad input: each gets its reason or is cut at its bound, and the server serves on.

use bytes::{BufMut, Bytes, BytesMut};
use quinn::ConnectionError;

use crate::harness::{
    End, Manner, Raw, Running, Session, assert_serves, encoded, open, peer, raw_frame, send, soon,
    until,
};
use tidings::id::{GroupId, MessageId, PeerId};
use tidings::limits::{
    BODY_BYTES_MAX, FRAME_BYTES_MAX, GROUP_METADATA_BYTES_MAX, OPEN_TIMEOUT, RECIPIENTS_MAX,
    WATCHED_MAX,
};
use tidings::reason::Reason;
use tidings::wire::{Ack, Close, Edit, Open, Ping, Send, ServerFrame, Target, Watch, kind};

/// The reason that the server gives for what a new stream begins with.
async fn reason_for(raw: &Raw, bytes: impl Into<Bytes>) -> Reason {
    let mut stream = raw.stream().await;
    stream.say_bytes(bytes.into()).await;
    stream.hear_reason().await
}

/// Puts `text` in the place of the peer's id, which a well-made Open can not hold.
fn open_as(text: &str) -> Bytes {
    let good = encoded(open("placeholder"));
    let at = good.windows(11).position(|bytes| bytes == b"placeholder").unwrap();
    // Behind the frame's length (2 bytes) and kind; the id has its length in the byte before it.
    let mut fields = good[3..at - 1].to_vec();
    put_text(&mut fields, text.as_bytes());
    fields.extend_from_slice(&good[at + 11..]);
    raw_frame(kind::OPEN, &fields)
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_varint(out, text.len());
    out.extend_from_slice(text);
}

fn put_varint(out: &mut Vec<u8>, value: usize) {
    out.put_u32(value as u32 | 0x8000_0000);
}

/// A Send with any recipients and body, also those that no Send may have.
fn any_send(request: u8, recipients: &[&[u8]], body: &[u8]) -> Bytes {
    let mut fields = vec![request, 0, 1, 0, 0, 0, 0];
    put_varint(&mut fields, recipients.len());
    for recipient in recipients {
        put_text(&mut fields, recipient);
    }
    put_text(&mut fields, body);
    raw_frame(kind::SEND, &fields)
}

/// A frame of this kind and length in all, filled with what is skipped.
fn padded(frame: &[u8], len: usize) -> Bytes {
    // Behind the two bytes of its own length.
    let mut out = BytesMut::new();
    out.put_u32(len as u32 | 0x8000_0000);
    out.put_slice(&frame[2..]);
    out.put_bytes(0, len + 4 - out.len());
    out.freeze()
}

#[tokio::test]
async fn another_protocol_is_refused_by_the_handshake() {
    let server = Running::start().await;
    let manner = Manner { alpn: b"h3".to_vec(), ..Manner::default() };
    let tried = Raw::try_connect(server.address(), &server.certificate_file(), manner).await;
    match tried.err().unwrap() {
        // The alert of TLS for "no application protocol" is 120.
        ConnectionError::ConnectionClosed(close) => {
            assert_eq!(u64::from(close.error_code), 0x100 + 120, "{close}");
        }
        error => panic!("{error}"),
    }
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_first_frame_that_opens_nothing_gets_its_reason() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let version = |version| encoded(Open { version, ..open("ann") });
    for (reason, bytes) in [
        (Reason::BadVersion, version(0)),
        (Reason::BadVersion, version(2)),
        (Reason::BadVersion, raw_frame(kind::OPEN, &[0xff, 0xff, 1, 2, 3])),
        (Reason::NotOpen, encoded(Ping { request: 1 })),
        (Reason::NotOpen, encoded(send(1, &["bob"], "too early"))),
        (Reason::NotOpen, raw_frame(0x7e, &[1])),
        (Reason::NotOpen, raw_frame(kind::OPENED, &[])),
        (Reason::BadFrame, raw_frame(kind::OPEN, &[])),
        (Reason::BadFrame, raw_frame(kind::OPEN, &[0, 1, 0x3f])),
        (Reason::BadFrame, Bytes::from_static(&[0])),
        (Reason::FrameTooLong, Bytes::from_static(b"\xffET / HTTP/1.1\r\n\r\n")),
        (Reason::BadId, open_as("")),
        (Reason::BadId, open_as("ann:bob")),
        (Reason::BadId, open_as("ann\n")),
        (Reason::BadId, open_as(&"p".repeat(65))),
        (Reason::BadId, open_as(&"p".repeat(255))),
    ] {
        assert_eq!(reason_for(&raw, bytes.clone()).await, reason, "{bytes:?}");
    }
    // A client that says nothing at all and leaves.
    let mut stream = raw.stream().await;
    stream.send.finish().unwrap();
    assert_eq!(stream.hear_reason().await, Reason::NotOpen);
    assert_eq!(server.sessions(), 0);
    raw.open(open(&"p".repeat(64))).await;
    assert_serves(&server).await;
}

#[tokio::test]
async fn random_bytes_end_a_stream_with_a_reason() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..40 {
        let mut stream = raw.stream().await;
        let mut bytes = vec![0; 300];
        random.fill(&mut bytes);
        stream.send.write_all(&bytes).await.unwrap();
        let _ = stream.send.finish();
        let reason = stream.hear_reason().await;
        let expected = [Reason::NotOpen, Reason::BadFrame, Reason::FrameTooLong];
        assert!(expected.contains(&reason), "{reason} for {bytes:?}");
    }
    for _ in 0..40 {
        let mut session = raw.open(open("ann")).await;
        let mut bytes = vec![0; 300];
        random.fill(&mut bytes);
        session.send.write_all(&bytes).await.unwrap();
        let _ = session.send.finish();
        // Whatever they mean, the session comes to its end.
        session.hear_end().await;
    }
    until("no session is left", || server.sessions() == 0).await;
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_frame_one_byte_over_the_limit_ends_the_session() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let good = encoded(open("ann"));
    let mut ann = raw.stream().await;
    ann.say_bytes(padded(&good, FRAME_BYTES_MAX)).await;
    assert!(matches!(ann.hear().await, ServerFrame::Opened(_)), "what is longer is skipped");
    ann.say_bytes(padded(&encoded(Ping { request: 1 }), FRAME_BYTES_MAX)).await;
    assert!(matches!(ann.hear().await, ServerFrame::Pong(_)));
    // Its length is enough to be refused.
    let long = padded(&encoded(Ping { request: 1 }), FRAME_BYTES_MAX + 1);
    ann.say_bytes(long.slice(..4)).await;
    assert_eq!(ann.hear_reason().await, Reason::FrameTooLong);
    let long = padded(&good, FRAME_BYTES_MAX + 1);
    assert_eq!(reason_for(&raw, long.slice(..10)).await, Reason::FrameTooLong);
    assert_serves(&server).await;
}

#[tokio::test]
async fn a_request_over_a_limit_is_refused_and_the_session_lives() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let names: Vec<String> = (0..=RECIPIENTS_MAX).map(|number| format!("peer-{number}")).collect();
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
    let body = vec![b'x'; BODY_BYTES_MAX + 1];
    let watched = (0..=WATCHED_MAX).map(|number| PeerId::new(&number.to_string()).unwrap());
    let watch = Watch { request: 10, peers: watched.collect(), signature: None };
    let metadata = Some(Bytes::from(vec![b' '; GROUP_METADATA_BYTES_MAX + 1]));
    let edit = Edit { request: 11, group: GroupId([1; 12]), rules: None, metadata };
    for (request, bytes, reason) in [
        (1, any_send(1, &[b"bob"], &body), Reason::BodyTooLong),
        (2, any_send(2, &names, b""), Reason::TooManyRecipients),
        (3, any_send(3, &[&[b'p'; 65]], b""), Reason::BadId),
        (4, any_send(4, &[b"a:b"], b""), Reason::BadId),
        (5, any_send(5, &[b""], b""), Reason::BadId),
        (6, any_send(6, &[b"\xff\xfe"], b""), Reason::BadId),
        (7, any_send(7, &[], b"for nobody"), Reason::NoRecipient),
        (8, raw_frame(0x7e, &[8, 1, 2, 3]), Reason::UnknownKind),
        (9, raw_frame(kind::SENT, &[9]), Reason::UnknownKind),
        (10, encoded(watch), Reason::TooManyWatched),
        (11, encoded(edit), Reason::BadMetadata),
    ] {
        ann.say_bytes(bytes).await;
        assert_eq!(ann.hear_refusal(request).await, reason);
    }
    let group = Send { target: Target::Group(GroupId([1; 12])), ..send(1, &[], "") };
    ann.say(group).await;
    assert_eq!(ann.hear_refusal(1).await, Reason::NoSuchGroup);
    // None of them was stored or took a number.
    ann.say_bytes(any_send(1, &[b"bob"], &body[1..])).await;
    assert_eq!(ann.hear_sent(1).await.sequence, 1);
    assert_eq!(ann.hear_all().await, []);
}

/// More of them than there are places for answers: each gives its place back.
#[tokio::test]
async fn refusals_use_nothing_up() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    for _ in 0..6 {
        for _ in 0..100 {
            ann.say_bytes(raw_frame(0x7e, &[8])).await;
        }
        for _ in 0..100 {
            assert_eq!(ann.hear_refusal(8).await, Reason::UnknownKind);
        }
    }
    ann.send(&["bob"], "still here").await;
    ann.leave().await;
}

#[tokio::test]
async fn a_frame_that_is_none_ends_an_open_session_with_its_reason() {
    let server = Running::start().await;
    let raw = server.connect().await;
    for (reason, bytes) in [
        (Reason::BadFrame, raw_frame(kind::ACK, &[1, 2, 3])),
        (Reason::BadFrame, raw_frame(kind::PING, &[])),
        (Reason::BadFrame, any_send(1, &[b"bob"], b"cut").slice(..12)),
        (Reason::BadFrame, raw_frame(kind::SEND, &[1, 0, 1, 0, 0, 0, 9])),
        (Reason::BadFrame, Bytes::from_static(&[0])),
        (Reason::FrameTooLong, Bytes::from_static(&[0xff; 8])),
        (Reason::AlreadyOpen, encoded(open("ann"))),
        (Reason::AckOfFuture, encoded(Ack { id: MessageId(1) })),
        (Reason::UnknownKind, raw_frame(0x7e, &[])),
    ] {
        let mut ann: Session = raw.open(open("ann")).await;
        ann.say_bytes(reframed(&bytes)).await;
        assert_eq!(ann.hear_reason().await, reason, "{bytes:?}");
    }
    assert_serves(&server).await;
}

/// Corrects the length of a frame that was cut, so that it is whole but too short.
fn reframed(bytes: &[u8]) -> Bytes {
    if bytes.len() < 5 || bytes[0] != 0x80 {
        return Bytes::copy_from_slice(bytes);
    }
    raw_frame(bytes[4], &bytes[5..])
}

#[tokio::test]
async fn a_peer_watches_1000_others_and_not_one_more() {
    let server = Running::start().await;
    let raw = server.connect().await;
    let watching = |count: usize| {
        let watch = (0..count).map(|number| peer(&format!("{number:064}"))).collect();
        encoded(Open { watch, ..open("ann") })
    };
    let mut ann = raw.stream().await;
    ann.say_bytes(watching(WATCHED_MAX)).await;
    assert!(matches!(ann.hear().await, ServerFrame::Opened(_)));
    let reason = reason_for(&raw, watching(WATCHED_MAX + 1)).await;
    assert_eq!(reason, Reason::TooManyWatched);
}

#[tokio::test]
async fn what_follows_a_close_is_not_read() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut bytes = BytesMut::from(&encoded(Close { request: 1 })[..]);
    bytes.extend_from_slice(&encoded(send(2, &["bob"], "too late")));
    ann.say_bytes(bytes.freeze()).await;
    let (frames, end) = ann.hear_end().await;
    assert_eq!((frames.len(), end), (1, End::Finished));
    assert_eq!(server.open("bob").await.opened().waiting, 0);
}

/// Those who do not open anything are cut at 5 seconds; all of them wait together.
#[tokio::test]
async fn who_opens_nothing_is_cut_in_time() {
    let server = Running::start().await;
    let silent = server.connect().await;
    let streamless = async {
        assert_eq!(silent.closed().await, Reason::OpenTimeout as u64);
    };
    let mute = server.connect().await;
    let half_open = async {
        let mut stream = mute.stream().await;
        let open = encoded(open("ann"));
        stream.say_bytes(open.slice(..open.len() - 1)).await;
        assert_eq!(stream.hear_reason().await, Reason::OpenTimeout);
        assert_eq!(mute.closed().await, Reason::OpenTimeout as u64);
    };
    let mut bob = server.open("bob").await;
    let beside = async {
        let mut stream = bob.raw.stream().await;
        stream.say_bytes(Bytes::from_static(&[0x40])).await;
        assert_eq!(stream.hear_reason().await, Reason::OpenTimeout);
        // Who has another session keeps the connection.
        assert_eq!(bob.hear_all().await, []);
    };
    let began = std::time::Instant::now();
    soon("the cuts", async { tokio::join!(streamless, half_open, beside) }).await;
    assert!(began.elapsed() >= OPEN_TIMEOUT - std::time::Duration::from_millis(500));
    until("no connection but Bob's", || server.connections() == 1).await;
    assert_serves(&server).await;
}
