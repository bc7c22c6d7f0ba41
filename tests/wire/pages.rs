//! The longest frames there can be fit the limit of a frame.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use tidings::id::{Alias, ConversationId, DeviceId, GroupId, MessageId, PeerId};
use tidings::limits::{
    ALIAS_BYTES_MAX, APP_ID_BYTES_MAX, BODY_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX,
    CLIENT_NAME_BYTES_MAX, CONVERSATIONS_PAGE_MAX, DEVICE_ID_BYTES_MAX, DEVICES_PER_PEER_MAX,
    FRAME_BYTES_MAX, GROUP_METADATA_BYTES_MAX, HISTORY_PAGE_BYTES_MAX, HISTORY_PAGE_MAX,
    INVITED_MAX, MEMBERS_PAGE_MAX, NONCE_BYTES_MAX, PEER_ID_BYTES_MAX, PUSH_TEXT_BYTES_MAX,
    RECIPIENTS_MAX, SIGNATURE_BYTES_MAX, WATCHED_MAX,
};
use tidings::wire::{
    BindAlias, Conversation, ConversationPage, Deliver, Device, DeviceList, GroupEvent,
    HistoryPage, Invite, Join, MemberPage, Open, Opened, Past, Presence, Send, Signature, Statuses,
    Target, Text, UnbindAlias, Upstream, VARINT_MAX, Watch, Watched,
};

use crate::strategies::any_past;
use crate::{Frame, client, deliver, first_frame, golden, open, opened, peer, send, server};

const LAST: MessageId = MessageId(i64::MAX);

fn text(len: usize) -> Text {
    "t".repeat(len).into()
}

fn longest_peer() -> PeerId {
    peer(&"p".repeat(PEER_ID_BYTES_MAX))
}

fn longest_peers(count: usize) -> Vec<PeerId> {
    vec![longest_peer(); count]
}

fn longest_device() -> DeviceId {
    DeviceId::new(&"d".repeat(DEVICE_ID_BYTES_MAX)).unwrap()
}

fn longest_signature() -> Option<Signature> {
    let (nonce, signature) = (text(NONCE_BYTES_MAX), text(SIGNATURE_BYTES_MAX));
    Some(Signature { nonce, timestamp: u64::MAX, signature })
}

fn longest_body() -> Bytes {
    vec![7; BODY_BYTES_MAX].into()
}

fn longest_metadata() -> Bytes {
    vec![b' '; GROUP_METADATA_BYTES_MAX].into()
}

fn longest_past() -> Past {
    Past {
        recalled: true,
        id: LAST,
        sequence: u32::MAX,
        at_ms: u64::MAX,
        from: longest_peer(),
        to: longest_peers(RECIPIENTS_MAX),
        client_msg_no: text(CLIENT_MSG_NO_BYTES_MAX),
        body: longest_body(),
    }
}

/// Bytes of a frame behind its length.
fn len_of(frame: &Frame) -> usize {
    first_frame(frame.encode()).fields.len() + 1
}

/// Fails if a decoder with the limit in force refuses the frame.
fn fits(frame: &Frame) {
    assert_eq!(&frame.decode_like(first_frame(frame.encode())), frame);
    assert!(len_of(frame) <= FRAME_BYTES_MAX);
}

#[test]
fn the_longest_requests_fit_a_frame() {
    let (request, group, signature) = (VARINT_MAX, GroupId([9; 12]), longest_signature());
    fits(&client(Open {
        app: text(APP_ID_BYTES_MAX),
        peer: longest_peer(),
        device: Some(longest_device()),
        client: text(CLIENT_NAME_BYTES_MAX),
        watch: longest_peers(WATCHED_MAX),
        signature: signature.clone(),
        ..open()
    }));
    let peers = longest_peers(WATCHED_MAX);
    fits(&client(Watch { request, peers, signature: signature.clone() }));
    let peers = longest_peers(INVITED_MAX);
    fits(&client(Invite { request, group, peers, signature: signature.clone() }));
    let metadata = longest_metadata();
    fits(&client(Join { request, metadata, signature, ..golden::join() }));
    fits(&client(Send {
        request,
        number: VARINT_MAX,
        answered: VARINT_MAX,
        ttl_ms: VARINT_MAX,
        client_msg_no: text(CLIENT_MSG_NO_BYTES_MAX),
        body: longest_body(),
        push: text(PUSH_TEXT_BYTES_MAX),
        ..send(Target::Peers(longest_peers(RECIPIENTS_MAX)))
    }));
    let alias = Alias::new(&"a".repeat(ALIAS_BYTES_MAX)).unwrap();
    fits(&client(BindAlias { request, alias: alias.clone() }));
    fits(&client(UnbindAlias { request, alias, all: true }));
    let (number, answered, body) = (VARINT_MAX, VARINT_MAX, longest_body());
    fits(&client(Upstream { request, number, answered, body }));
}

