//! What the log says of sessions, and of who was without one when messages came.

use std::time::Duration;

use tidings::id::{DeviceFlag, MessageId, SessionId};
use tidings::limits::UNACKNOWLEDGED_MAX;
use tidings::store::{Absent, Counts, Entry, Journal, NewMessage, Origin, Placed, Request};

use super::harness::{Running, device, ids, new_message, peer, sent};

/// The entries behind a place in the log.
fn entries(running: &Running, mut after: MessageId) -> Vec<Placed> {
    let mut entries = Vec::new();
    while after < running.store.head() {
        let read = running.block_on(running.store.read(after, 1 << 20)).unwrap();
        after = read.through;
        entries.extend(read.entries);
    }
    entries
}

/// What they say of sessions, in short words, and of whom messages found absent.
fn told(running: &Running, after: MessageId) -> Vec<String> {
    let tell = |placed: Placed| match placed.entry {
        Entry::Message { absent, .. } => {
            let name = |Absent { peer, waiting }: &Absent| format!("{peer}:{waiting}");
            let names: Vec<_> = absent.iter().map(name).collect();
            Some(format!("message {}", names.join(" ")))
        }
        Entry::Opened { opening, counts: Counts { same_flag, all } } => {
            Some(format!("{} opened {} {same_flag}/{all}", opening.peer, opening.device))
        }
        Entry::Ended { peer, device, ending, counts: Counts { same_flag, all }, .. } => {
            Some(format!("{peer} ended {device} {ending:?} {same_flag}/{all}"))
        }
        Entry::Unacknowledged { peer, waiting, messages } => {
            Some(format!("{peer} had not {} of {waiting}", messages.len()))
        }
        _ => None,
    };
    entries(running, after).into_iter().filter_map(tell).collect()
}

#[test]
fn a_message_says_who_was_absent_and_how_much_waits_for_them() {
    let mut running = Running::new();
    let phone = running.open("bob", "phone").session;
    let after = running.store.head();
    running.send("alice", "bob", "a");
    running.send("alice", "alice", "to herself");
    running.end("bob", "phone", phone, false);
    running.send("alice", "bob", "b");
    let expected = ["message ", "message ", "bob ended phone Lost 0/0", "bob had not 1 of 1"];
    assert_eq!(told(&running, after), [&expected[..], &["message bob:2"]].concat());
    running.create_group(&["alice", "bob", "carol"]);
    running.open("carol", "phone");
    let before = running.store.head();
    running.send_to_group("alice", "c");
    assert_eq!(told(&running, before), ["message bob:3"], "a notice is no message");
    // For a device that is none of his.
    let devices = vec![device("another")];
    let message = NewMessage { devices, ..new_message("dan", "bob", 9, b"d") };
    let before = running.store.head();
    sent(&running.outcome(Request::Message(message)));
    assert_eq!(told(&running, before), ["message "]);
}

#[test]
fn each_session_has_one_end_whatever_took_its_place() {
    let mut running = Running::with(|options| options.devices_max = 2);
    let phone = running.open("bob", "phone").session;
    let again = running.open("bob", "phone").session;
    running.end("bob", "phone", phone, false);
    let web = running.open("bob", "web").session;
    running.step(1);
    running.open("bob", "tablet");
    running.end("bob", "phone", again, true);
    running.end("bob", "web", web, true);
    let expected = [
        "bob opened phone 1/1",
        "bob opened phone 1/1",
        "bob ended phone Replaced 1/1",
        "bob opened web 2/2",
        "bob opened tablet 2/2",
        "bob ended phone Replaced 2/2",
        "bob ended web Closed 1/1",
    ];
    assert_eq!(told(&running, MessageId::NONE), expected);
    let is_ended = |placed: &Placed| match placed.entry {
        Entry::Ended { session, flag, .. } => Some((session, flag)),
        _ => None,
    };
    let ended: Vec<_> = entries(&running, MessageId::NONE).iter().filter_map(is_ended).collect();
    let expected: Vec<(SessionId, _)> = [phone, again, web].map(|s| (s, DeviceFlag::App)).into();
    assert_eq!(ended, expected);
}

