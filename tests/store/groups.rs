//! Groups: who gets what, over restarts and crashes, and what the log may lose of it.

use std::time::Duration;

use tidings::group::GroupChange;
use tidings::id::{GroupId, MessageId, PeerId};
use tidings::limits::{CHANGED_MEMBERS_MAX, GROUP_STINTS_MAX, WINDOW_AGE};
use tidings::reason::Reason;
use tidings::store::{GroupAction, Item, News, Outcome, Request, Told};

use super::harness::{
    DAY_MS, GROUP, MINUTE_MS, OF_GROUP, Running, ids, new_message, peer, refusal, sent,
};

const HOUR_MS: i64 = 3_600_000;
/// The deletion of a group, whatever its version.
const DELETE: GroupAction = GroupAction::Delete { version: None };

/// A group of three, one of whom is not here.
fn three() -> Running {
    let mut running = Running::new();
    running.create_group(&["alice", "bob", "carol"]);
    running
}

fn invite(name: &str) -> GroupAction {
    GroupAction::Invite(vec![peer(name)])
}

/// The group's changes that wait for a peer.
fn changes(running: &Running, who: &str) -> Vec<(GroupChange, Vec<PeerId>)> {
    let change = |item| match item {
        Item::Notice(notice) => match &notice.news {
            News::Group(change, peers) => Some((*change, peers.clone())),
            News::Recalled(..) | News::Upstream(..) => None,
        },
        Item::Message(_) => None,
    };
    running.inbox(who).0.into_iter().filter_map(change).collect()
}

#[test]
fn members_of_a_group_get_its_messages_and_others_do_not() {
    let mut running = three();
    let sent = ids(&[running.send_to_group("alice", "1"), running.send_to_group("bob", "2")]);
    assert_eq!(running.waiting_ids("alice"), sent[1..]);
    assert_eq!(running.waiting_ids("bob"), sent[..1]);
    assert_eq!(running.waiting_ids("carol"), sent);
    assert!(running.inbox("dan").0.is_empty());
    let refused = running.ask_to_send_to_group("dan", b"3");
    assert_eq!(refusal(&refused), Some(Reason::NotMember));
    for name in ["alice", "bob", "carol"] {
        let all = ["alice", "bob", "carol"].map(peer).to_vec();
        assert_eq!(changes(&running, name), [(GroupChange::Joined, all)]);
    }
    running = running.crash();
    assert_eq!(running.waiting_ids("carol"), sent);
    assert_eq!(running.members(), ["alice", "bob", "carol"]);
    assert_eq!(running.store.report().damage, [""; 0]);
}

#[test]
fn who_joins_later_does_not_get_what_was_before() {
    let mut running = three();
    running.send_to_group("alice", "before");
    assert!(refusal(&running.group("alice", invite("dan"))).is_none());
    let after = running.send_to_group("alice", "after");
    for _ in 0..2 {
        assert_eq!(running.waiting_ids("dan"), ids(std::slice::from_ref(&after)));
        let part = running.part("dan", OF_GROUP).unwrap();
        assert_eq!((part.sequence, part.unread()), (2, 1));
        assert_ne!(part.since, MessageId::NONE);
        running = running.crash();
    }
}

#[test]
fn a_member_who_left_gets_nothing_more_but_keeps_what_waited() {
    let mut running = three();
    let kept = running.send_to_group("alice", "kept");
    running.settle();
    running.group("carol", GroupAction::Leave);
    running.send_to_group("alice", "not for Carol");
    for _ in 0..2 {
        assert_eq!(running.waiting_ids("carol"), ids(std::slice::from_ref(&kept)));
        assert_eq!(running.part("carol", OF_GROUP).unwrap().since, MessageId::NONE);
        let left = (GroupChange::Left, vec![peer("carol")]);
        assert_eq!(changes(&running, "carol").pop(), Some(left.clone()));
        assert_eq!(changes(&running, "bob").pop(), Some(left));
        running = running.crash();
    }
    running.group("carol", GroupAction::Join);
    let again = running.send_to_group("alice", "again");
    assert_eq!(running.waiting_ids("carol"), ids(&[kept, again]));
    assert_eq!(running.part("carol", OF_GROUP).unwrap().unread(), 1);
}

