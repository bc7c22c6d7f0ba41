//! Events: their numbers, ids and lanes, which hold for ever.

use std::collections::HashSet;

use serde_json::{Value, json};

use tidings::group::GroupChange;
use tidings::id::MessageId;
use tidings::limits::ENDPOINT_LANES;
use tidings::store::{Ending, Entry, Placed, Position};
use tidings::webhook::dialect::{Dialect, NoDialect, Style};
use tidings::webhook::event::{Kind, NoKind, events, needs};

use crate::samples::{
    ID, changed, delivered, ended, message, opened, placed, recalled, stored, style, told,
    unacknowledged, upstream,
};

/// Parts and kinds of the events of an entry.
fn numbered(entry: Entry, found: &[Placed]) -> Vec<(u32, Kind)> {
    let events = events(&placed(entry), found);
    assert!(events.iter().all(|event| event.position.entry == ID));
    events.iter().map(|event| (event.position.part, event.kind)).collect()
}

#[test]
fn the_events_of_an_entry_have_fixed_numbers() {
    let mut first = message(&["bob"], b"hi");
    first.sequence = 1;
    let later = message(&["bob"], b"hi");
    let (sent, started) = ((0, Kind::MessageSent), (1, Kind::ConversationStarted));
    let offline = (2, Kind::MessageOffline);
    assert_eq!(numbered(stored(first, &[("bob", 1)]), &[]), [sent, started, offline]);
    assert_eq!(numbered(stored(later.clone(), &[("bob", 1)]), &[]), [sent, offline]);
    assert_eq!(numbered(stored(later, &[]), &[]), [sent]);
    let status = (1, Kind::PeerStatus);
    assert_eq!(numbered(opened(), &[]), [(0, Kind::SessionStarted), status]);
    assert_eq!(numbered(ended(Ending::Stopped), &[]), [(0, Kind::PeerStatus)]);
    let delivery = Kind::MessageDelivered;
    assert_eq!(numbered(delivered(), &[]), [(0, delivery), (1, delivery)]);
    assert_eq!(numbered(Entry::Started { run: 7 }, &[]), []);
}

#[test]
fn a_message_that_the_log_has_no_more_leaves_its_number_free() {
    let entry = placed(unacknowledged());
    assert_eq!(needs(&entry), [MessageId(1), ID]);
    assert_eq!(needs(&placed(delivered())), []);
    let found = [placed(stored(message(&["bob"], b"hi"), &[]))];
    assert_eq!(numbered(unacknowledged(), &found), [(1, Kind::MessageOffline)]);
    assert_eq!(numbered(unacknowledged(), &[]), []);
}

#[test]
fn what_has_an_order_stays_in_its_lane() {
    let entries = [
        stored(message(&["bob"], b"hi"), &[("bob", 1)]),
        stored(message(&[], b"hi"), &[("bob", 1), ("carol", 2)]),
        changed(GroupChange::Kicked, &["bob"]),
        opened(),
        upstream(),
        delivered(),
    ];
    for (dialect, lanes) in [
        (Dialect::Tidings, vec![63, 63, 1, 1, 1, 7, 7, 7, 63, 63]),
        (Dialect::Wukongim, vec![31, 39, 1, 33, 63]),
        (Dialect::Easemob, vec![63, 63, 1, 1, 1, 1, 7]),
        (Dialect::Getui, vec![7, 63, 63]),
    ] {
        let fragments = told(&style(dialect), &entries, &[]);
        let told: Vec<_> = fragments.iter().map(|fragment| fragment.lane).collect();
        assert_eq!(told, lanes, "{dialect}");
        let mut streams = [None; ENDPOINT_LANES];
        for fragment in fragments {
            let stream = streams[usize::from(fragment.lane)].get_or_insert(fragment.stream);
            assert_eq!(*stream, fragment.stream);
        }
    }
}

#[test]
fn what_tells_a_recipient_again_that_a_message_waits_has_the_id_of_before() {
    let found = [placed(stored(message(&["bob"], b"hi"), &[]))];
    let late = told(&style(Dialect::Easemob), &[unacknowledged()], &found);
    let at_once =
        told(&style(Dialect::Easemob), &[stored(message(&["bob"], b"hi"), &[("bob", 1)])], &[]);
    assert_eq!(late[0].event, at_once[1].event);
    assert_eq!(late[0].position, Position { entry: ID, part: 1 });
}

#[test]
fn a_message_to_one_peer_that_the_back_end_takes_back_is_not_a_groups() {
    let Entry::Recalled(mut recall) = recalled() else { panic!("a recall") };
    recall.by = None;
    let told = told(&style(Dialect::Easemob), &[Entry::Recalled(recall)], &[]);
    let told: Value = serde_json::from_slice(&told[0].bytes).unwrap();
    assert_eq!((&told["from"], &told["to"]), (&json!(""), &json!("bob")));
    assert_eq!((&told["group_id"], &told["chat_type"]), (&json!(""), &json!("recall")));
}

#[test]
fn recipients_that_are_told_in_parts_are_compressed_if_they_are_many_in_all() {
    let peers: Vec<String> = (0..450).map(|number| format!("peer-{number}")).collect();
    let absent: Vec<(&str, u32)> = peers.iter().map(|peer| (peer.as_str(), 1)).collect();
    let entry = stored(message(&[], b"hi"), &absent);
    for (gzip_over, compresses) in [(None, false), (Some(0), false), (Some(420), true)] {
        let style = Style { gzip_over, ..style(Dialect::Wukongim) };
        let told = told(&style, std::slice::from_ref(&entry), &[]);
        let parts: Vec<Value> =
            told[1..].iter().map(|part| serde_json::from_slice(&part.bytes).unwrap()).collect();
        assert_eq!(parts.len(), 2);
        assert!(parts.iter().all(|part| (part["compress"] == "gzip") == compresses));
    }
}

#[test]
fn no_two_events_have_the_same_id() {
    // Somebody is called as the part of what tells of the absent is numbered.
    let stored = stored(message(&[], b"hi"), &[("bob", 1), ("0", 1)]);
    let late = |peer: &str| Entry::Unacknowledged {
        peer: peer.parse().unwrap(),
        waiting: 1,
        messages: vec![ID],
    };
    let entries = [stored.clone(), late("1"), late("2"), late("3")];
    for dialect in Dialect::ALL {
        let told = told(&style(dialect), &entries, &[placed(stored.clone())]);
        let ids: HashSet<&str> = told.iter().map(|fragment| &*fragment.event).collect();
        assert_eq!(ids.len(), told.len(), "{dialect}");
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for kind in Kind::ALL {
        assert_eq!(kind.name().parse(), Ok(kind));
        assert!(NoKind.to_string().contains(kind.name()));
        assert!(Dialect::Tidings.speaks(kind));
    }
    for dialect in Dialect::ALL {
        assert_eq!(dialect.name().parse(), Ok(dialect));
        assert!(NoDialect.to_string().contains(dialect.name()));
    }
    assert_eq!("message".parse::<Kind>(), Err(NoKind));
    assert_eq!("".parse::<Dialect>(), Err(NoDialect));
}
