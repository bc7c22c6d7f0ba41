//! The protocol, held to its specification from outside: golden bytes, round trips, limits.
//!
//! # Invariants
//!
//! * A file of `tests/golden/` is what some client out there speaks. It is never edited; a new
//!   form of a frame is a new file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod limits;
mod pages;
mod properties;
mod strategies;

use bytes::{Bytes, BytesMut};

use tidings::id::{ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId};
use tidings::limits::FRAME_BYTES_MAX;
use tidings::reason::Reason;
use tidings::wire::{
    Ack, ClientFrame, Close, Closed, Decoder, Deliver, Dropped, Error, GoAway, Open, Opened, Ping,
    Pong, RawFrame, Send, Sent, ServerFrame, Signature, Target,
};

/// A frame of either side, so that one test serves both.
#[derive(Clone, Debug, PartialEq)]
enum Frame {
    Client(ClientFrame),
    Server(ServerFrame),
}

impl Frame {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Self::Client(frame) => frame.encode(&mut out),
            Self::Server(frame) => frame.encode(&mut out),
        }
        out.freeze()
    }

    /// Decodes as the side that this frame comes from.
    fn decode_like(&self, raw: RawFrame) -> Self {
        match self {
            Self::Client(_) => Self::Client(ClientFrame::decode(raw).unwrap()),
            Self::Server(_) => Self::Server(ServerFrame::decode(raw).unwrap()),
        }
    }
}

fn client(frame: impl Into<ClientFrame>) -> Frame {
    Frame::Client(frame.into())
}

fn server(frame: impl Into<ServerFrame>) -> Frame {
    Frame::Server(frame.into())
}

fn peer(text: &str) -> PeerId {
    PeerId::new(text).unwrap()
}

fn open() -> Open {
    Open {
        version: 1,
        app: "app-1".into(),
        peer: peer("alice"),
        device: Some(DeviceId::new("phone").unwrap()),
        flag: DeviceFlag::Pc,
        instance: 0x0102_0304_0506_0708,
        client: "golden/1.0".into(),
        epoch: 0xfedc_ba98_7654_3210,
        cursor: MessageId(0x0123_4567_89ab_cdef),
        watch: vec![peer("bob"), peer("carol")],
        signature: Some(Signature {
            nonce: "n1".into(),
            timestamp: 1_767_225_600_000,
            signature: "0a1b2c".into(),
        }),
    }
}

fn send(target: Target) -> Send {
    Send {
        request: 7,
        transient: false,
        receipt: true,
        number: 100,
        answered: 98,
        ttl_ms: 3_600_000,
        client_msg_no: "no-9".into(),
        target,
        body: Bytes::from_static(b"hello"),
        push: "".into(),
    }
}

fn deliver(conversation: ConversationId, to: Vec<PeerId>) -> Deliver {
    Deliver {
        transient: false,
        receipt: true,
        waited: true,
        own: false,
        id: MessageId(0x0123_4567_89ab_cdef),
        sequence: 70_000,
        at_ms: 1_767_225_600_000,
        conversation,
        from: peer("alice"),
        to,
        client_msg_no: "no-9".into(),
        body: Bytes::from_static(b"hello"),
    }
}

fn opened() -> Opened {
    Opened {
        session: SessionId(0x0123_4567_89ab_cdef),
        epoch: 0xfedc_ba98_7654_3210,
        device: DeviceId::new("phone").unwrap(),
        next_number: 101,
        waiting: 50,
        dropped: 10,
        at_ms: 1_767_225_600_000,
        online: vec![peer("bob")],
        frame_bytes_max: 67_584,
        body_bytes_max: 5_120,
        recipients_max: 20,
        sends_max: 128,
    }
}

