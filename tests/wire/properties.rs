//! What holds for every frame and for any bytes.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use tidings::id::{ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId};
use tidings::limits::{
    APP_ID_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, CLIENT_NAME_BYTES_MAX, FRAME_BYTES_MAX,
    NONCE_BYTES_MAX, REASON_TEXT_BYTES_MAX, RECIPIENTS_MAX, SIGNATURE_BYTES_MAX,
};
use tidings::reason::Reason;
use tidings::wire::{
    Ack, ClientFrame, Close, Closed, Decoder, Deliver, Dropped, Error, GoAway, Open, Opened, Ping,
    Pong, RawFrame, Send, Sent, ServerFrame, Signature, Target, Text, datagram_stream,
    put_datagram_stream,
};

use crate::{Frame, client, first_frame, golden_frames, golden_kind, peer, server};

fn any_text(bytes_max: usize) -> impl Strategy<Value = Text> {
    vec(any::<char>(), 0..=bytes_max / 4).prop_map(|chars| chars.iter().collect::<String>().into())
}

fn any_peer() -> impl Strategy<Value = PeerId> {
    "[a-zA-Z0-9 _.é漢-]{1,20}".prop_map(|text| peer(&text))
}

fn any_peers(max: usize) -> impl Strategy<Value = Vec<PeerId>> {
    vec(any_peer(), 0..=max)
}

fn any_device() -> impl Strategy<Value = DeviceId> {
    "[a-z0-9:é]{1,30}".prop_map(|text| DeviceId::new(&text).unwrap())
}

fn any_varint() -> impl Strategy<Value = u64> {
    (any::<u64>(), 2..=63u32).prop_map(|(bits, shift)| bits >> shift)
}

fn any_id() -> impl Strategy<Value = MessageId> {
    (0..=i64::MAX).prop_map(MessageId)
}

fn any_body() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn any_conversation() -> impl Strategy<Value = ConversationId> {
    prop_oneof![
        any::<[u8; 16]>().prop_map(ConversationId::Peers),
        any::<[u8; 12]>().prop_map(|id| ConversationId::Group(GroupId(id))),
    ]
}

fn any_signature() -> impl Strategy<Value = Signature> {
    (any_text(NONCE_BYTES_MAX), any::<u64>(), any_text(SIGNATURE_BYTES_MAX))
        .prop_map(|(nonce, timestamp, signature)| Signature { nonce, timestamp, signature })
}

fn any_open() -> impl Strategy<Value = Frame> {
    let names = (any_text(APP_ID_BYTES_MAX), any_peer(), option::of(any_device()), 0..3u8);
    let numbers = (any::<u64>(), any_text(CLIENT_NAME_BYTES_MAX), any::<u64>(), any_id());
    (names, numbers, any_peers(20), option::of(any_signature())).prop_map(
        |((app, peer, device, flag), (instance, name, epoch, cursor), watch, signature)| {
            let flag = DeviceFlag::from_number(flag).unwrap();
            let (version, client) = (1, name);
            Frame::Client(ClientFrame::Open(Open {
                version,
                app,
                peer,
                device,
                flag,
                instance,
                client,
                epoch,
                cursor,
                watch,
                signature,
            }))
        },
    )
}

fn any_send() -> impl Strategy<Value = Frame> {
    let target = prop_oneof![
        any_peers(RECIPIENTS_MAX).prop_map(Target::Peers),
        any::<[u8; 12]>().prop_map(|id| Target::Group(GroupId(id))),
    ];
    let flags = any::<(bool, bool)>();
    let numbers = (any_varint(), any_varint(), any_varint(), any_varint());
    (flags, numbers, any_text(CLIENT_MSG_NO_BYTES_MAX), target, any_body()).prop_map(
        |(flags, (request, number, answered, ttl_ms), client_msg_no, target, body)| {
            let (transient, receipt) = flags;
            client(Send {
                request,
                transient,
                receipt,
                number,
                answered,
                ttl_ms,
                client_msg_no,
                target,
                body,
            })
        },
    )
}

fn any_deliver() -> impl Strategy<Value = Frame> {
    let flags = any::<(bool, bool, bool)>();
    let numbers = (any_id(), any::<u32>(), any::<u64>());
    let people = (any_conversation(), any_peer(), any_peers(RECIPIENTS_MAX));
    (flags, numbers, people, any_text(CLIENT_MSG_NO_BYTES_MAX), any_body()).prop_map(
        |(flags, (id, sequence, at_ms), (conversation, from, to), client_msg_no, body)| {
            let (transient, receipt, waited) = flags;
            server(Deliver {
                transient,
                receipt,
                waited,
                id,
                sequence,
                at_ms,
                conversation,
                from,
                to,
                client_msg_no,
                body,
            })
        },
    )
}

