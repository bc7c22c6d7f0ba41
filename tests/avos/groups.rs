//! Groups: who is in them, who is told what, and who may change them.

use bytes::Bytes;

use tidings::client::{Event, GroupChange, GroupEdit, GroupNotice, NewGroup, Outgoing, Rules, Who};
use tidings::id::GroupId;
use tidings::reason::Reason;

use crate::harness::{Seat, Server, on, peer, peers, refused, send_refused, text};

/// The events about groups that were told until now: what, who did it, and to whom.
async fn told(seat: &mut Seat) -> Vec<(&'static str, String, String)> {
    seat.news().await.into_iter().filter_map(as_told).collect()
}

fn as_told(event: Event) -> Option<(&'static str, String, String)> {
    let (name, notice) = match event {
        Event::Joined(notice) => ("joined", notice),
        Event::Invited(notice) => ("invited", notice),
        Event::Left(notice) => ("left", notice),
        Event::MembersJoined(notice) => ("members joined", notice),
        Event::MembersLeft(notice) => ("members left", notice),
        Event::GroupEdited(notice) => ("edited", notice),
        _ => return None,
    };
    let GroupNotice { by, peers, .. } = notice;
    let peers: Vec<&str> = peers.iter().map(|peer| peer.as_str()).collect();
    Some((name, by.map_or(String::new(), |by| by.to_string()), peers.join(" ")))
}

fn news(name: &'static str, by: &str, peers: &str) -> (&'static str, String, String) {
    (name, by.into(), peers.into())
}

/// A group of ann with these members.
async fn group_of(ann: &Seat, others: &str) -> GroupId {
    let group = ann.create_group(NewGroup::default()).await.unwrap().id;
    if !others.is_empty() {
        ann.invite(group, peers(others)).await.unwrap();
    }
    group
}

async fn members(seat: &Seat, group: GroupId) -> Vec<String> {
    let page = seat.members(group, None, 500).await.unwrap();
    page.members.iter().map(|peer| peer.to_string()).collect()
}

#[tokio::test]
async fn a_group_is_created_without_an_id_and_joined_by_its_id() {
    let server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let created = ann.create_group(NewGroup::default()).await.unwrap();
    assert_eq!((created.count, created.open), (1, false));
    assert_eq!(created.id.to_string().len(), 24, "24 hexadecimal digits");
    assert_eq!(members(&ann, created.id).await, ["ann"]);
    assert_eq!(told(&mut ann).await, [news("joined", "ann", "ann")]);
    let joined = bob.join(created.id.to_string().parse().unwrap()).await.unwrap();
    assert_eq!((joined.id, joined.count), (created.id, 2));
    assert!(joined.version > created.version);
    assert_eq!(members(&ann, created.id).await, ["ann", "bob"]);
    // Joining again changes nothing, and is told nobody.
    assert_eq!(bob.join(created.id).await.unwrap().version, joined.version);
    assert_eq!(told(&mut ann).await, [news("members joined", "bob", "bob")]);
    assert_eq!(told(&mut bob).await, [news("joined", "bob", "bob")]);
    assert_eq!(refused(bob.join(GroupId([9; 12])).await), Reason::NoSuchGroup);
}

