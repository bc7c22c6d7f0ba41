//! Entries of a log, and what is told of them.

use std::sync::Arc;

use bytes::Bytes;

use tidings::group::{GroupChange, Rules};
use tidings::id::{ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId};
use tidings::store::{
    Absent, Change, Counts, Ending, Entry, GroupAction, Message, NewUpstream, Opening, Origin,
    Placed, Recall, SendNumber,
};
use tidings::webhook::dialect::{Dialect, Fragment, Style};
use tidings::webhook::event::{Event, events};

pub(crate) const AT_MS: i64 = 1_767_225_600_123;
pub(crate) const ID: MessageId = MessageId(0x0123_4567_89ab_cdef);
pub(crate) const GROUP: GroupId = GroupId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xff]);
pub(crate) const SECRET: &str = "654321";

pub(crate) fn style(dialect: Dialect) -> Style {
    let (app_id, push_text) = ("acme#chat".into(), "A new message".into());
    Style { dialect, app_id, push_text, secret: SECRET.into(), ..Style::default() }
}

pub(crate) fn peer(text: &str) -> PeerId {
    text.parse().unwrap()
}

pub(crate) fn device(text: &str) -> DeviceId {
    text.parse().unwrap()
}

pub(crate) fn placed(entry: Entry) -> Placed {
    Placed { id: ID, at_ms: AT_MS, entry }
}

pub(crate) fn number() -> SendNumber {
    SendNumber { device: device("phone"), instance: 1, number: 7, answered: 6 }
}

/// A message of alice to some peers, or to a group if there is none.
pub(crate) fn message(to: &[&str], body: &'static [u8]) -> Message {
    let (from, to) = (peer("alice"), to.iter().map(|to| peer(to)).collect::<Vec<_>>());
    let conversation = match to.is_empty() {
        true => ConversationId::Group(GROUP),
        false => ConversationId::of_peers(to.iter().chain([&from])),
    };
    Message {
        id: ID,
        sequence: 7,
        at_ms: AT_MS,
        expires_ms: 0,
        conversation,
        from,
        to,
        devices: Vec::new(),
        receipt: false,
        client_msg_no: "n-1".into(),
        body: Bytes::from_static(body),
    }
}

pub(crate) fn stored(message: Message, absent: &[(&str, u32)]) -> Entry {
    let one = |(absent, waiting): &(&str, u32)| Absent { peer: peer(absent), waiting: *waiting };
    Entry::Message {
        message: Arc::new(message),
        origin: Origin::Client(number()),
        hash: 0,
        push: Bytes::new(),
        absent: absent.iter().map(one).collect(),
    }
}

pub(crate) fn opened() -> Entry {
    let opening = Opening {
        peer: peer("alice"),
        device: device("phone"),
        flag: DeviceFlag::Web,
        instance: 1,
        client: "acme/1.2".into(),
        address: "192.0.2.7:4433".into(),
        cursor: MessageId::NONE,
    };
    Entry::Opened { opening, counts: Counts { same_flag: 1, all: 3 } }
}

pub(crate) fn ended(ending: Ending) -> Entry {
    Entry::Ended {
        peer: peer("alice"),
        device: device("phone"),
        flag: DeviceFlag::Pc,
        session: SessionId(88),
        ending,
        counts: Counts::default(),
    }
}

pub(crate) fn delivered() -> Entry {
    Entry::Delivered {
        to: peer("alice"),
        by: peer("bob"),
        device: device("bobs-phone"),
        conversation: ConversationId::of_peers([&peer("alice"), &peer("bob")]),
        sequence: 9,
        messages: vec![MessageId(70), MessageId(90)],
    }
}

pub(crate) fn read() -> Entry {
    Entry::Read {
        peer: peer("bob"),
        conversation: ConversationId::of_peers([&peer("alice"), &peer("bob")]),
        sequence: 9,
        others: vec![peer("alice")],
    }
}

pub(crate) fn recalled() -> Entry {
    Entry::Recalled(Recall {
        message: MessageId(70),
        conversation: ConversationId::of_peers([&peer("alice"), &peer("bob")]),
        sequence: 7,
        by: Some(peer("alice")),
        concerned: vec![peer("bob"), peer("alice")],
    })
}

pub(crate) fn created() -> Entry {
    let (rules, metadata) = (Rules::default(), Bytes::from_static(br#"{"name":"hikers"}"#));
    let members = vec![peer("alice"), peer("bob")];
    let action = GroupAction::Create { open: false, rules, metadata, members };
    Entry::GroupCreated { group: GROUP, by: Some(peer("alice")), action }
}

pub(crate) fn changed(change: GroupChange, peers: &[&str]) -> Entry {
    let peers = peers.iter().map(|text| peer(text)).collect();
    let rules = (change == GroupChange::Edited).then(Rules::default);
    let metadata = (change == GroupChange::Edited).then(Bytes::new);
    let change = Change { change, peers, rules, metadata };
    Entry::GroupChanged { group: GROUP, by: None, change, sequence: 7 }
}

pub(crate) fn upstream() -> Entry {
    let body = Bytes::from_static(b"order\n1 \xc3\xa4");
    Entry::Upstream(NewUpstream { from: peer("alice"), number: number(), body })
}

pub(crate) fn unacknowledged() -> Entry {
    Entry::Unacknowledged { peer: peer("bob"), waiting: 3, messages: vec![MessageId(1), ID] }
}

/// All that is told of some entries.
pub(crate) fn told(style: &Style, entries: &[Entry], found: &[Placed]) -> Vec<Fragment> {
    let events = entries.iter().flat_map(|entry| events(&placed(entry.clone()), found));
    events.flat_map(|event: Event| style.fragments(&event)).collect()
}

/// The bodies of the requests that tell it, each with its query.
pub(crate) fn bodies(style: &Style, fragments: &[Fragment]) -> Vec<(String, Bytes)> {
    let mut bodies = Vec::new();
    let mut rest = fragments;
    while let Some(first) = rest.first() {
        let fits = |other: &&Fragment| !other.alone && other.stream == first.stream;
        let count = match first.alone {
            true => 1,
            false => rest.iter().take_while(fits).count(),
        };
        let (now, later) = rest.split_at(count);
        let outgoing = style.body(now);
        bodies.push((outgoing.query, outgoing.body));
        rest = later;
    }
    bodies
}
