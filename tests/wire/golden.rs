//! What the golden files of presence, groups, receipts, history and the back end say.
//!
//! The bytes of these files were written from the specification alone, not by this crate.

use bytes::Bytes;

use tidings::group::{GroupChange, Rules, Who};
use tidings::id::{Alias, ConversationId, DeviceFlag, DeviceId, GroupId, MessageId};
use tidings::wire::{
    AliasBound, AliasUnbound, BindAlias, Conversation, ConversationPage, Conversations, Deliver,
    Delivered, Device, DeviceList, Devices, Edit, Edited, GroupEvent, History, HistoryPage, Invite,
    Invited, Join, Joined, Kick, Kicked, Leave, Left, MemberPage, Members, Past, Presence, Read,
    ReadNoted, ReadUpTo, Recall, RecallDone, Recalled, Signature, Status, Statuses, UnbindAlias,
    Unwatch, Unwatched, Upstream, UpstreamDone, UpstreamStored, Watch, Watched,
};

use crate::{Frame, client, deliver, peer, server};

const AT_MS: u64 = 1_767_225_600_000;
const ID: MessageId = MessageId(0x0123_4567_89ab_cdef);
const GROUP: GroupId = GroupId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xff]);
const RULES: Rules = Rules { invite: Who::Members, kick: Who::Creator, edit: Who::Server };
const METADATA: Bytes = Bytes::from_static(br#"{"name":"hikers"}"#);

fn pair() -> ConversationId {
    ConversationId::of_peers([&peer("alice"), &peer("bob")])
}

fn signed() -> Option<Signature> {
    let signature = "cf4a1b6b55ff87753da4ae7f5dd2c33273108b62".into();
    Some(Signature { nonce: "85561".into(), timestamp: 1_416_290_728, signature })
}

pub(crate) fn join() -> Join {
    Join {
        request: 21,
        group: GROUP,
        open: false,
        rules: RULES,
        metadata: METADATA,
        signature: signed(),
    }
}

pub(crate) fn member_page() -> MemberPage {
    MemberPage {
        request: 26,
        open: false,
        version: ID,
        creator: Some(peer("alice")),
        count: 300,
        rules: RULES,
        metadata: METADATA,
        members: vec![peer("alice"), peer("bob")],
        more: true,
    }
}

pub(crate) fn group_event() -> GroupEvent {
    GroupEvent {
        waited: true,
        id: ID,
        group: GROUP,
        change: GroupChange::Invited,
        by: Some(peer("alice")),
        peers: vec![peer("bob"), peer("carol")],
        at_ms: AT_MS,
    }
}

pub(crate) fn past() -> Past {
    Past {
        recalled: false,
        id: ID,
        sequence: 70_000,
        at_ms: AT_MS,
        from: peer("alice"),
        to: vec![peer("bob")],
        client_msg_no: "no-9".into(),
        body: Bytes::from_static(b"hello"),
    }
}

pub(crate) fn conversation() -> Conversation {
    Conversation {
        conversation: pair(),
        member: false,
        others: vec![peer("bob")],
        last: ID,
        sequence: 70_000,
        read: 69_990,
        unread: 10,
    }
}

pub(crate) fn device() -> Device {
    let device = DeviceId::new("phone").unwrap();
    Device { device, flag: DeviceFlag::Pc, online: true, seen_ms: AT_MS }
}

fn asked() -> Vec<(&'static str, Frame)> {
    let peers = || vec![peer("bob"), peer("carol")];
    let (conversation, group) = (pair(), ConversationId::Group(GROUP));
    vec![
        ("watch", client(Watch { request: 4, peers: peers(), signature: signed() })),
        ("watch-unsigned", client(Watch { request: 4, peers: vec![], signature: None })),
        ("unwatch", client(Unwatch { request: 5, peers: peers() })),
        ("status", client(Status { request: 6, peers: peers() })),
        ("read-up-to", client(ReadUpTo { request: 8, conversation, sequence: 70_000 })),
        ("recall", client(Recall { request: 9, message: ID })),
        ("history", client(History { request: 10, conversation: group, before: ID, max: 1_000 })),
        ("conversations", client(Conversations { request: 11, before: MessageId::NONE, max: 40 })),
        ("devices", client(Devices { request: 12 })),
        ("join", client(join())),
        ("join-new", client(Join { group: Join::NEW, open: true, signature: None, ..join() })),
        ("leave", client(Leave { request: 22, group: GROUP })),
        (
            "invite",
            client(Invite { request: 23, group: GROUP, peers: peers(), signature: signed() }),
        ),
        ("kick", client(Kick { request: 24, group: GROUP, peers: peers(), signature: None })),
        ("members", client(Members { request: 26, group: GROUP, after: None, max: 500 })),
        (
            "members-after",
            client(Members { request: 26, group: GROUP, after: Some(peer("bob")), max: 500 }),
        ),
        (
            "edit",
            client(Edit {
                request: 27,
                group: GROUP,
                rules: Some(RULES),
                metadata: Some(METADATA),
            }),
        ),
        (
            "edit-rules",
            client(Edit { request: 27, group: GROUP, rules: Some(RULES), metadata: None }),
        ),
        (
            "edit-metadata",
            client(Edit { request: 27, group: GROUP, rules: None, metadata: Some(METADATA) }),
        ),
    ]
}

fn answered() -> Vec<(&'static str, Frame)> {
    let recalled = Past { recalled: true, to: vec![], body: Bytes::new(), ..past() };
    let of_group = Conversation {
        conversation: ConversationId::Group(GROUP),
        member: true,
        others: vec![],
        ..conversation()
    };
    let web = Device { flag: DeviceFlag::Web, online: false, ..device() };
    let joined = Joined {
        request: 21,
        group: GROUP,
        open: true,
        version: ID,
        count: 300,
        rules: RULES,
        metadata: METADATA,
    };
    vec![
        ("watched", server(Watched { request: 4, online: vec![peer("bob")] })),
        ("unwatched", server(Unwatched { request: 5 })),
        ("statuses", server(Statuses { request: 6, online: vec![] })),
        ("read-noted", server(ReadNoted { request: 8 })),
        ("recall-done", server(RecallDone { request: 9 })),
        (
            "history-page",
            server(HistoryPage { request: 10, more: true, messages: vec![past(), recalled] }),
        ),
        (
            "conversation-page",
            server(ConversationPage {
                request: 11,
                more: false,
                conversations: vec![conversation(), of_group],
            }),
        ),
        ("device-list", server(DeviceList { request: 12, devices: vec![device(), web] })),
        ("joined", server(joined)),
        ("left", server(Left { request: 22 })),
        ("invited", server(Invited { request: 23, version: ID })),
        ("kicked", server(Kicked { request: 24, version: ID })),
        ("member-page", server(member_page())),
        ("edited", server(Edited { request: 27, version: ID })),
    ]
}

fn told() -> Vec<(&'static str, Frame)> {
    let (conversation, at_ms) = (pair(), AT_MS);
    let recalled = Recalled {
        waited: true,
        id: ID,
        conversation,
        message: MessageId(0x0123_4567_89ab_cdee),
        sequence: 70_000,
        by: Some(peer("alice")),
        at_ms,
    };
    let edited = GroupEvent {
        waited: false,
        change: GroupChange::Edited,
        by: None,
        peers: vec![],
        ..group_event()
    };
    let own = Deliver { own: true, ..deliver(pair(), vec![peer("bob")]) };
    let (bob, sequence) = (peer("bob"), 70_000);
    vec![
        ("deliver-own", server(Deliver { receipt: false, waited: false, ..own })),
        ("delivered", server(Delivered { conversation, peer: bob.clone(), sequence, at_ms })),
        ("read", server(Read { conversation, peer: bob, sequence, at_ms })),
        ("recalled", server(recalled.clone())),
        ("recalled-by-back-end", server(Recalled { waited: false, by: None, ..recalled })),
        ("presence", server(Presence { online: vec![peer("bob")], offline: vec![peer("carol")] })),
        ("group-event", server(group_event())),
        ("group-event-edited", server(edited)),
    ]
}

pub(crate) fn alias() -> Alias {
    Alias::new("客户: 4711").unwrap()
}

pub(crate) fn upstream() -> Upstream {
    let body = Bytes::from_static(br#"{"order":4711}"#);
    Upstream { request: 202, number: 101, answered: 98, body }
}

/// What devices and the back end say to each other.
fn of_back_end() -> Vec<(&'static str, Frame)> {
    let (alias, at_ms) = (alias(), AT_MS);
    let unbind = UnbindAlias { request: 32, alias: alias.clone(), all: false };
    let upstream_id = MessageId(0x0123_4567_89ab_cdee);
    let done = UpstreamDone { waited: true, id: ID, upstream: upstream_id, accepted: true, at_ms };
    let deleted = GroupEvent {
        waited: false,
        change: GroupChange::Deleted,
        by: None,
        peers: vec![],
        ..group_event()
    };
    vec![
        ("bind-alias", client(BindAlias { request: 31, alias })),
        ("unbind-alias", client(unbind.clone())),
        ("unbind-alias-all", client(UnbindAlias { all: true, ..unbind })),
        ("upstream", client(upstream())),
        ("alias-bound", server(AliasBound { request: 31 })),
        ("alias-unbound", server(AliasUnbound { request: 32 })),
        ("upstream-stored", server(UpstreamStored { request: 202, id: ID, at_ms })),
        ("upstream-done", server(done)),
        ("upstream-done-refused", server(UpstreamDone { waited: false, accepted: false, ..done })),
        ("group-event-deleted", server(deleted)),
    ]
}

/// What each golden file says.
pub(crate) fn frames() -> Vec<(&'static str, Frame)> {
    [asked(), answered(), told(), of_back_end()].concat()
}