#[tokio::test]
async fn members_are_told_who_joins_and_who_leaves() {
    let server = Server::start().await;
    let mut ann = server.open_as(on("ann", "phone")).await;
    let mut laptop = server.open_as(on("ann", "laptop")).await;
    let (mut bob, mut cat) = (server.open("bob").await, server.open("cat").await);
    let group = group_of(&ann, "bob").await;
    cat.join(group).await.unwrap();
    cat.leave(group).await.unwrap();
    cat.leave(group).await.unwrap();
    let expected = [
        news("joined", "ann", "ann"),
        news("members joined", "ann", "bob"),
        news("members joined", "cat", "cat"),
        news("members left", "cat", "cat"),
    ];
    assert_eq!(told(&mut ann).await, expected);
    assert_eq!(told(&mut laptop).await, expected, "on all devices");
    let heard = told(&mut bob).await;
    assert_eq!(heard[0], news("invited", "ann", "bob"));
    assert_eq!(heard[1..], expected[2..]);
    assert_eq!(told(&mut cat).await, [news("joined", "cat", "cat"), news("left", "cat", "cat")]);
    // Who has left hears nothing more, and may say nothing more.
    bob.leave(group).await.unwrap();
    assert_eq!(told(&mut cat).await, []);
    assert_eq!(send_refused(cat.send(Outgoing::to(group, "x")).await), Reason::NotMember);
}

#[tokio::test]
async fn invited_and_kicked_peers_are_told_and_so_are_the_members() {
    let server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let (mut cat, mut dan) = (server.open("cat").await, server.open("dan").await);
    let group = group_of(&ann, "bob").await;
    told(&mut ann).await;
    assert_eq!(told(&mut bob).await, [news("invited", "ann", "bob")]);
    let version = bob.invite(group, peers("cat dan bob")).await.unwrap();
    assert_eq!(members(&ann, group).await, ["ann", "bob", "cat", "dan"]);
    for seat in [&mut ann, &mut bob] {
        assert_eq!(told(seat).await, [news("members joined", "bob", "cat dan")]);
    }
    let invited = dan.next().await;
    assert!(
        matches!(&invited, Event::Invited(notice)
        if notice.group == group && notice.change == GroupChange::Invited
            && notice.cursor.id == version),
        "{invited:?}"
    );
    assert_eq!(told(&mut cat).await, [news("invited", "bob", "cat dan")]);
    assert_eq!(ann.invite(group, peers("cat")).await.unwrap(), version, "no change, no news");
    ann.kick(group, peers("cat eve dan")).await.unwrap();
    assert_eq!(members(&ann, group).await, ["ann", "bob"]);
    for seat in [&mut ann, &mut bob] {
        assert_eq!(told(seat).await, [news("members left", "ann", "cat dan")]);
    }
    for seat in [&mut cat, &mut dan] {
        assert_eq!(told(seat).await, [news("left", "ann", "cat dan")]);
        assert_eq!(refused(seat.members(group, None, 10).await), Reason::NotMember);
    }
}

#[tokio::test]
async fn a_group_message_reaches_every_member_and_is_confirmed() {
    let server = Server::start().await;
    let mut ann = server.open_as(on("ann", "phone").send_events(true)).await;
    let (mut bob, mut cat) = (server.open("bob").await, server.open("cat").await);
    let mut eve = server.open("eve").await;
    let group = group_of(&ann, "bob cat dan").await;
    let sent = ann.send(Outgoing::to(group, "hello").client_msg_no("n")).await.unwrap();
    let confirmed = |event| if let Event::Sent { sent, .. } = event { Some(sent) } else { None };
    assert_eq!((ann.find("a confirmation", confirmed).await, sent.sequence), (sent, 1));
    for seat in [&mut bob, &mut cat] {
        let message = seat.message().await;
        assert_eq!((message.id, message.from, message.to), (sent.id, peer("ann"), vec![]));
        assert_eq!(message.conversation.to_string(), group.to_string());
    }
    // Numbers are the group's, whoever sends.
    assert_eq!(bob.send(Outgoing::to(group, "hi")).await.unwrap().sequence, 2);
    assert_eq!(ann.text().await, "hi");
    let mut dan = server.open("dan").await;
    assert_eq!(dan.texts(2).await, ["hello", "hi"], "an absent member finds them");
    assert_eq!(send_refused(eve.send(Outgoing::to(group, "x")).await), Reason::NotMember);
    let nowhere = Outgoing::to(GroupId([9; 12]), "x");
    assert_eq!(send_refused(eve.send(nowhere).await), Reason::NoSuchGroup);
    assert_eq!(eve.news().await, []);
}

