//! At each limit a frame is taken, one byte over it is refused with the limit's reason.

use bytes::{BufMut, Bytes, BytesMut};

use tidings::id::{Alias, DeviceId, MessageId};
use tidings::limits::{
    ALIAS_BYTES_MAX, APP_ID_BYTES_MAX, BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX,
    CLIENT_NAME_BYTES_MAX, CONVERSATIONS_PAGE_MAX, DEVICE_ID_BYTES_MAX, DEVICES_PER_PEER_MAX,
    FRAME_BYTES_MAX, GROUP_METADATA_BYTES_MAX, HISTORY_PAGE_MAX, INVITED_MAX, MEMBERS_PAGE_MAX,
    NONCE_BYTES_MAX, PEER_ID_BYTES_MAX, PUSH_TEXT_BYTES_MAX, REASON_TEXT_BYTES_MAX, RECIPIENTS_MAX,
    SIGNATURE_BYTES_MAX, WATCHED_MAX,
};
use tidings::reason::Reason;
use tidings::wire::{
    BindAlias, ClientFrame, Conversation, ConversationPage, DecodeError, Decoder, Deliver,
    DeviceList, Edit, Error, GoAway, GroupEvent, HistoryPage, Invite, Join, Joined, Kick,
    MemberPage, Members, Open, Opened, Past, Presence, RawFrame, ReadUpTo, Send, ServerFrame,
    Signature, Status, Statuses, Target, Text, UnbindAlias, Unwatch, Upstream, UpstreamDone,
    UpstreamStored, VARINT_MAX, Watch, Watched, datagram_stream, kind,
};

use crate::{Frame, client, deliver, first_frame, golden, open, opened, peer, send, server};

fn decode(frame: &Frame) -> Result<(), Reason> {
    let raw = first_frame(frame.encode());
    match frame {
        Frame::Client(_) => ClientFrame::decode(raw).map(drop),
        Frame::Server(_) => ServerFrame::decode(raw).map(drop),
    }
    .map_err(|error| error.reason)
}

/// `frame` makes a frame with something of the size it is given.
fn check(max: usize, over: Reason, frame: impl Fn(usize) -> Frame) {
    assert_eq!(decode(&frame(max)), Ok(()), "at the limit of {max}");
    assert_eq!(decode(&frame(max + 1)), Err(over), "one over the limit of {max}");
}

fn text(len: usize) -> Text {
    "t".repeat(len).into()
}

/// The bytes of `frame` after its `from` became `to`, both with a length of one byte before them.
fn with_text(frame: &Frame, from: &str, to: &[u8]) -> RawFrame {
    let RawFrame { kind, fields } = first_frame(frame.encode());
    let from = [&[from.len() as u8], from.as_bytes()].concat();
    let at = fields.windows(from.len()).position(|window| window == from).expect("the text");
    let mut changed = BytesMut::from(&fields[..at]);
    changed.put_u16(to.len() as u16 | 0x4000);
    changed.put_slice(to);
    changed.put_slice(&fields[at + from.len()..]);
    RawFrame { kind, fields: changed.freeze() }
}

fn pair() -> tidings::id::ConversationId {
    tidings::id::ConversationId::of_peers([&peer("alice"), &peer("bob")])
}

fn reason_of<T>(result: Result<T, DecodeError>) -> Option<Reason> {
    result.err().map(|error| error.reason)
}

#[test]
fn a_body_one_byte_too_long_is_refused() {
    let body = |len| Bytes::from(vec![7; len]);
    check(BODY_BYTES_MAX, Reason::BodyTooLong, |len| {
        client(Send { body: body(len), ..send(Target::Peers(vec![peer("bob")])) })
    });
    check(BODY_BYTES_MAX, Reason::BodyTooLong, |len| {
        client(Upstream { body: body(len), ..golden::upstream() })
    });
    check(BODY_BYTES_MAX, Reason::BadFrame, |len| {
        server(Deliver { body: body(len), ..deliver(pair(), vec![]) })
    });
}

#[test]
fn one_recipient_too_many_is_refused() {
    let peers = |count| vec![peer("bob"); count];
    check(RECIPIENTS_MAX, Reason::TooManyRecipients, |count| {
        client(send(Target::Peers(peers(count))))
    });
    check(RECIPIENTS_MAX, Reason::BadFrame, |count| server(deliver(pair(), peers(count))));
}