#[test]
fn the_longest_lists_of_peers_fit_a_frame() {
    let request = VARINT_MAX;
    fits(&server(Opened {
        device: longest_device(),
        online: longest_peers(WATCHED_MAX),
        next_number: VARINT_MAX,
        waiting: VARINT_MAX,
        dropped: VARINT_MAX,
        frame_bytes_max: VARINT_MAX,
        body_bytes_max: VARINT_MAX,
        recipients_max: VARINT_MAX,
        sends_max: VARINT_MAX,
        ..opened()
    }));
    fits(&server(Watched { request, online: longest_peers(WATCHED_MAX) }));
    fits(&server(Statuses { request, online: longest_peers(WATCHED_MAX) }));
    // A peer stands in one of the lists.
    for online in [0, WATCHED_MAX / 2, WATCHED_MAX] {
        let (online, offline) = (longest_peers(online), longest_peers(WATCHED_MAX - online));
        fits(&server(Presence { online, offline }));
    }
    let peers = longest_peers(INVITED_MAX);
    fits(&server(GroupEvent { by: Some(longest_peer()), peers, ..golden::group_event() }));
    fits(&server(Deliver {
        id: LAST,
        sequence: u32::MAX,
        from: longest_peer(),
        client_msg_no: text(CLIENT_MSG_NO_BYTES_MAX),
        body: longest_body(),
        ..deliver(ConversationId::Peers([9; 16]), longest_peers(RECIPIENTS_MAX))
    }));
}

#[test]
fn the_longest_page_of_each_kind_fits_a_frame() {
    let (request, more) = (VARINT_MAX, true);
    fits(&server(MemberPage {
        request,
        creator: Some(longest_peer()),
        count: VARINT_MAX,
        metadata: longest_metadata(),
        members: longest_peers(MEMBERS_PAGE_MAX),
        ..golden::member_page()
    }));
    let conversation = Conversation {
        others: longest_peers(RECIPIENTS_MAX),
        last: LAST,
        sequence: u32::MAX,
        read: u32::MAX,
        unread: u32::MAX,
        ..golden::conversation()
    };
    let conversations = vec![conversation; CONVERSATIONS_PAGE_MAX];
    fits(&server(ConversationPage { request, more, conversations }));
    let device = Device { device: longest_device(), seen_ms: u64::MAX, ..golden::device() };
    fits(&server(DeviceList { request, devices: vec![device; DEVICES_PER_PEER_MAX] }));
}

#[test]
fn a_page_of_history_with_as_many_bytes_as_it_may_have_fits_a_frame() {
    let (request, more) = (VARINT_MAX, true);
    let filled = |past: Past| {
        let count = (HISTORY_PAGE_BYTES_MAX / past.bytes_max()).min(HISTORY_PAGE_MAX);
        server(HistoryPage { request, more, messages: vec![past; count] })
    };
    fits(&filled(longest_past()));
    fits(&filled(Past { to: vec![], from: peer("p"), body: Bytes::new(), ..golden::past() }));
    // One message is on a page however long it is.
    assert!(longest_past().bytes_max() <= HISTORY_PAGE_BYTES_MAX);
}

proptest! {
    #[test]
    fn a_message_takes_no_more_of_a_page_than_it_says(messages in vec(any_past(), 1..5)) {
        let page = |messages| len_of(&server(HistoryPage { request: 1, more: false, messages }));
        let said: usize = messages.iter().map(Past::bytes_max).sum();
        prop_assert!(page(messages) - page(vec![]) <= said);
        let longest = longest_past();
        prop_assert!(page(vec![longest.clone()]) - page(vec![]) <= longest.bytes_max());
    }
}