#[tokio::test]
async fn a_transient_group_message_reaches_members_who_are_online() {
    let server = Server::start().await;
    let mut ann = server.open_as(on("ann", "phone")).await;
    let mut laptop = server.open_as(on("ann", "laptop")).await;
    let (mut bob, mut eve) = (server.open("bob").await, server.open("eve").await);
    let group = group_of(&ann, "bob cat").await;
    ann.send_transient(Outgoing::to(group, "typing")).unwrap();
    let message = bob.message().await;
    assert_eq!((text(&message).as_str(), message.transient), ("typing", true));
    assert!(laptop.message().await.own);
    eve.send_transient(Outgoing::to(group, "from outside")).unwrap();
    eve.ping().await.unwrap();
    for seat in [&mut ann, &mut bob, &mut eve] {
        let messages = seat.news().await;
        assert!(!messages.iter().any(|event| matches!(event, Event::Message(_))), "{messages:?}");
    }
    let mut cat = server.open("cat").await;
    assert_eq!(told(&mut cat).await, [news("invited", "ann", "bob cat")], "nothing else waited");
}

#[tokio::test]
async fn the_member_list_and_the_metadata_are_read_from_the_group() {
    let server = Server::start().await;
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    let metadata = Bytes::from(r#"{"name":"Lunch","icon":"https://example.org/i.png"}"#);
    let new = NewGroup { metadata: metadata.clone(), ..NewGroup::default() };
    let group = ann.create_group(new).await.unwrap().id;
    let many: Vec<_> = (0..50).map(|n| peer(&format!("p{n:02}"))).collect();
    ann.invite(group, many.clone()).await.unwrap();
    assert_eq!(refused(bob.members(group, None, 10).await), Reason::NotMember);
    assert_eq!(bob.join(group).await.unwrap().metadata, metadata);
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = bob.members(group, after, 20).await.unwrap();
        assert_eq!((page.group.count, page.creator), (52, Some(peer("ann"))));
        assert_eq!(page.group.metadata, metadata);
        after = page.members.last().cloned();
        read.extend(page.members);
        if !page.more {
            break;
        }
    }
    let mut all = [many, peers("ann bob")].concat();
    all.sort_unstable();
    assert_eq!(read, all);
}