#[test]
fn one_watched_peer_too_many_is_refused() {
    let peers = |count| vec![peer(&"w".repeat(PEER_ID_BYTES_MAX)); count];
    check(WATCHED_MAX, Reason::TooManyWatched, |count| {
        client(Open { watch: peers(count), ..open() })
    });
    // One id more and the frame itself would be too long, so these are short.
    check(WATCHED_MAX, Reason::BadFrame, |count| {
        server(Opened { online: vec![peer("w"); count], ..opened() })
    });
    let peers = |count| vec![peer("w"); count];
    let (request, over) = (1, Reason::TooManyWatched);
    check(WATCHED_MAX, over, |count| {
        client(Watch { request, peers: peers(count), signature: None })
    });
    check(WATCHED_MAX, over, |count| client(Unwatch { request, peers: peers(count) }));
    check(WATCHED_MAX, over, |count| client(Status { request, peers: peers(count) }));
    let over = Reason::BadFrame;
    check(WATCHED_MAX, over, |count| server(Watched { request, online: peers(count) }));
    check(WATCHED_MAX, over, |count| server(Statuses { request, online: peers(count) }));
    check(WATCHED_MAX, over, |count| server(Presence { online: peers(count), offline: vec![] }));
    check(WATCHED_MAX, over, |count| server(Presence { online: vec![], offline: peers(count) }));
}

#[test]
fn one_invited_or_kicked_peer_too_many_is_refused() {
    let peers = |count| vec![peer("i"); count];
    let (request, group, over) = (1, Join::NEW, Reason::TooManyRecipients);
    check(INVITED_MAX, over, |count| {
        client(Invite { request, group, peers: peers(count), signature: None })
    });
    check(INVITED_MAX, over, |count| {
        client(Kick { request, group, peers: peers(count), signature: None })
    });
    check(INVITED_MAX, Reason::BadFrame, |count| {
        server(GroupEvent { peers: peers(count), ..golden::group_event() })
    });
}

#[test]
fn metadata_one_byte_too_long_is_refused() {
    let metadata = |len| Bytes::from(vec![b' '; len]);
    let over = Reason::BadMetadata;
    check(GROUP_METADATA_BYTES_MAX, over, |len| {
        client(Join { metadata: metadata(len), ..golden::join() })
    });
    check(GROUP_METADATA_BYTES_MAX, over, |len| {
        let metadata = Some(metadata(len));
        client(Edit { request: 1, group: Join::NEW, rules: None, metadata })
    });
    let Join { request, group, rules, .. } = golden::join();
    check(GROUP_METADATA_BYTES_MAX, over, |len| {
        let (version, metadata) = (MessageId(7), metadata(len));
        server(Joined { request, group, open: false, version, count: 1, rules, metadata })
    });
    check(GROUP_METADATA_BYTES_MAX, over, |len| {
        server(MemberPage { metadata: metadata(len), ..golden::member_page() })
    });
}

#[test]
fn a_page_with_one_thing_too_many_is_refused() {
    let (request, more, over) = (1, false, Reason::BadFrame);
    let small = Past { to: vec![], client_msg_no: "".into(), ..golden::past() };
    check(MEMBERS_PAGE_MAX, over, |count| {
        server(MemberPage { members: vec![peer("m"); count], ..golden::member_page() })
    });
    check(CONVERSATIONS_PAGE_MAX, over, |count| {
        let conversations = vec![golden::conversation(); count];
        server(ConversationPage { request, more, conversations })
    });
    check(HISTORY_PAGE_MAX, over, |count| {
        server(HistoryPage { request, more, messages: vec![small.clone(); count] })
    });
    check(DEVICES_PER_PEER_MAX, over, |count| {
        server(DeviceList { request, devices: vec![golden::device(); count] })
    });
    check(RECIPIENTS_MAX, over, |count| {
        let messages = vec![Past { to: vec![peer("p"); count], ..golden::past() }];
        server(HistoryPage { request, more, messages })
    });
    check(RECIPIENTS_MAX, over, |count| {
        let others = vec![peer("p"); count];
        let conversations = vec![Conversation { others, ..golden::conversation() }];
        server(ConversationPage { request, more, conversations })
    });
    check(BODY_BYTES_MAX, over, |len| {
        let messages = vec![Past { body: vec![7; len].into(), ..golden::past() }];
        server(HistoryPage { request, more, messages })
    });
}