#[test]
fn the_kicked_and_the_others_hear_of_it_and_a_change_that_changes_nothing_is_not_told() {
    let mut running = three();
    let kicked = running.group("bob", GroupAction::Kick(vec![peer("carol")]));
    assert_eq!(refusal(&kicked), Some(Reason::NotAllowed));
    let Outcome::Grouped { told: Some(Told { notice, to }), .. } =
        running.group("alice", GroupAction::Kick(vec![peer("carol"), peer("dan")]))
    else {
        panic!("not kicked")
    };
    assert_eq!(notice.news, News::Group(GroupChange::Kicked, vec![peer("carol")]));
    assert_eq!(*to, ["alice", "bob", "carol"].map(peer));
    let again = running.group("alice", GroupAction::Kick(vec![peer("carol")]));
    assert!(matches!(again, Outcome::Grouped { told: None, .. }), "{again:?}");
    assert_eq!(running.members(), ["alice", "bob"]);
}

#[test]
fn a_group_message_that_settled_is_read_from_the_log() {
    let mut running = three();
    let mut sent = vec![running.send_to_group("alice", "in a segment that closes")];
    sent.extend(running.send_many("dan", "carol", 1));
    running = running.restart();
    sent.push(running.send_to_group("alice", "in the open one"));
    running.settle();
    let bodies = |running: &Running| -> Vec<String> {
        let waiting = running.waiting("carol").into_iter();
        waiting.map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect()
    };
    let expected =
        ["in a segment that closes", "dan>carol 0", "in the open one"].map(str::to_owned);
    assert_eq!(bodies(&running), expected);
    running = running.crash().restart();
    assert_eq!(running.waiting_ids("carol"), ids(&sent));
    assert_eq!((bodies(&running), running.inbox("carol").1.count), (expected.to_vec(), 0));
    assert_eq!(changes(&running, "carol").len(), 1);
}

#[test]
fn what_the_log_lost_of_a_group_is_told_as_dropped() {
    let mut running = Running::with(|options| {
        options.segment_bytes_max = 1024 * 1024;
        options.log_bytes_max = 80 * 1024 * 1024;
    });
    running.create_group(&["alice", "bob"]);
    running.send_to_group("alice", "lost");
    let kept = running.send("alice", "bob", "in a row");
    let first = running.segments()[0].clone();
    let large = vec![vec![7; 5_000]; 200];
    running.until("the oldest segment to go", |running| {
        running.send_all("dave", "carol", &large);
        !running.segments().contains(&first)
    });
    let last = running.send_to_group("alice", "young");
    running.settle();
    for _ in 0..2 {
        let (items, loss) = running.inbox("bob");
        assert_eq!(
            items.iter().map(Item::id).collect::<Vec<_>>(),
            ids(&[kept.clone(), last.clone()])
        );
        // The notice of the creation, too.
        assert_eq!(loss.count, 2);
        assert!(loss.id < kept.id);
        running = running.restart();
    }
}

/// Waits until the store has looked for what has expired.
fn look(running: &mut Running) {
    running.metrics.log_bytes.set(0);
    running.until("a look", |running| {
        running.commit_something();
        running.metrics.log_bytes.get() > 0
    });
}

