//! Frames with any content that the protocol allows.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use tidings::group::{GroupChange, Rules, Who};
use tidings::id::{
    Alias, ConversationId, DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId,
};
use tidings::limits::{
    APP_ID_BYTES_MAX, CLIENT_MSG_NO_BYTES_MAX, CLIENT_NAME_BYTES_MAX, DEVICES_PER_PEER_MAX,
    NONCE_BYTES_MAX, PUSH_TEXT_BYTES_MAX, REASON_TEXT_BYTES_MAX, RECIPIENTS_MAX,
    SIGNATURE_BYTES_MAX,
};
use tidings::reason::Reason;
use tidings::wire::{
    Ack, AliasBound, AliasUnbound, BindAlias, ClientFrame, Close, Closed, Conversation,
    ConversationPage, Conversations, Deliver, Delivered, Device, DeviceList, Devices, Dropped,
    Edit, Edited, Error, GoAway, GroupEvent, History, HistoryPage, Invite, Invited, Join, Joined,
    Kick, Kicked, Leave, Left, MemberPage, Members, Open, Opened, Past, Ping, Pong, Presence, Read,
    ReadNoted, ReadUpTo, Recall, RecallDone, Recalled, Send, Sent, Signature, Status, Statuses,
    Target, Text, UnbindAlias, Unwatch, Unwatched, Upstream, UpstreamDone, UpstreamStored, Watch,
    Watched,
};

use crate::{Frame, client, peer, server};

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

pub(crate) fn any_varint() -> impl Strategy<Value = u64> {
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
    (
        flags,
        numbers,
        any_text(CLIENT_MSG_NO_BYTES_MAX),
        target,
        any_body(),
        any_text(PUSH_TEXT_BYTES_MAX),
    )
        .prop_map(
            |(flags, (request, number, answered, ttl_ms), client_msg_no, target, body, push)| {
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
                    push,
                })
            },
        )
}