#[test]
fn a_list_that_is_longer_than_its_frame_is_a_bad_frame() {
    // Counts up to the limits, with nothing behind them.
    for (kind, fields) in [
        (kind::HISTORY_PAGE, &[1, 0, 0x43, 0xe8][..]),
        (kind::CONVERSATION_PAGE, &[1, 0, 40]),
        (kind::DEVICE_LIST, &[1, 16]),
        (kind::WATCHED, &[1, 0x43, 0xe8]),
    ] {
        let raw = RawFrame { kind, fields: Bytes::copy_from_slice(fields) };
        assert_eq!(reason_of(ServerFrame::decode(raw)), Some(Reason::BadFrame), "{kind:#04x}");
    }
}

#[test]
fn a_text_one_byte_too_long_is_refused() {
    let to_bob = || send(Target::Peers(vec![peer("bob")]));
    let signed = |nonce, signature| {
        let signature = Some(Signature { nonce, timestamp: 1, signature });
        client(Open { signature, ..open() })
    };
    let over = Reason::BadFrame;
    check(APP_ID_BYTES_MAX, over, |len| client(Open { app: text(len), ..open() }));
    check(CLIENT_NAME_BYTES_MAX, over, |len| client(Open { client: text(len), ..open() }));
    check(NONCE_BYTES_MAX, over, |len| signed(text(len), text(40)));
    check(SIGNATURE_BYTES_MAX, over, |len| signed(text(8), text(len)));
    check(CLIENT_MSG_NO_BYTES_MAX, over, |len| {
        client(Send { client_msg_no: text(len), ..to_bob() })
    });
    check(PUSH_TEXT_BYTES_MAX, over, |len| client(Send { push: text(len), ..to_bob() }));
    check(CLIENT_MSG_NO_BYTES_MAX, over, |len| {
        server(Deliver { client_msg_no: text(len), ..deliver(pair(), vec![]) })
    });
    check(REASON_TEXT_BYTES_MAX, over, |len| {
        server(Error { request: 0, reason: 12, text: text(len) })
    });
    check(REASON_TEXT_BYTES_MAX, over, |len| {
        server(GoAway { reason: Reason::Restarting, wait_ms: 0, text: text(len) })
    });
}

#[test]
fn an_id_one_byte_too_long_is_refused() {
    let check = |frame: Frame, id: &str, max: usize| {
        let decode = |len: usize| ClientFrame::decode(with_text(&frame, id, &vec![b'p'; len]));
        assert_eq!(reason_of(decode(max)), None, "{id} of {max} bytes");
        assert_eq!(reason_of(decode(max + 1)), Some(Reason::BadId), "{id} of {max} bytes and one");
    };
    check(client(open()), "alice", PEER_ID_BYTES_MAX);
    check(client(open()), "carol", PEER_ID_BYTES_MAX);
    check(client(open()), "phone", DEVICE_ID_BYTES_MAX);
    check(client(send(Target::Peers(vec![peer("bob")]))), "bob", PEER_ID_BYTES_MAX);
    let (group, peers) = (Join::NEW, vec![peer("bob")]);
    let members = Members { request: 1, group, after: Some(peer("bob")), max: 1 };
    check(client(members), "bob", PEER_ID_BYTES_MAX);
    let watch = Watch { request: 1, peers: peers.clone(), signature: None };
    check(client(watch), "bob", PEER_ID_BYTES_MAX);
    let invite = Invite { request: 1, group, peers, signature: None };
    check(client(invite), "bob", PEER_ID_BYTES_MAX);
    let alias = || Alias::new("vip").unwrap();
    check(client(BindAlias { request: 1, alias: alias() }), "vip", ALIAS_BYTES_MAX);
    let unbind = UnbindAlias { request: 1, alias: alias(), all: true };
    check(client(unbind), "vip", ALIAS_BYTES_MAX);
}

