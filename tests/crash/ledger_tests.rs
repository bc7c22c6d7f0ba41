//! The ledger, shown what keeps the promise and what breaks it.
//!
//! # Invariants
//!
//! * Each thing that breaks the promise is noticed by itself.

use tidings::client::{Event, GroupChange, Message, Sent};
use tidings::id::{ConversationId, GroupId, MessageId, PeerId};

use crate::groups::{Act, Groups, Leaving, Notice};
use crate::ledger::{Fate, Ledger, Target, body};

#[test]
fn the_ledger_notices_what_breaks_the_promise() {
    let peers: Vec<PeerId> = ["ann", "bob"].map(|id| id.parse().unwrap()).into();
    let mut ledger = Ledger::new(&peers);
    let (device, session) = (ledger.device(1, "phone"), ledger.session());
    for id in 1..=3 {
        let (number, _) = ledger.send(0, session, Target::Peers(vec![1]));
        let sent = Sent { id: MessageId(id), sequence: id as u32, at_ms: 5 };
        ledger.settle(number, Fate::Acknowledged(sent));
    }
    let message = |number: usize, id: i64| Message {
        id: MessageId(id),
        epoch: 7,
        sequence: id as u32,
        at_ms: 5,
        conversation: ConversationId::of_peers(&peers),
        from: peers[0].clone(),
        to: vec![peers[1].clone()],
        client_msg_no: "".into(),
        body: body(number),
        transient: false,
        receipt: false,
        waited: false,
        own: false,
    };
    ledger.hear(device, &Event::Message(message(0, 1)));
    assert_eq!(ledger.missing(&[device]).len(), 2);
    ledger.hear(device, &Event::Message(message(1, 2)));
    ledger.hear(device, &Event::Message(message(2, 3)));
    assert_eq!(ledger.missing(&[device]), [""; 0]);
    assert_eq!(ledger.broken(), [""; 0]);

    ledger.hear(device, &Event::Message(message(1, 2)));
    assert_eq!(ledger.broken().len(), 1, "twice");
    let (number, _) = ledger.send(0, session, Target::Peers(vec![1]));
    ledger.settle(number, Fate::NotStored);
    assert_eq!(ledger.missing(&[device]), [""; 0]);
    ledger.hear(device, &Event::Message(message(3, 4)));
    assert_eq!(ledger.broken().len(), 2, "stored all the same");
    let (number, _) = ledger.send(0, session, Target::Peers(vec![1]));
    let sent = Sent { id: MessageId(2), sequence: 6, at_ms: 5 };
    ledger.settle(number, Fate::Acknowledged(sent));
    assert_eq!(ledger.broken().len(), 5, "a used id, out of order, a gap");
    assert_eq!(ledger.missing(&[device]).len(), 2, "a gap, and it did not arrive");
    ledger.hear(device, &Event::Message(Message { epoch: 8, ..message(4, 9) }));
    assert_eq!(ledger.broken().len(), 6, "another epoch");
}

#[test]
fn the_groups_notice_an_answer_that_is_not_kept() {
    let (group, mut groups) = (GroupId([1; 12]), Groups::default());
    let changed = |change, by, peers| Notice::Changed { group, change, by, peers };
    let act = |version, members, others| Act { group, version, members, others };
    groups.note(MessageId(1), &changed(GroupChange::Joined, 0, vec![0])).unwrap();
    groups.note(MessageId(2), &changed(GroupChange::Invited, 0, vec![1, 2])).unwrap();
    groups.note(MessageId(3), &changed(GroupChange::Kicked, 0, vec![2])).unwrap();
    groups.acts.push(act(MessageId(2), vec![1, 2], vec![]));
    groups.acts.push(act(MessageId(3), vec![], vec![2]));
    assert_eq!((groups.founder(group), groups.broken()), (0, vec![]));
    assert!(groups.concerned(group, MessageId(3)).into_iter().eq([0, 1, 2]));
    assert!(groups.members(group).into_iter().eq([0, 1]));

    groups.acts.push(act(MessageId(3), vec![2], vec![]));
    assert_eq!(groups.broken().len(), 1, "not a member");
    groups.acts.push(act(MessageId(4), vec![1], vec![]));
    assert_eq!(groups.broken().len(), 2, "nobody heard of it");
    groups.leavings.push(Leaving { group, peer: 1, known: MessageId(3) });
    assert_eq!(groups.broken().len(), 3, "a member still");
    groups.recalls.push(7);
    assert_eq!(groups.broken().len(), 4, "nobody heard of a recall");
    let otherwise = changed(GroupChange::Kicked, 1, vec![2]);
    assert!(groups.note(MessageId(3), &otherwise).is_err());
}
