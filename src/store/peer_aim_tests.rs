//! Messages that are for some devices of a peer, and rows and receipts of what waits.

use super::*;

#[test]
fn what_is_for_one_device_waits_for_it_alone() {
    let mut bob = Bob::new();
    bob.open("phone");
    bob.open("laptop");
    let first = bob.send_to(&["phone"], 2);
    let all = bob.send(1);
    let last = bob.send_to(&["phone"], 1);
    for _ in 0..2 {
        assert_eq!(bob.open("phone").1.waiting, 4);
        assert_eq!(bob.open("laptop").1.waiting, 1);
        bob.store();
    }
    bob.ack("laptop", all[0]);
    assert_eq!(bob.inbox(), [&first[..], &all, &last].concat());
    bob.ack("phone", first[0]);
    assert_eq!(bob.inbox(), [&first[1..], &all, &last].concat());
    bob.ack("phone", last[0]);
    assert_eq!(bob.inbox(), [0; 0]);
}

#[test]
fn what_is_for_two_of_three_devices_leaves_when_both_have_acknowledged_it() {
    let mut bob = Bob::new();
    bob.open_all(&["phone", "laptop", "tablet"]);
    let sent = bob.send_to(&["phone", "tablet"], 1);
    let other = bob.send_to(&["laptop"], 1);
    bob.ack("phone", sent[0]);
    bob.ack("laptop", other[0]);
    assert_eq!(bob.inbox(), sent, "in the middle of others that have gone");
    bob.ack("tablet", sent[0]);
    assert_eq!(bob.inbox(), [0; 0]);
}

#[test]
fn what_is_for_a_device_that_logs_out_goes_and_nobody_has_lost_it() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    bob.open("laptop");
    bob.send_to(&["phone"], 3);
    bob.close("phone", phone);
    assert_eq!((bob.inbox(), bob.due()), (Vec::new(), Vec::new()));
    bob.send_to(&["phone"], 3);
    assert_eq!((bob.inbox(), bob.due()), (Vec::new(), Vec::new()));
    assert_eq!(bob.open("phone").1.loss, Loss::default());
}

#[test]
fn what_is_for_a_device_not_seen_for_seven_days_goes() {
    let mut bob = Bob::new();
    let (phone, _) = bob.open("phone");
    bob.open("laptop");
    bob.end("phone", phone);
    bob.wait(RULES.window_age_ms - 1);
    let sent = bob.send_to(&["phone"], 1);
    bob.ack("laptop", sent[0]);
    assert_eq!(bob.inbox(), sent);
    bob.wait(1);
    bob.ack("laptop", sent[0]);
    assert_eq!(bob.inbox(), [0; 0]);
}

#[test]
fn where_no_device_counts_what_is_for_one_waits_for_the_first_to_open() {
    for (first, waiting) in [("phone", 3), ("laptop", 0)] {
        let mut bob = Bob::new();
        for name in ["phone", "laptop"] {
            let (session, _) = bob.open(name);
            bob.close(name, session);
        }
        let sent = bob.send_to(&["phone"], 3);
        assert_eq!(bob.inbox(), sent);
        bob.store();
        assert_eq!(bob.open(first).1.waiting, waiting);
        assert_eq!(bob.inbox().len(), waiting, "{first} came first");
    }
}

#[test]
fn what_is_for_devices_that_the_peer_does_not_have_waits_for_none() {
    let mut bob = Bob::new();
    bob.send_to(&["phone"], 1);
    assert_eq!((bob.inbox(), bob.due()), (Vec::new(), Vec::new()));
    bob.open("laptop");
    bob.send_to(&["phone"], 1);
    assert_eq!(bob.inbox(), [0; 0]);
    assert_eq!(bob.open("phone").1.waiting, 0);
}

#[test]
fn the_window_counts_the_messages_of_all_devices_and_each_is_told_of_its_own_losses() {
    let mut bob = Bob::new();
    for name in ["phone", "laptop"] {
        let (session, _) = bob.open(name);
        bob.end(name, session);
    }
    bob.wait(AWAY_AFTER_MS);
    let phone = bob.send_to(&["phone"], 10);
    let laptop = bob.send_to(&["laptop"], 40);
    assert_eq!(bob.inbox().len(), 50);
    bob.send_to(&["laptop"], 3);
    bob.send(1);
    assert_eq!(bob.inbox()[..7], [&phone[4..], &laptop[..1]].concat());
    let (_, found) = bob.open("phone");
    assert_eq!((found.waiting, found.loss.count, found.loss.id.0), (7, 4, phone[3]));
    let (_, found) = bob.open("laptop");
    assert_eq!((found.waiting, found.loss), (44, Loss::default()));
}