#[test]
fn an_alias_may_have_a_colon_and_must_have_characters_that_do_nothing() {
    let bind = |alias: &[u8]| {
        let frame = client(BindAlias { request: 1, alias: Alias::new("vip").unwrap() });
        ClientFrame::decode(with_text(&frame, "vip", alias))
    };
    for alias in [&b""[..], b"a\nb", b"a\xff"] {
        assert_eq!(reason_of(bind(alias)), Some(Reason::BadId), "{alias:?}");
    }
    let alias = Alias::new("a:b").unwrap();
    assert_eq!(bind(b"a:b"), Ok(BindAlias { request: 1, alias }.into()));
}

#[test]
fn an_id_that_is_empty_or_has_a_colon_a_control_character_or_no_utf8_is_refused() {
    let send = client(send(Target::Peers(vec![peer("bob")])));
    for id in [&b""[..], b"b:b", b"b\nb", b"b\xffb", &[b'b'; 300]] {
        let decoded = ClientFrame::decode(with_text(&client(open()), "alice", id));
        assert_eq!(reason_of(decoded), Some(Reason::BadId), "{id:?} opens");
        let decoded = ClientFrame::decode(with_text(&send, "bob", id));
        assert_eq!(reason_of(decoded), Some(Reason::BadId), "{id:?} receives");
    }
}

#[test]
fn an_empty_device_is_none_however_long_its_length_is_written() {
    let decoded = ClientFrame::decode(with_text(&client(open()), "phone", b""));
    assert_eq!(decoded, Ok(Open { device: None, ..open() }.into()));
    let colon = ClientFrame::decode(with_text(&client(open()), "phone", b"a:b"));
    let device = Some(DeviceId::new("a:b").unwrap());
    assert_eq!(colon, Ok(Open { device, ..open() }.into()));
}

#[test]
fn a_frame_one_byte_too_long_is_refused_before_it_has_come() {
    let begin = |len: usize| Bytes::copy_from_slice(&(len as u32 | 0x8000_0000).to_be_bytes());
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(begin(FRAME_BYTES_MAX));
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(vec![kind::PING; FRAME_BYTES_MAX].into());
    let frame = decoder.next_frame().unwrap().expect("the longest frame there can be");
    assert_eq!(frame.fields.len(), FRAME_BYTES_MAX - 1);

    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(begin(FRAME_BYTES_MAX + 1));
    assert_eq!(reason_of(decoder.next_frame()), Some(Reason::FrameTooLong));

    // Also when the length itself comes in pieces.
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let length = (VARINT_MAX | 0xc000_0000_0000_0000).to_be_bytes();
    for byte in &length[..7] {
        decoder.push(Bytes::copy_from_slice(&[*byte]));
        assert_eq!(decoder.next_frame(), Ok(None));
    }
    decoder.push(Bytes::copy_from_slice(&length[7..]));
    assert_eq!(reason_of(decoder.next_frame()), Some(Reason::FrameTooLong));
}