fn any_deliver() -> impl Strategy<Value = Frame> {
    let flags = any::<(bool, bool, bool, bool)>();
    let numbers = (any_id(), any::<u32>(), any::<u64>());
    let people = (any_conversation(), any_peer(), any_peers(RECIPIENTS_MAX));
    (flags, numbers, people, any_text(CLIENT_MSG_NO_BYTES_MAX), any_body()).prop_map(
        |(flags, (id, sequence, at_ms), (conversation, from, to), client_msg_no, body)| {
            let (transient, receipt, waited, own) = flags;
            server(Deliver {
                transient,
                receipt,
                waited,
                own,
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

/// The frames of every session: opening, sending, receiving, ending.
fn any_basic() -> impl Strategy<Value = Frame> {
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

fn any_metadata() -> impl Strategy<Value = Bytes> {
    any_body()
}

fn any_group() -> impl Strategy<Value = GroupId> {
    any::<[u8; 12]>().prop_map(GroupId)
}

fn any_rules() -> impl Strategy<Value = Rules> {
    let who = || prop::sample::select(&[Who::Server, Who::Creator, Who::Members][..]);
    (who(), who(), who()).prop_map(|(invite, kick, edit)| Rules { invite, kick, edit })
}

fn any_watching() -> impl Strategy<Value = Frame> {
    let asked = || (any_varint(), any_peers(30));
    prop_oneof![
        (asked(), option::of(any_signature()))
            .prop_map(|((request, peers), signature)| client(Watch { request, peers, signature })),
        asked().prop_map(|(request, peers)| client(Unwatch { request, peers })),
        asked().prop_map(|(request, peers)| client(Status { request, peers })),
        asked().prop_map(|(request, online)| server(Watched { request, online })),
        any_varint().prop_map(|request| server(Unwatched { request })),
        asked().prop_map(|(request, online)| server(Statuses { request, online })),
        (any_peers(30), any_peers(30))
            .prop_map(|(online, offline)| server(Presence { online, offline })),
    ]
}

fn any_receipt() -> impl Strategy<Value = Frame> {
    let mark = || (any_conversation(), any_peer(), any::<u32>(), any::<u64>());
    let recalled = (any::<bool>(), any_id(), any_id(), option::of(any_peer()));
    prop_oneof![
        (any_varint(), any_conversation(), any::<u32>()).prop_map(
            |(request, conversation, sequence)| client(ReadUpTo {
                request,
                conversation,
                sequence
            })
        ),
        any_varint().prop_map(|request| server(ReadNoted { request })),
        (any_varint(), any_id()).prop_map(|(request, message)| client(Recall { request, message })),
        any_varint().prop_map(|request| server(RecallDone { request })),
        mark().prop_map(|(conversation, peer, sequence, at_ms)| server(Delivered {
            conversation,
            peer,
            sequence,
            at_ms
        })),
        mark().prop_map(|(conversation, peer, sequence, at_ms)| server(Read {
            conversation,
            peer,
            sequence,
            at_ms
        })),
        (recalled, any_conversation(), any::<u32>(), any::<u64>()).prop_map(
            |((waited, id, message, by), conversation, sequence, at_ms)| server(Recalled {
                waited,
                id,
                conversation,
                message,
                sequence,
                by,
                at_ms
            })
        ),
    ]
}

pub(crate) fn any_past() -> impl Strategy<Value = Past> {
    let numbers = (any::<bool>(), any_id(), any::<u32>(), any::<u64>());
    let people = (any_peer(), any_peers(RECIPIENTS_MAX));
    (numbers, people, any_text(CLIENT_MSG_NO_BYTES_MAX), any_body()).prop_map(
        |((recalled, id, sequence, at_ms), (from, to), client_msg_no, body)| Past {
            recalled,
            id,
            sequence,
            at_ms,
            from,
            to,
            client_msg_no,
            body,
        },
    )
}

fn any_listed() -> impl Strategy<Value = Conversation> {
    let numbers = (any_id(), any::<u32>(), any::<u32>(), any::<u32>());
    (any_conversation(), any::<bool>(), any_peers(RECIPIENTS_MAX), numbers).prop_map(
        |(conversation, member, others, (last, sequence, read, unread))| Conversation {
            conversation,
            member,
            others,
            last,
            sequence,
            read,
            unread,
        },
    )
}

fn any_listed_device() -> impl Strategy<Value = Device> {
    (any_device(), 0..3u8, any::<bool>(), any::<u64>()).prop_map(
        |(device, flag, online, seen_ms)| {
            let flag = DeviceFlag::from_number(flag).unwrap();
            Device { device, flag, online, seen_ms }
        },
    )
}

fn any_history() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any_varint(), any_conversation(), any_id(), any_varint()).prop_map(
            |(request, conversation, before, max)| client(History {
                request,
                conversation,
                before,
                max
            })
        ),
        (any_varint(), any_id(), any_varint())
            .prop_map(|(request, before, max)| client(Conversations { request, before, max })),
        any_varint().prop_map(|request| client(Devices { request })),
        (any_varint(), any::<bool>(), vec(any_past(), 0..4))
            .prop_map(|(request, more, messages)| server(HistoryPage { request, more, messages })),
        (any_varint(), any::<bool>(), vec(any_listed(), 0..4)).prop_map(
            |(request, more, conversations)| server(ConversationPage {
                request,
                more,
                conversations
            })
        ),
        (any_varint(), vec(any_listed_device(), 0..=DEVICES_PER_PEER_MAX))
            .prop_map(|(request, devices)| server(DeviceList { request, devices })),
    ]
}

/// What clients ask about groups.
fn any_group_request() -> impl Strategy<Value = Frame> {
    let asked = || (any_varint(), any_group());
    let signed = || (any_peers(30), option::of(any_signature()));
    let new = (any::<bool>(), any_rules(), any_metadata(), option::of(any_signature()));
    prop_oneof![
        (asked(), new).prop_map(|((request, group), (open, rules, metadata, signature))| client(
            Join { request, group, open, rules, metadata, signature }
        )),
        asked().prop_map(|(request, group)| client(Leave { request, group })),
        (asked(), signed()).prop_map(|((request, group), (peers, signature))| client(Invite {
            request,
            group,
            peers,
            signature
        })),
        (asked(), signed()).prop_map(|((request, group), (peers, signature))| client(Kick {
            request,
            group,
            peers,
            signature
        })),
        (asked(), option::of(any_peer()), any_varint()).prop_map(
            |((request, group), after, max)| client(Members { request, group, after, max })
        ),
        (asked(), option::of(any_rules()), option::of(any_metadata())).prop_map(
            |((request, group), rules, metadata)| client(Edit { request, group, rules, metadata })
        ),
    ]
}

/// What the server says about groups.
fn any_group_answer() -> impl Strategy<Value = Frame> {
    let versioned = || (any_varint(), any_id());
    let shown = || (any::<bool>(), any_varint(), any_rules(), any_metadata());
    let changes: Vec<GroupChange> = (0..=u8::MAX).filter_map(GroupChange::from_number).collect();
    let event = (any::<bool>(), any_id(), any_group(), prop::sample::select(changes));
    prop_oneof![
        (versioned(), any_group(), shown()).prop_map(
            |((request, version), group, (open, count, rules, metadata))| server(Joined {
                request,
                group,
                open,
                version,
                count,
                rules,
                metadata
            })
        ),
        any_varint().prop_map(|request| server(Left { request })),
        versioned().prop_map(|(request, version)| server(Invited { request, version })),
        versioned().prop_map(|(request, version)| server(Kicked { request, version })),
        versioned().prop_map(|(request, version)| server(Edited { request, version })),
        (versioned(), option::of(any_peer()), shown(), any_peers(30), any::<bool>()).prop_map(
            |((request, version), creator, (open, count, rules, metadata), members, more)| {
                server(MemberPage {
                    request,
                    open,
                    version,
                    creator,
                    count,
                    rules,
                    metadata,
                    members,
                    more,
                })
            }
        ),
        (event, option::of(any_peer()), any_peers(30), any::<u64>()).prop_map(
            |((waited, id, group, change), by, peers, at_ms)| server(GroupEvent {
                waited,
                id,
                group,
                change,
                by,
                peers,
                at_ms
            })
        ),
    ]
}

fn any_alias() -> impl Strategy<Value = Alias> {
    "[a-zA-Z0-9:_é漢 -]{1,50}".prop_map(|text| Alias::new(&text).unwrap())
}

/// What devices and the back end say to each other.
fn any_of_back_end() -> impl Strategy<Value = Frame> {
    let flags = any::<(bool, bool)>();
    prop_oneof![
        (any_varint(), any_alias())
            .prop_map(|(request, alias)| client(BindAlias { request, alias })),
        (any_varint(), any_alias(), any::<bool>())
            .prop_map(|(request, alias, all)| client(UnbindAlias { request, alias, all })),
        (any_varint(), any_varint(), any_varint(), any_body()).prop_map(
            |(request, number, answered, body)| client(Upstream {
                request,
                number,
                answered,
                body
            })
        ),
        any_varint().prop_map(|request| server(AliasBound { request })),
        any_varint().prop_map(|request| server(AliasUnbound { request })),
        (any_varint(), any_id(), any::<u64>())
            .prop_map(|(request, id, at_ms)| server(UpstreamStored { request, id, at_ms })),
        (flags, any_id(), any_id(), any::<u64>()).prop_map(
            |((waited, accepted), id, upstream, at_ms)| server(UpstreamDone {
                waited,
                id,
                upstream,
                accepted,
                at_ms
            })
        ),
    ]
}

/// Every kind of frame.
pub(crate) fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        13 => any_basic(),
        7 => any_watching(),
        7 => any_receipt(),
        6 => any_history(),
        6 => any_group_request(),
        7 => any_group_answer(),
        7 => any_of_back_end(),
    ]
}