#[test]
fn where_no_device_counts_what_was_for_one_is_told_to_it_as_lost_and_to_no_other() {
    let mut bob = Bob::new();
    bob.rules.window_messages = 2;
    for name in ["phone", "laptop"] {
        let (session, _) = bob.open(name);
        bob.close(name, session);
    }
    let sent = bob.send_to(&["phone"], 5);
    bob.store();
    assert_eq!(bob.open("laptop").1.loss, Loss::default());
    assert_eq!(bob.open("phone").1.loss, Loss { count: 3, id: MessageId(sent[2]) });
}

#[test]
fn a_full_inbox_names_the_devices_that_what_it_gave_up_was_for() {
    let mut bob = Bob::new();
    bob.rules.inbox_max = 2;
    bob.open_all(&["phone", "laptop"]);
    let aimed = bob.send_to(&["laptop"], 1);
    let all = bob.send(1);
    let (_, gone) = bob.send_one(&[], 0);
    let devices = vec![device("laptop")];
    assert_eq!(gone.overflow, Some(Overflow { id: MessageId(aimed[0]), devices }));
    let (_, gone) = bob.send_one(&["laptop"], 0);
    let devices = Vec::new();
    assert_eq!(gone.overflow, Some(Overflow { id: MessageId(all[0]), devices }));
    assert_eq!(bob.open("phone").1.loss.count, 1);
    assert_eq!(bob.open("laptop").1.loss.count, 2);
}

#[test]
fn a_device_that_is_forgotten_takes_along_what_was_for_it_alone() {
    let mut bob = Bob::new();
    bob.rules.devices_max = 3;
    for name in ["phone", "laptop", "tablet"] {
        let (session, _) = bob.open(name);
        bob.wait(1);
        bob.end(name, session);
    }
    bob.send_to(&["phone"], 1);
    let both = bob.send_to(&["phone", "tablet"], 1);
    let laptop = bob.send_to(&["laptop"], 1);
    let (_, found) = bob.open("watch");
    assert_eq!((found.waiting, bob.inbox()), (0, [&both[..], &laptop].concat()));
    assert_eq!(bob.due(), bob.inbox());
    bob.store();
    let tablet = bob.open("tablet").1.waiting;
    assert_eq!((tablet, bob.open("laptop").1.waiting), (1, 1));
}

#[test]
fn a_row_goes_when_nothing_of_it_waits_any_more_though_older_messages_do() {
    let mut bob = Bob::new();
    bob.open_all(&["phone", "tablet"]);
    let old = bob.send_to(&["tablet"], 1)[0];
    for _ in 0..3 {
        let new = bob.send_to(&["phone"], 2);
        let row = |ids: &[i64]| RowRef { first: MessageId(ids[0]), last: MessageId(ids[1]) };
        bob.peer.rows = vec![row(&[old, old]), row(&new)];
        assert_eq!(bob.peer.spent_rows(), []);
        bob.ack("phone", new[0]);
        assert_eq!(bob.peer.spent_rows(), []);
        bob.ack("phone", new[1]);
        assert_eq!(bob.peer.spent_rows(), [row(&new)]);
        assert_eq!(bob.peer.rows, [row(&[old, old])]);
    }
    bob.ack("tablet", old);
    assert_eq!(bob.peer.spent_rows().len(), 1);
    assert_eq!(bob.peer.rows, []);
}

#[test]
fn a_receipt_is_due_when_a_device_that_the_message_is_for_has_it_whoever_has_later_ones() {
    let mut bob = Bob::new();
    bob.open_all(&["phone", "laptop", "tablet"]);
    let aimed = bob.send_to(&["phone", "tablet"], 1);
    let all = bob.send(1);
    assert_eq!(bob.ack("laptop", all[0]), Some(all[0]));
    assert_eq!(bob.due(), aimed);
    bob.store();
    assert_eq!(bob.ack("tablet", all[0]), Some(aimed[0]));
    assert_eq!((bob.ack("phone", all[0]), bob.due()), (None, Vec::new()));
    let aimed = bob.send_to(&["phone"], 1);
    let all = bob.send(1);
    bob.open_at("laptop", all[0]);
    assert_eq!(bob.due(), aimed);
    bob.open_at("phone", aimed[0]);
    assert_eq!(bob.due(), [0; 0]);
}