#[test]
fn a_frame_without_a_kind_is_refused() {
    for prefix in [&[0][..], &[0x40, 0], &[0x80, 0, 0, 0], &[0xc0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.push(Bytes::copy_from_slice(prefix));
        assert_eq!(reason_of(decoder.next_frame()), Some(Reason::BadFrame), "{prefix:?}");
    }
}

#[test]
fn an_unknown_kind_of_frame_is_answered_with_unknown_kind() {
    let raw = |kind| RawFrame { kind, fields: Bytes::from_static(&[7]) };
    for number in [0x00, 0x07, 0x17, 0x26, 0x33, 0x7f, kind::SENT, kind::ERROR] {
        assert_eq!(reason_of(ClientFrame::decode(raw(number))), Some(Reason::UnknownKind));
    }
    for number in [0x91, 0xb3, 0xc9, 0xfe, kind::OPEN, kind::SEND] {
        assert_eq!(reason_of(ServerFrame::decode(raw(number))), Some(Reason::UnknownKind));
    }
}

#[test]
fn another_version_of_the_protocol_is_told_so_whatever_its_other_fields_are() {
    for version in [0u16, 2, u16::MAX] {
        let fields = Bytes::copy_from_slice(&version.to_be_bytes());
        let decoded = ClientFrame::decode(RawFrame { kind: kind::OPEN, fields });
        assert_eq!(reason_of(decoded), Some(Reason::BadVersion));
    }
}

#[test]
fn a_value_that_the_protocol_does_not_name_is_a_bad_frame() {
    // The byte at `at` of the fields becomes 9.
    let check = |frame: Frame, at: usize| {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        let mut fields = BytesMut::from(&fields[..]);
        fields[at] = 9;
        let raw = RawFrame { kind, fields: fields.freeze() };
        let reason = match frame {
            Frame::Client(_) => reason_of(ClientFrame::decode(raw)),
            Frame::Server(_) => reason_of(ServerFrame::decode(raw)),
        };
        assert_eq!(reason, Some(Reason::BadFrame));
    };
    let bare = Open { signature: None, ..open() };
    let signed_at = first_frame(client(bare.clone()).encode()).fields.len() - 1;
    let flag_at = 2 + 6 + 6 + 6;
    // The numbers of this Send take 1, 1, 2, 2 and 4 bytes, its text 5.
    let target_at = 1 + 1 + 2 + 2 + 4 + 5;
    let conversation_at = 1 + 8 + 4 + 8;
    check(client(bare.clone()), signed_at);
    check(client(bare), flag_at);
    check(client(send(Target::Peers(vec![]))), target_at);
    check(server(deliver(pair(), vec![])), conversation_at);
    // A request of one byte, a group and a u8; the metadata behind the rules.
    let rules_at = 1 + 12 + 1;
    for at in rules_at..rules_at + 3 {
        check(client(golden::join()), at);
    }
    // Flags, an id and a group.
    check(server(golden::group_event()), 1 + 8 + 12);
    // A request, a count, and a device with its length.
    check(server(DeviceList { request: 1, devices: vec![golden::device()] }), 1 + 1 + 6);
    let mark = ReadUpTo { request: 1, conversation: pair(), sequence: 1 };
    check(client(mark), 1);
    let listed =
        ConversationPage { request: 1, more: false, conversations: vec![golden::conversation()] };
    check(server(listed), 1 + 1 + 1 + 1);
}

#[test]
fn a_negative_message_id_or_a_sequence_above_its_range_is_a_bad_frame() {
    let ack = RawFrame { kind: kind::ACK, fields: Bytes::from_static(&[0xff; 8]) };
    assert_eq!(reason_of(ClientFrame::decode(ack)), Some(Reason::BadFrame));
    let sequence_of_33_bits = [1, 0, 0, 0, 0, 0, 0, 0, 5, 0xc0, 0, 0, 1, 0, 0, 0, 0];
    let fields = [&sequence_of_33_bits[..], &[0; 8]].concat().into();
    let decoded = ServerFrame::decode(RawFrame { kind: kind::SENT, fields });
    assert_eq!(reason_of(decoded), Some(Reason::BadFrame));
    // The byte at `at` begins an id.
    let negative = |frame: ServerFrame, at: usize| {
        let RawFrame { kind, fields } = first_frame(Frame::Server(frame).encode());
        let mut fields = BytesMut::from(&fields[..]);
        fields[at] |= 0x80;
        reason_of(ServerFrame::decode(RawFrame { kind, fields: fields.freeze() }))
    };
    let (id, at_ms) = (MessageId(7), 1);
    let stored = UpstreamStored { request: 1, id, at_ms };
    assert_eq!(negative(stored.into(), 1), Some(Reason::BadFrame));
    let done = UpstreamDone { waited: true, id, upstream: id, accepted: true, at_ms };
    for at in [1, 1 + 8] {
        assert_eq!(negative(done.into(), at), Some(Reason::BadFrame));
    }
}

#[test]
fn a_text_that_is_not_utf8_is_a_bad_frame() {
    let decoded = ClientFrame::decode(with_text(&client(open()), "app-1", b"\xff\xfe"));
    assert_eq!(reason_of(decoded), Some(Reason::BadFrame));
}

#[test]
fn a_datagram_without_a_whole_stream_id_is_a_bad_frame() {
    for bytes in [&[][..], &[0x40], &[0xc0, 0, 0]] {
        let decoded = datagram_stream(&mut Bytes::copy_from_slice(bytes));
        assert_eq!(reason_of(decoded), Some(Reason::BadFrame), "{bytes:?}");
    }
}