/// Whether a segment outlasts a history of no time by a day less than the window.
fn outlasts_no_history(with_group: bool) -> bool {
    let mut running = Running::with(|options| options.history_age = Duration::ZERO);
    if with_group {
        running.create_group(&["alice", "bob"]);
    }
    running.send("alice", "bob", "1");
    let first = running.segments()[0].clone();
    running = running.restart();
    running.step(WINDOW_AGE.as_millis() as i64 - DAY_MS);
    look(&mut running);
    // A clock that leaps is not believed for an hour.
    running.step(2 * HOUR_MS);
    look(&mut running);
    // The folder is removed by another thread than looks; the restart waits for it.
    running = running.restart();
    running.segments().contains(&first)
}

#[test]
fn history_is_kept_for_inboxes_once_there_is_a_group() {
    assert!(!outlasts_no_history(false));
    assert!(outlasts_no_history(true));
}

#[test]
fn one_group_too_many_for_a_member_refuses_all_of_the_invited() {
    let mut running = three();
    let groups = tidings::limits::GROUPS_PER_PEER_MAX;
    let create = |running: &mut Running, index: usize| {
        let mut id = [0; 12];
        id[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let action = GroupAction::Create {
            open: false,
            rules: Default::default(),
            metadata: Default::default(),
            members: vec![peer("dan")],
        };
        let group = GroupId(id);
        running.outcome(Request::Group { group, by: Some(peer("dan")), action })
    };
    for index in 0..groups {
        assert!(refusal(&create(&mut running, index)).is_none(), "group {index}");
    }
    assert_eq!(refusal(&create(&mut running, groups)), Some(Reason::TooManyGroups));
    let invited = running.group("alice", GroupAction::Invite(vec![peer("dan"), peer("eve")]));
    assert_eq!(refusal(&invited), Some(Reason::TooManyGroups));
    assert_eq!(running.members(), ["alice", "bob", "carol"]);
}

#[test]
fn one_member_too_many_is_refused_also_when_the_group_is_created() {
    let mut running = Running::with(|options| options.group_members_max = 3);
    let members = ["alice", "bob", "carol", "dan"].map(peer).to_vec();
    let (rules, metadata) = Default::default();
    let create = GroupAction::Create { open: false, rules, metadata, members };
    assert_eq!(refusal(&running.group("alice", create)), Some(Reason::GroupFull));
    running.create_group(&["alice", "bob", "carol"]);
    assert_eq!(refusal(&running.group("bob", invite("dan"))), Some(Reason::GroupFull));
    running.group("carol", GroupAction::Leave);
    assert!(refusal(&running.group("bob", invite("dan"))).is_none());
    assert_eq!(running.members(), ["alice", "bob", "dan"]);
}

#[test]
fn one_stint_too_many_is_refused_until_a_flush_that_it_asks_for_has_passed() {
    let mut running = Running::new();
    running.create_group(&["alice"]);
    running.settle();
    let mut refused = None;
    // One to be a member, one beside it.
    for _ in 0..GROUP_STINTS_MAX - 1 {
        refused = refused.or(refusal(&running.group("bob", GroupAction::Join)));
        running.group("bob", GroupAction::Leave);
    }
    assert_eq!(refused, None);
    assert_eq!(refusal(&running.group("bob", GroupAction::Join)), Some(Reason::Busy));
    running.until("a flush", |running| refusal(&running.group("bob", GroupAction::Join)).is_none());
    running = running.crash();
    assert_eq!(running.members(), ["alice", "bob"]);
    let sent = running.send_to_group("alice", "to Bob");
    running.step(MINUTE_MS);
    assert!(running.waiting_ids("bob").contains(&sent.id));
}

/// Asks for a group to change in the name of the back end.
fn by_backend(running: &mut Running, group: GroupId, action: GroupAction) -> Outcome<u64> {
    running.outcome(Request::Group { group, by: None, action })
}

fn create(open: bool, members: Vec<PeerId>) -> GroupAction {
    let (rules, metadata) = Default::default();
    GroupAction::Create { open, rules, metadata, members }
}

fn group(number: u8) -> GroupId {
    GroupId([number; 12])
}

/// The ids of all groups, in pages of so many.
fn all_groups(running: &Running, max: usize) -> Vec<GroupId> {
    let (mut all, mut after) = (Vec::new(), GroupId::default());
    loop {
        let (page, more) = running.block_on(running.store.groups(after, max)).unwrap();
        assert!(page.len() <= max);
        all.extend(page.iter().map(|group| group.id));
        let Some(last) = all.last().filter(|_| more) else { return all };
        after = *last;
    }
}

#[test]
fn a_deleted_group_is_no_more_and_its_members_are_told() {
    let mut running = three();
    let before = running.send_to_group("alice", "before");
    let refused = running.group("alice", DELETE);
    assert_eq!(refusal(&refused), Some(Reason::NotAllowed));
    let Outcome::Grouped { told: Some(Told { notice, to }), group, .. } =
        by_backend(&mut running, GROUP, DELETE)
    else {
        panic!("not deleted")
    };
    let all = ["alice", "bob", "carol"].map(peer);
    assert_eq!((notice.news.clone(), notice.by.clone()), {
        (News::Group(GroupChange::Deleted, all.to_vec()), None)
    });
    assert_eq!((&*to, group.count()), (&all[..], 0));
    for _ in 0..3 {
        assert_eq!(running.block_on(running.store.group(GROUP)).unwrap(), None);
        assert_eq!(all_groups(&running, 9), []);
        for who in ["alice", "bob", "carol"] {
            assert_eq!(changes(&running, who).pop(), Some((GroupChange::Deleted, all.to_vec())));
            assert_eq!(running.part(who, OF_GROUP).unwrap().since, MessageId::NONE);
        }
        assert_eq!(running.waiting_ids("bob"), [before.id]);
        for action in [GroupAction::Join, GroupAction::Leave] {
            assert_eq!(refusal(&running.group("bob", action)), Some(Reason::NoSuchGroup));
        }
        let refused = running.ask_to_send_to_group("alice", b"after");
        assert_eq!(refusal(&refused), Some(Reason::NoSuchGroup));
        let again = by_backend(&mut running, GROUP, DELETE);
        assert_eq!(refusal(&again), Some(Reason::NoSuchGroup));
        running.commit_something();
        assert_eq!(running.metrics.groups.get(), 0);
        running = running.crash().restart();
    }
    assert_eq!(running.store.report().damage, [""; 0]);
}

#[test]
fn a_deletion_that_reached_the_state_does_not_hide_what_a_replay_has_to_know_of_the_group() {
    let mut running = three();
    running.settle();
    running.group("alice", invite("dan"));
    let mut sent = vec![running.send_to_group("alice", "1")];
    running.group("alice", GroupAction::Kick(vec![peer("bob")]));
    sent.push(running.send_to_group("alice", "2"));
    by_backend(&mut running, GROUP, DELETE);
    let expected = ids(&sent);
    for _ in 0..3 {
        assert_eq!(running.waiting_ids("carol"), expected);
        assert_eq!(running.waiting_ids("dan"), expected);
        assert_eq!(running.waiting_ids("bob"), expected[..1]);
        // Each start has what the run before wrote reach the state.
        running = running.crash();
        running.commit_something();
    }
}

#[test]
fn a_deleted_open_group_is_no_more() {
    let mut running = Running::new();
    by_backend(&mut running, GROUP, create(true, Vec::new()));
    let deleted = by_backend(&mut running, GROUP, DELETE);
    let Outcome::Grouped { told: Some(Told { to, .. }), .. } = deleted else {
        panic!("{deleted:?}")
    };
    assert!(to.is_empty());
    for _ in 0..2 {
        assert_eq!(running.block_on(running.store.group(GROUP)).unwrap(), None);
        running = running.crash();
    }
}

#[test]
fn what_a_deleted_group_was_told_is_kept_for_inboxes() {
    let mut running = Running::with(|options| options.history_age = Duration::ZERO);
    running.create_group(&["alice", "bob"]);
    let sent = running.send_to_group("alice", "1");
    by_backend(&mut running, GROUP, DELETE);
    running = running.restart();
    running.step(WINDOW_AGE.as_millis() as i64 - DAY_MS);
    look(&mut running);
    running.step(2 * HOUR_MS);
    look(&mut running);
    running = running.restart();
    assert_eq!(running.waiting_ids("bob"), [sent.id]);
    assert_eq!(running.inbox("bob").1.count, 0);
}

#[test]
fn all_groups_are_listed_by_their_ids_whether_the_state_has_them_or_not() {
    let mut running = Running::new();
    for number in [5, 2, 9, 7] {
        by_backend(&mut running, group(number), create(number == 2, vec![peer("alice")]));
    }
    running = running.restart();
    for number in [8, 1, 6] {
        by_backend(&mut running, group(number), create(false, vec![peer("alice")]));
    }
    by_backend(&mut running, group(7), DELETE);
    by_backend(&mut running, group(6), DELETE);
    let edit = GroupAction::Edit { rules: None, metadata: Some("{}".into()), version: None };
    by_backend(&mut running, group(9), edit);
    for _ in 0..2 {
        for max in [1, 2, 5, 6] {
            assert_eq!(all_groups(&running, max), [1, 2, 5, 8, 9].map(group));
        }
        let (page, _) = running.block_on(running.store.groups(group(8), 9)).unwrap();
        assert_eq!(page[0].metadata, "{}");
        running = running.crash();
    }
}

#[test]
fn an_edit_of_another_version_is_refused() {
    let mut running = three();
    let version = running.block_on(running.store.group(GROUP)).unwrap().unwrap().version;
    let edit = |version, text: &'static str| {
        let metadata = Some(text.into());
        GroupAction::Edit { rules: None, metadata, version: Some(version) }
    };
    assert_eq!(refusal(&by_backend(&mut running, GROUP, edit(version, "1"))), None);
    let late = by_backend(&mut running, GROUP, edit(version, "2"));
    assert_eq!(refusal(&late), Some(Reason::VersionChanged));
    let group = running.block_on(running.store.group(GROUP)).unwrap().unwrap();
    assert!(group.version > version);
    assert_eq!(group.metadata, "1");
}