#[test]
fn so_much_that_was_not_acknowledged_is_told_in_several_entries() {
    let mut running = Running::new();
    let session = running.open("bob", "phone").session;
    let messages = running.send_many("alice", "bob", UNACKNOWLEDGED_MAX + 3);
    running.ack("bob", "phone", messages[0].id);
    let after = running.store.head();
    running.end("bob", "phone", session, false);
    let left = |placed: Placed| match placed.entry {
        Entry::Unacknowledged { messages, waiting, .. } => {
            assert_eq!(waiting as usize, UNACKNOWLEDGED_MAX + 2);
            Some(messages)
        }
        _ => None,
    };
    let left: Vec<_> = entries(&running, after).into_iter().filter_map(left).collect();
    assert_eq!(left.len(), 2);
    assert_eq!(left.concat(), ids(&messages)[1..]);
}

#[test]
fn who_does_not_come_back_after_a_start_is_off_line_and_who_does_was_never_gone_for_long() {
    let mut running = Running::with(|options| options.restart_grace = Duration::from_secs(30));
    for who in ["bob", "carol"] {
        running.open(who, "phone");
        running.open(who, "laptop");
        running.send("alice", who, "before");
    }
    // A second start before anybody looked: once in good order, once not.
    let mut running = running.restart();
    running.send("alice", "bob", "between");
    let mut running = running.crash();
    let after = running.store.head();
    running.open("carol", "phone");
    running.step(27_000);
    running.settle();
    let came_back = [
        "carol ended phone Stopped 1/1",
        "carol ended laptop Stopped 0/0",
        "carol opened phone 1/1",
    ];
    assert_eq!(told(&running, after), came_back);
    let after = running.store.head();
    running.step(2_000);
    running.until("a look at who is missing", |running| told(running, after).len() == 3);
    let missing =
        ["bob ended phone Stopped 1/1", "bob ended laptop Stopped 0/0", "bob had not 1 of 2"];
    assert_eq!(told(&running, after), missing);
    // That is in the log: after one more start nobody is told again.
    let mut running = running.crash();
    let after = running.store.head();
    running.step(60_000);
    running.until("carol is missing too", |running| !told(running, after).is_empty());
    running.settle();
    assert_eq!(told(&running, after), ["carol ended phone Stopped 0/0"]);
}

#[test]
fn a_receipt_names_every_message_and_the_back_end_gets_one_of_each_recipient() {
    let mut running = Running::new();
    for who in ["bob", "carol"] {
        running.open(who, "phone");
    }
    let origin = Origin::Backend { repeat: None, system: true };
    let to = vec![peer("bob"), peer("carol")];
    let mut message =
        NewMessage { origin, to, receipt: true, ..new_message("system", "bob", 0, b"x") };
    let mut sends = Vec::new();
    for _ in 0..2 {
        sends.push(sent(&running.outcome(Request::Message(message.clone()))).id);
    }
    message.receipt = false;
    sent(&running.outcome(Request::Message(message)));
    let own = running.send_with_receipt("alice", "bob", 0).id;
    let after = running.store.head();
    running.ack("bob", "phone", own);
    running.ack("carol", "phone", sends[0]);
    let delivered = |placed: Placed| match placed.entry {
        Entry::Delivered { to, by, device, messages, sequence, .. } => {
            Some((to.to_string(), by.to_string(), device.to_string(), messages, sequence))
        }
        _ => None,
    };
    let told: Vec<_> = entries(&running, after).into_iter().filter_map(delivered).collect();
    let of = |to: &str, by: &str, messages: &[MessageId], sequence| {
        (to.to_owned(), by.to_owned(), "phone".to_owned(), messages.to_vec(), sequence)
    };
    let expected = [
        of("system", "bob", &sends, 2),
        of("alice", "bob", &[own], 1),
        of("system", "carol", &sends[..1], 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_text_for_a_push_service_is_in_the_log() {
    let mut running = Running::new();
    let message = NewMessage { push: "Lunch?".into(), ..new_message("alice", "bob", 1, b"x") };
    let id = sent(&running.outcome(Request::Message(message))).id;
    let running = running.restart();
    let read = running.block_on(running.store.entries(vec![id])).unwrap().remove(0);
    assert!(matches!(read.entry, Entry::Message { push, .. } if push == "Lunch?"));
}