#[tokio::test]
async fn the_metadata_is_edited_by_whom_the_rules_name_and_that_changes_no_members() {
    let server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let group = group_of(&ann, "bob").await;
    told(&mut ann).await;
    told(&mut bob).await;
    let named = |name: &str| GroupEdit {
        metadata: Some(format!(r#"{{"name":"{name}","m":["cat","dan"]}}"#).into()),
        rules: None,
    };
    assert_eq!(refused(bob.edit_group(group, named("Bob's")).await), Reason::NotAllowed);
    let version = ann.edit_group(group, named("Ann's")).await.unwrap();
    // Nobody joins or leaves by it, whatever it says.
    for seat in [&mut ann, &mut bob] {
        assert_eq!(told(seat).await, [news("edited", "ann", "")]);
        assert_eq!(members(seat, group).await, ["ann", "bob"]);
        let read = seat.members(group, None, 1).await.unwrap().group;
        assert_eq!((Some(read.metadata), read.version), (named("Ann's").metadata, version));
    }
    let rules = Rules { edit: Who::Members, ..Rules::default() };
    let anybody = GroupEdit { rules: Some(rules), metadata: None };
    ann.edit_group(group, anybody).await.unwrap();
    bob.edit_group(group, named("Bob's")).await.unwrap();
    let read = ann.members(group, None, 1).await.unwrap().group;
    assert_eq!((read.rules, Some(read.metadata)), (rules, named("Bob's").metadata));
    let no_json = GroupEdit { metadata: Some("Lunch".into()), rules: None };
    assert_eq!(refused(ann.edit_group(group, no_json).await), Reason::BadMetadata);
    let eve = server.open("eve").await;
    assert_eq!(refused(eve.edit_group(group, named("Eve's")).await), Reason::NotMember);
}

#[tokio::test]
async fn who_may_invite_and_kick_is_a_rule_of_the_group() {
    let server = Server::start().await;
    let (ann, bob) = (server.open("ann").await, server.open("bob").await);
    // Whether the creator may invite and kick, and whether another member may.
    let expected =
        [(Who::Server, [false, false]), (Who::Creator, [true, false]), (Who::Members, [true; 2])];
    for (who, allowed) in expected {
        let rules = Rules { invite: who, kick: who, edit: Who::Creator };
        let new = NewGroup { rules, ..NewGroup::default() };
        let group = ann.create_group(new).await.unwrap().id;
        bob.join(group).await.unwrap();
        for (seat, allowed) in [&ann, &bob].into_iter().zip(allowed) {
            let invited = seat.invite(group, peers("cat")).await;
            let kicked = seat.kick(group, peers("cat")).await;
            if allowed {
                assert!(invited.unwrap() < kicked.unwrap());
            } else {
                assert_eq!(refused(invited), Reason::NotAllowed, "{who:?}");
                assert_eq!(refused(kicked), Reason::NotAllowed, "{who:?}");
            }
        }
        assert_eq!(members(&ann, group).await, ["ann", "bob"]);
    }
    let eve = server.open("eve").await;
    let group = group_of(&ann, "bob").await;
    assert_eq!(refused(eve.invite(group, peers("eve")).await), Reason::NotMember);
    assert_eq!(refused(eve.kick(group, peers("bob")).await), Reason::NotMember);
}

#[tokio::test]
async fn an_absent_member_finds_what_happened_in_the_group() {
    let mut server = Server::start().await;
    let (ann, cat) = (server.open("ann").await, server.open("cat").await);
    let bob = server.open_as(on("bob", "phone")).await;
    let group = group_of(&ann, "dan").await;
    bob.join(group).await.unwrap();
    bob.go().await;
    ann.send(Outgoing::to(group, "hello")).await.unwrap();
    cat.join(group).await.unwrap();
    cat.leave(group).await.unwrap();
    ann.kick(group, peers("bob")).await.unwrap();
    ann.send(Outgoing::to(group, "without bob")).await.unwrap();
    server.crash().await;
    let mut bob = server.open_as(on("bob", "phone")).await;
    let events = bob.news().await;
    let texts = events.iter().filter_map(|event| match event {
        Event::Message(message) => Some(text(message)),
        _ => None,
    });
    assert_eq!(texts.collect::<Vec<_>>(), ["hello"]);
    let heard: Vec<_> = events.into_iter().filter_map(as_told).collect();
    let expected = [
        news("members joined", "cat", "cat"),
        news("members left", "cat", "cat"),
        news("left", "ann", "bob"),
    ];
    assert_eq!(heard, expected);
    // Dan was never seen, and finds all of it.
    let mut dan = server.open("dan").await;
    assert_eq!(told(&mut dan).await.len(), 5);
}

#[tokio::test]
async fn a_member_stays_one_across_sessions_and_a_crash() {
    let mut server = Server::start().await;
    let (ann, bob) = (server.open_as(on("ann", "phone")).await, server.open("bob").await);
    let rules = Rules { invite: Who::Creator, ..Rules::default() };
    let new = NewGroup { rules, metadata: "[1]".into(), ..NewGroup::default() };
    let group = ann.create_group(new).await.unwrap().id;
    bob.join(group).await.unwrap();
    ann.invite(group, peers("cat dan")).await.unwrap();
    ann.kick(group, peers("dan")).await.unwrap();
    bob.close().await.unwrap();
    let before = ann.members(group, None, 10).await.unwrap();
    ann.go().await;
    server.crash().await;
    // Nobody joins again, and both are in it.
    let (ann, mut bob) = (server.open_as(on("ann", "phone")).await, server.open("bob").await);
    ann.send(Outgoing::to(group, "still here")).await.unwrap();
    assert_eq!(bob.text().await, "still here");
    assert_eq!(bob.members(group, None, 10).await.unwrap(), before, "and it is what it was");
    assert_eq!((before.members, before.group.rules), (peers("ann bob cat"), rules));
}

#[tokio::test]
async fn a_group_takes_as_many_members_as_is_set() {
    let server = Server::start_with(&[("group-members-max", "3")]).await;
    let (ann, dan) = (server.open("ann").await, server.open("dan").await);
    let group = group_of(&ann, "bob").await;
    assert_eq!(refused(ann.invite(group, peers("cat dan")).await), Reason::GroupFull);
    ann.invite(group, peers("cat")).await.unwrap();
    assert_eq!(refused(dan.join(group).await), Reason::GroupFull);
    assert_eq!(members(&ann, group).await, ["ann", "bob", "cat"]);
}

#[tokio::test]
async fn an_open_group_has_a_count_and_transient_messages_only() {
    let server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let mut cat = server.open("cat").await;
    let open = NewGroup { open: true, metadata: "{}".into(), ..NewGroup::default() };
    let created = ann.create_group(open).await.unwrap();
    assert_eq!((created.open, created.count), (true, 1));
    assert_eq!(bob.join(created.id).await.unwrap().count, 2);
    let page = cat.members(created.id, None, 10).await.unwrap();
    assert_eq!((page.members, page.group.count), (vec![], 2), "a count, and no list");
    ann.send_transient(Outgoing::to(created.id, "hello")).unwrap();
    assert_eq!(bob.text().await, "hello");
    let kept = ann.send(Outgoing::to(created.id, "x")).await;
    assert_eq!(send_refused(kept), Reason::NotInOpenGroup);
    let invited = ann.invite(created.id, peers("cat")).await;
    assert_eq!(refused(invited), Reason::NotInOpenGroup);
    bob.leave(created.id).await.unwrap();
    assert_eq!(cat.members(created.id, None, 10).await.unwrap().group.count, 1);
    for seat in [&mut ann, &mut bob, &mut cat] {
        assert_eq!(seat.news().await, [], "nobody is told of joins and leaves");
    }
}

#[tokio::test]
async fn a_session_is_in_one_open_group_at_a_time() {
    let server = Server::start().await;
    let (ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let open = || NewGroup { open: true, ..NewGroup::default() };
    let first = ann.create_group(open()).await.unwrap().id;
    bob.join(first).await.unwrap();
    let second = ann.create_group(open()).await.unwrap().id;
    let count = async |group| bob.members(group, None, 1).await.unwrap().group.count;
    assert_eq!((count(first).await, count(second).await), (1, 1));
    ann.send_transient(Outgoing::to(first, "not in it")).unwrap();
    ann.join(first).await.unwrap();
    ann.send_transient(Outgoing::to(first, "in it")).unwrap();
    assert_eq!(bob.text().await, "in it");
}

#[tokio::test]
async fn a_session_is_in_its_open_group_again_after_a_crash() {
    let mut server = Server::start().await;
    let (mut ann, mut bob) = (server.open("ann").await, server.open("bob").await);
    let open = NewGroup { open: true, ..NewGroup::default() };
    let group = ann.create_group(open).await.unwrap();
    bob.join(group.id).await.unwrap();
    server.crash().await;
    ann.come_back().await;
    bob.come_back().await;
    while bob.members(group.id, None, 1).await.unwrap().group.count < 2 {
        ann.ping().await.unwrap();
    }
    ann.send_transient(Outgoing::to(group.id, "again")).unwrap();
    assert_eq!(bob.text().await, "again");
}