#[test]
fn as_many_members_as_one_request_may_name_come_and_go_between_messages() {
    let mut running = Running::new();
    let names = || (0..CHANGED_MEMBERS_MAX).map(|number| peer(&format!("{number:064}")));
    let mut callers = Vec::new();
    let mut number = 0;
    // Records are nearly full of messages when a change comes.
    let mut fill = |running: &mut Running, callers: &mut Vec<u64>| {
        for _ in 0..30 {
            number += 1;
            let message = new_message("alice", "bob", number, &[7; 4_000]);
            callers.push(running.submit(Request::Message(message)));
        }
    };
    let actions = [
        create(false, Vec::new()),
        GroupAction::Invite(names().collect()),
        GroupAction::Kick(names().skip(1).collect()),
        DELETE,
    ];
    for action in actions {
        fill(&mut running, &mut callers);
        callers.push(running.submit(Request::Group { group: GROUP, by: None, action }));
    }
    let outcomes = running.outcomes(&callers);
    let told: Vec<usize> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Grouped { told, .. } => Some(told.as_ref().map_or(0, |told| told.to.len())),
            outcome => {
                sent(outcome);
                None
            }
        })
        .collect();
    assert_eq!(told, [0, CHANGED_MEMBERS_MAX, CHANGED_MEMBERS_MAX, 1]);
    running = running.crash();
    let last = names().next_back().unwrap();
    let seen: Vec<_> = changes(&running, last.as_str()).iter().map(|change| change.0).collect();
    assert_eq!(seen, [GroupChange::Invited, GroupChange::Kicked]);
    assert_eq!(running.store.report().damage, [""; 0]);
}
