//! Transient messages: for those online now, never stored.

use bytes::{Bytes, BytesMut};
use quinn::VarInt;

use crate::harness::{Running, Session, assert_serves, encoded, raw_frame, send, soon};
use tidings::id::MessageId;
use tidings::reason::Reason;
use tidings::wire::{Decoder, Deliver, Send, ServerFrame, datagram_stream, put_datagram_stream};

fn transient(to: &[&str], body: &str) -> Send {
    Send { request: 0, transient: true, number: 0, ..send(0, to, body.to_owned()) }
}

/// The frame as a datagram of the session on this stream.
fn datagram(stream: u64, frame: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_datagram_stream(&mut out, stream);
    out.extend_from_slice(frame);
    out.freeze()
}

fn stream_of(session: &Session) -> u64 {
    VarInt::from(session.send.id()).into_inner()
}

/// The next message by datagram, and the stream it is for.
async fn hear_datagram(session: &Session) -> (u64, Deliver) {
    let heard = soon("a datagram", session.raw.connection.read_datagram()).await;
    let mut datagram = heard.unwrap();
    let stream = datagram_stream(&mut datagram).unwrap();
    let mut decoder = Decoder::new(datagram.len());
    decoder.push(datagram);
    let raw = decoder.next_frame().unwrap().unwrap();
    match ServerFrame::decode(raw).unwrap() {
        ServerFrame::Deliver(deliver) => (stream, deliver),
        frame => panic!("{frame:?}"),
    }
}

#[tokio::test]
async fn a_transient_message_reaches_who_is_online_and_is_never_stored() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    ann.say(transient(&["bob", "cid"], "typing")).await;
    let message = bob.hear_message().await;
    assert!(message.transient && !message.waited);
    assert_eq!((message.id, message.sequence), (MessageId::NONE, 0));
    assert_eq!((message.from.as_str(), &message.body[..]), ("ann", &b"typing"[..]));
    assert_eq!(ann.hear_all().await, [], "it is not answered");
    let metrics = server.server().metrics();
    assert_eq!((metrics.transients.get(), metrics.messages.get()), (1, 0));
    let mut cid = server.open("cid").await;
    assert_eq!((cid.opened().waiting, cid.hear_all().await), (0, vec![]));
    bob.leave().await;
    let bob = server.open("bob").await;
    assert_eq!(bob.opened().waiting, 0);
    // It took no number of the conversation or of the sender.
    assert_eq!(ann.send(&["bob"], "kept").await.sequence, 1);
}

#[tokio::test]
async fn a_transient_message_rides_a_datagram_from_end_to_end() {
    let server = Running::start().await;
    let connection = server.connect().await;
    let _first = connection.open(crate::harness::open("someone else")).await;
    let bob = connection.open(crate::harness::open("bob")).await;
    let ann = server.open("ann").await;
    let frame = encoded(transient(&["bob"], "typing"));
    ann.raw.connection.send_datagram(datagram(stream_of(&ann), &frame)).unwrap();
    let (stream, message) = hear_datagram(&bob).await;
    assert_eq!(stream, stream_of(&bob));
    assert!(message.transient);
    assert_eq!(message.body, "typing");
}

#[tokio::test]
async fn a_transient_message_that_can_be_for_nobody_is_refused_if_it_asks() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    ann.say(transient(&[], "silent")).await;
    assert_eq!(ann.hear_all().await, []);
    ann.say(Send { request: 5, ..transient(&[], "loud") }).await;
    assert_eq!(ann.hear_refusal(5).await, Reason::NoRecipient);
}

#[tokio::test]
async fn datagrams_that_are_no_transient_send_are_passed_over() {
    let server = Running::start().await;
    let mut bob = server.open("bob").await;
    let mut ann = server.open("ann").await;
    let stream = stream_of(&ann);
    let good = encoded(transient(&["bob"], "good"));
    let garbage = [
        Bytes::new(),
        Bytes::from_static(&[0xff]),
        Bytes::from_static(&[0xff; 500]),
        datagram(stream, &[]),
        datagram(stream, &good[..good.len() - 1]),
        datagram(stream, &raw_frame(0x7e, &[1, 2, 3])),
        datagram(stream, &encoded(send(1, &["bob"], "persistent"))),
        datagram(stream, &encoded(transient(&[], "for nobody"))),
        datagram(stream, &encoded(crate::harness::open("eve"))),
        datagram(stream + 4, &good),
        datagram(VarInt::MAX.into_inner(), &good),
    ];
    for garbage in garbage {
        ann.raw.connection.send_datagram_wait(garbage).await.unwrap();
    }
    ann.raw.connection.send_datagram_wait(datagram(stream, &good)).await.unwrap();
    assert_eq!(hear_datagram(&bob).await.1.body, "good");
    assert_eq!(bob.hear_all().await, []);
    assert_eq!(ann.hear_all().await, []);
    assert_serves(&server).await;
}
