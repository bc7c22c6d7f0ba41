//! The rules of one group: who may do what, and who was a member when.

use super::*;

const LIMIT: usize = 4;

fn peer(id: &str) -> PeerId {
    PeerId::new(id).unwrap()
}

fn peers(ids: &[&str]) -> Vec<PeerId> {
    ids.iter().map(|id| peer(id)).collect()
}

fn create(rules: Rules, members: &[&str]) -> Group {
    let members = peers(members);
    let action = GroupAction::Create { open: false, rules, metadata: Bytes::new(), members };
    let ann = peer("ann");
    Group::create(GroupId([1; 12]), Some(&ann), (MessageId(10), 0), &action).unwrap()
}

/// Asks for something; the entry of what is allowed is `id`.
fn ask(group: &mut Group, by: &str, action: GroupAction, id: i64) -> Result<bool, Reason> {
    let change = group.judge(Some(&peer(by)), action, LIMIT, MessageId::NONE)?;
    if let Some(change) = &change {
        group.apply(MessageId(id), change);
    }
    Ok(change.is_some())
}

fn members(group: &Group) -> Vec<&str> {
    group.members().map(PeerId::as_str).collect()
}

#[test]
fn members_come_and_go_and_no_change_twice() {
    let mut group = create(Rules::default(), &["ann"]);
    assert_eq!(ask(&mut group, "bob", GroupAction::Join, 11), Ok(true));
    assert_eq!(ask(&mut group, "bob", GroupAction::Join, 12), Ok(false));
    let invite = GroupAction::Invite(peers(&["cid", "bob", "cid"]));
    assert_eq!(ask(&mut group, "bob", invite, 13), Ok(true));
    assert_eq!(members(&group), ["ann", "bob", "cid"]);
    assert_eq!(ask(&mut group, "bob", GroupAction::Leave, 14), Ok(true));
    assert_eq!(ask(&mut group, "bob", GroupAction::Leave, 15), Ok(false));
    assert_eq!((members(&group), group.version), (vec!["ann", "cid"], MessageId(14)));
}

#[test]
fn only_those_whom_the_rules_name_may_invite_kick_and_edit() {
    let kick = || GroupAction::Kick(peers(&["bob"]));
    let invite = || GroupAction::Invite(peers(&["dan"]));
    let edit =
        || GroupAction::Edit { rules: None, metadata: Some(Bytes::from("{}")), version: None };
    let group = create(Rules::default(), &["ann", "bob"]);
    for (by, action, refused) in [
        ("bob", kick(), Some(Reason::NotAllowed)),
        ("bob", edit(), Some(Reason::NotAllowed)),
        ("cid", invite(), Some(Reason::NotMember)),
        ("cid", kick(), Some(Reason::NotMember)),
        ("bob", invite(), None),
        ("ann", kick(), None),
        ("ann", edit(), None),
    ] {
        let asked = ask(&mut group.clone(), by, action.clone(), 11);
        assert_eq!(asked.err(), refused, "{by} {action:?}");
    }
    let server = Rules { invite: Who::Server, kick: Who::Server, edit: Who::Server };
    let group = create(server, &["ann", "bob"]);
    for action in [kick(), invite(), edit()] {
        let none = MessageId::NONE;
        let judged = group.judge(Some(&peer("ann")), action.clone(), 9, none);
        assert_eq!(judged, Err(Reason::NotAllowed));
        assert!(group.judge(None, action, 9, none).unwrap().is_some());
    }
}

#[test]
fn a_creator_who_left_creates_no_rights() {
    let mut group = create(Rules::default(), &["ann", "bob"]);
    ask(&mut group, "ann", GroupAction::Leave, 11).unwrap();
    let kicked = ask(&mut group, "ann", GroupAction::Kick(peers(&["bob"])), 12);
    assert_eq!(kicked, Err(Reason::NotMember));
}

#[test]
fn one_member_over_the_limit_is_refused_and_nobody_of_the_request_comes_in() {
    let mut group = create(Rules::default(), &["ann", "bob", "cid"]);
    let two = GroupAction::Invite(peers(&["dan", "eve"]));
    assert_eq!(ask(&mut group, "ann", two, 11), Err(Reason::GroupFull));
    assert_eq!(ask(&mut group, "dan", GroupAction::Join, 12), Ok(true));
    assert_eq!(ask(&mut group, "eve", GroupAction::Join, 13), Err(Reason::GroupFull));
}

#[test]
fn who_was_a_member_at_an_entry_is_known_until_it_is_forgotten() {
    let mut group = create(Rules::default(), &["ann"]);
    ask(&mut group, "bob", GroupAction::Join, 20).unwrap();
    ask(&mut group, "bob", GroupAction::Leave, 30).unwrap();
    ask(&mut group, "bob", GroupAction::Join, 40).unwrap();
    let at = |group: &Group, id| group.members_at(MessageId(id)).len();
    assert_eq!([15, 20, 25, 35, 45].map(|id| at(&group, id)), [1, 1, 2, 1, 2]);
    assert_eq!(group.concerned(MessageId(30)), peers(&["ann", "bob"]));
    assert_eq!(group.concerned(MessageId(35)), peers(&["ann"]));
    group.forget_before(MessageId(30));
    assert_eq!([25, 45].map(|id| at(&group, id)), [1, 2]);
    assert_eq!(group.member_since(&peer("bob")), Some(MessageId(40)));
}

#[test]
fn an_open_group_has_no_members() {
    let action = GroupAction::Create {
        open: true,
        rules: Rules::default(),
        metadata: Bytes::new(),
        members: peers(&["ann"]),
    };
    let ann = peer("ann");
    let mut group =
        Group::create(GroupId([1; 12]), Some(&ann), (MessageId(10), 0), &action).unwrap();
    assert_eq!(group.count(), 0);
    for action in [GroupAction::Join, GroupAction::Leave, GroupAction::Kick(peers(&["bob"]))] {
        assert_eq!(ask(&mut group, "ann", action, 11), Err(Reason::NotInOpenGroup));
    }
    let edit = GroupAction::Edit { rules: None, metadata: Some(Bytes::from("{}")), version: None };
    assert_eq!(ask(&mut group, "bob", edit.clone(), 11), Err(Reason::NotAllowed));
    assert_eq!(ask(&mut group, "ann", edit.clone(), 12), Ok(true));
    assert_eq!(ask(&mut group, "ann", edit, 13), Ok(false), "it is so already");
}

#[test]
fn the_back_end_alone_deletes_a_group_and_only_in_the_version_that_it_names() {
    let group = create(Rules::default(), &["ann", "bob"]);
    let judge = |by: Option<&str>, version| {
        let delete = GroupAction::Delete { version };
        group.judge(by.map(peer).as_ref(), delete, LIMIT, MessageId::NONE)
    };
    assert_eq!(judge(Some("ann"), None), Err(Reason::NotAllowed));
    assert_eq!(judge(None, Some(MessageId(9))), Err(Reason::VersionChanged));
    for version in [None, Some(MessageId(10))] {
        let change = judge(None, version).unwrap().unwrap();
        assert_eq!(change.change, GroupChange::Deleted);
        assert_eq!(change.peers, peers(&["ann", "bob"]));
    }
}