fn any_opened() -> impl Strategy<Value = Frame> {
    let numbers = (any_varint(), any_varint(), any_varint(), any::<u64>());
    let limits = (any_varint(), any_varint(), any_varint(), any_varint());
    (any_id(), any::<u64>(), any_device(), numbers, any_peers(20), limits).prop_map(
        |(id, epoch, device, (next_number, waiting, dropped, at_ms), online, limits)| {
            let (frame_bytes_max, body_bytes_max, recipients_max, sends_max) = limits;
            server(Opened {
                session: SessionId(id.0),
                epoch,
                device,
                next_number,
                waiting,
                dropped,
                at_ms,
                online,
                frame_bytes_max,
                body_bytes_max,
                recipients_max,
                sends_max,
            })
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let reason = (0..Reason::ALL.len()).prop_map(|index| Reason::ALL[index]);
    prop_oneof![
        any_open(),
        any_send(),
        any_deliver(),
        any_opened(),
        any_varint().prop_map(|request| client(Close { request })),
        any_varint().prop_map(|request| client(Ping { request })),
        any_id().prop_map(|id| client(Ack { id })),
        any_varint().prop_map(|request| server(Closed { request })),
        (any_varint(), any::<u64>()).prop_map(|(request, at_ms)| server(Pong { request, at_ms })),
        (any_varint(), any_id(), any::<u32>(), any::<u64>()).prop_map(
            |(request, id, sequence, at_ms)| server(Sent { request, id, sequence, at_ms })
        ),
        (any_varint(), any_id()).prop_map(|(count, id)| server(Dropped { count, id })),
        (reason, any_varint(), any_text(REASON_TEXT_BYTES_MAX))
            .prop_map(|(reason, wait_ms, text)| server(GoAway { reason, wait_ms, text })),
        (any_varint(), any::<u16>(), any_text(REASON_TEXT_BYTES_MAX))
            .prop_map(|(request, reason, text)| server(Error { request, reason, text })),
    ]
}

/// Every frame that comes out of the stream when it arrives in these chunks.
fn read_all(chunks: impl IntoIterator<Item = Bytes>) -> Vec<RawFrame> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames
}

fn decode_as_both(raw: RawFrame) {
    let _ = ClientFrame::decode(raw.clone());
    let _ = ServerFrame::decode(raw);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_frame_cut_at_any_place_comes_out_as_it_went_in(frame in any_frame()) {
        let bytes = frame.encode();
        for cut in 0..=bytes.len() {
            let raws = read_all([bytes.slice(..cut), bytes.slice(cut..)]);
            prop_assert_eq!(raws.len(), 1, "cut at {}", cut);
            prop_assert_eq!(&frame.decode_like(raws[0].clone()), &frame, "cut at {}", cut);
        }
    }

    #[test]
    fn a_stream_in_chunks_of_any_size_has_the_same_frames(
        frames in vec(any_frame(), 1..8),
        sizes in vec(1..200usize, 1..40),
    ) {
        let mut stream = Bytes::from(frames.iter().flat_map(Frame::encode).collect::<Vec<u8>>());
        let mut sizes = sizes.iter().cycle();
        let mut chunks = Vec::new();
        while !stream.is_empty() {
            chunks.push(stream.split_to(stream.len().min(*sizes.next().unwrap())));
        }
        let raws = read_all(chunks);
        prop_assert_eq!(raws.len(), frames.len());
        for (raw, frame) in raws.into_iter().zip(&frames) {
            prop_assert_eq!(&frame.decode_like(raw), frame);
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic_in_the_decoder(
        chunks in vec(vec(any::<u8>(), 0..100), 0..20),
    ) {
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        'stream: for chunk in chunks {
            decoder.push(chunk.into());
            loop {
                match decoder.next_frame() {
                    Ok(Some(raw)) => decode_as_both(raw),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }

    #[test]
    fn fields_of_any_kind_never_panic(
        known in prop_oneof![any::<u8>(), (0..golden_frames().len()).prop_map(golden_kind)],
        fields in vec(any::<u8>(), 0..300),
    ) {
        let raw = RawFrame { kind: known, fields: fields.into() };
        decode_as_both(raw);
    }

    #[test]
    fn a_frame_with_a_few_bytes_changed_never_panics(
        frame in any_frame(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        kept in any::<prop::sample::Index>(),
    ) {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        let mut fields = fields.to_vec();
        for (index, byte) in changes {
            let index = index.index(fields.len());
            fields[index] = byte;
        }
        fields.truncate(kept.index(fields.len()) + 1);
        let raw = RawFrame { kind, fields: fields.into() };
        decode_as_both(raw);
    }

    #[test]
    fn fields_behind_the_known_ones_are_skipped(
        frame in any_frame(),
        more in vec(any::<u8>(), 1..50),
    ) {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        let fields = [&fields[..], &more].concat().into();
        prop_assert_eq!(frame.decode_like(RawFrame { kind, fields }), frame);
    }

    #[test]
    fn a_frame_that_ends_early_is_a_bad_frame(frame in any_frame()) {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        for len in 0..fields.len() {
            let raw = RawFrame { kind, fields: fields.slice(..len) };
            let error = match frame {
                Frame::Client(_) => ClientFrame::decode(raw).err(),
                Frame::Server(_) => ServerFrame::decode(raw).err(),
            };
            prop_assert_eq!(error.map(|e| e.reason), Some(Reason::BadFrame), "{} bytes", len);
        }
    }

    #[test]
    fn a_datagram_says_which_stream_it_is_of(stream in any_varint(), frame in any_frame()) {
        let mut out = BytesMut::new();
        put_datagram_stream(&mut out, stream);
        out.put(frame.encode());
        let mut datagram = out.freeze();
        prop_assert_eq!(datagram_stream(&mut datagram), Ok(stream));
        prop_assert_eq!(frame.decode_like(first_frame(datagram)), frame);
    }
}