/// What each golden file says.
fn golden_frames() -> Vec<(&'static str, Frame)> {
    let id = MessageId(0x0123_4567_89ab_cdef);
    let at_ms = 1_767_225_600_000;
    let group = GroupId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xff]);
    let pair = ConversationId::of_peers([&peer("alice"), &peer("bob")]);
    let bare = Open {
        app: "".into(),
        device: None,
        flag: DeviceFlag::App,
        client: "".into(),
        epoch: 0,
        cursor: MessageId::NONE,
        watch: vec![],
        signature: None,
        ..open()
    };
    let wave = Send {
        transient: true,
        receipt: false,
        number: 0,
        ttl_ms: 0,
        client_msg_no: "".into(),
        ..send(Target::Peers(vec![peer("bob")]))
    };
    let shown_as = Send { push: "Lunch?".into(), ..send(Target::Peers(vec![peer("bob")])) };
    let shown = Deliver {
        transient: true,
        receipt: false,
        waited: false,
        id: MessageId::NONE,
        sequence: 0,
        client_msg_no: "".into(),
        ..deliver(pair, vec![peer("bob")])
    };
    let back = "back in a moment".into();
    let mut frames = vec![
        ("open", client(open())),
        ("open-bare", client(bare)),
        ("close", client(Close { request: 3 })),
        ("ping", client(Ping { request: 16_384 })),
        ("send-to-peers", client(send(Target::Peers(vec![peer("bob"), peer("carol")])))),
        ("send-to-group", client(send(Target::Group(group)))),
        ("send-with-push", client(shown_as)),
        ("send-transient", client(wave)),
        ("ack", client(Ack { id })),
        ("opened", server(opened())),
        ("closed", server(Closed { request: 3 })),
        ("pong", server(Pong { request: 16_384, at_ms })),
        ("sent", server(Sent { request: 7, id, sequence: 70_000, at_ms })),
        ("deliver-to-peers", server(deliver(pair, vec![peer("bob"), peer("carol")]))),
        ("deliver-to-group", server(deliver(ConversationId::Group(group), vec![]))),
        ("deliver-transient", server(shown)),
        ("dropped", server(Dropped { count: 10, id })),
        ("go-away", server(GoAway { reason: Reason::Restarting, wait_ms: 1_500, text: back })),
        ("error", server(Error { request: 7, reason: 20, text: "too long".into() })),
    ];
    frames.extend(golden::frames());
    frames
}

fn hex(bytes: &[u8]) -> String {
    let lines = bytes.chunks(32).map(|line| {
        let digits: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    });
    lines.collect()
}

fn from_hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn golden_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn first_frame(bytes: Bytes) -> RawFrame {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(bytes);
    decoder.next_frame().unwrap().expect("a whole frame")
}

#[test]
fn every_frame_has_the_bytes_it_has_always_had() {
    let mut wrong = String::new();
    for (name, frame) in golden_frames() {
        let path = golden_folder().join(format!("frame-{name}.hex"));
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let encoded = hex(&frame.encode());
        if encoded != golden {
            wrong += &format!("frame-{name}.hex\ngolden:\n{golden}encoded:\n{encoded}\n");
        } else if frame.decode_like(first_frame(from_hex(&golden))) != frame {
            wrong += &format!("frame-{name}.hex is read as something else\n");
        }
    }
    assert!(wrong.is_empty(), "the protocol has changed:\n{wrong}");
}

#[test]
fn every_kind_of_frame_has_a_golden_file_and_every_golden_file_a_frame() {
    let frames = golden_frames();
    let kinds = golden_kinds();
    for number in 0..=u8::MAX {
        let raw = RawFrame { kind: number, fields: Bytes::new() };
        let unknown = |reason: Option<Reason>| reason == Some(Reason::UnknownKind);
        let known = !unknown(ClientFrame::decode(raw.clone()).err().map(|e| e.reason))
            || !unknown(ServerFrame::decode(raw).err().map(|e| e.reason));
        assert_eq!(known, kinds.contains(&number), "kind {number:#04x}");
    }
    for file in std::fs::read_dir(golden_folder()).unwrap() {
        let file = file.unwrap().file_name().into_string().unwrap();
        if let Some(name) = file.strip_prefix("frame-").and_then(|n| n.strip_suffix(".hex")) {
            assert!(frames.iter().any(|(known, _)| *known == name), "nothing reads {file}");
        }
    }
}

/// The kinds of all frames there are.
fn golden_kinds() -> Vec<u8> {
    golden_frames().iter().map(|(_, frame)| first_frame(frame.encode()).kind).collect()
}
