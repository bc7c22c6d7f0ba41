//! What a peer that was away finds.

use std::time::Duration;

use crate::harness::{Running, Session, bodies, open, open_on, send, until};
use tidings::id::MessageId;
use tidings::limits::{FEED_MESSAGES_MAX, INBOX_MESSAGES_MAX};
use tidings::wire::{Close, Dropped, ServerFrame};

const HOUR: Duration = Duration::from_secs(3600);

/// Sends numbered messages to Bob.
async fn send_to_bob(ann: &mut Session, numbers: std::ops::Range<u32>) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for number in numbers {
        ids.push(ann.send(&["bob"], number.to_string()).await.id);
    }
    ids
}

async fn hear_dropped(session: &mut Session) -> Dropped {
    match session.hear().await {
        ServerFrame::Dropped(dropped) => dropped,
        frame => panic!("{frame:?} is not Dropped"),
    }
}

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn of_60_messages_the_newest_50_wait_and_10_are_told_as_dropped() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let ids = send_to_bob(&mut ann, 0..60).await;
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (50, 10));
    assert_eq!(hear_dropped(&mut bob).await, Dropped { count: 10, id: ids[9] });
    let heard = bob.hear_messages(50).await;
    assert_eq!(bodies(&heard), texts(10..60));
    assert!(heard.iter().all(|message| message.waited));
    assert_eq!(heard.iter().map(|m| m.sequence).collect::<Vec<_>>(), (11..=60).collect::<Vec<_>>());
    assert_eq!(server.server().metrics().dropped(), 10);
    // Acknowledged like a message, it is not told again.
    bob.ack(heard[0].id).await;
    bob.leave().await;
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (49, 0));
    assert_eq!(bob.hear_message().await.body, "11");
}

#[tokio::test]
async fn a_drop_is_told_until_it_is_acknowledged_also_after_a_restart() {
    let mut server = Running::start().await;
    let mut ann = server.open("ann").await;
    let ids = send_to_bob(&mut ann, 0..52).await;
    let mut bob = server.open("bob").await;
    hear_dropped(&mut bob).await;
    server.restart().await;
    let mut bob = server.open("bob").await;
    assert_eq!(bob.opened().dropped, 2);
    let dropped = hear_dropped(&mut bob).await;
    assert_eq!(dropped, Dropped { count: 2, id: ids[1] });
    bob.ack(dropped.id).await;
    server.restart().await;
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (50, 0));
    assert_eq!(bodies(&bob.hear_messages(50).await), texts(2..52));
}

#[tokio::test]
async fn only_what_was_sent_while_the_peer_was_away_is_trimmed() {
    let server = Running::start_with(|config| config.store.window_messages = 3).await;
    let mut ann = server.open("ann").await;
    let bob = server.open("bob").await;
    bob.leave().await;
    until("its end", || server.sessions() == 1).await;
    // Within a minute of its session it is not away.
    send_to_bob(&mut ann, 0..10).await;
    server.step(Duration::from_secs(61));
    send_to_bob(&mut ann, 10..15).await;
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (13, 2));
    // The gap is told where it is.
    assert_eq!(bodies(&bob.hear_messages(10).await), texts(0..10));
    assert_eq!(hear_dropped(&mut bob).await.count, 2);
    assert_eq!(bodies(&bob.hear_messages(3).await), texts(12..15));
}

#[tokio::test]
async fn what_is_older_than_7_days_is_dropped_and_told() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    server.open("bob").await.leave().await;
    send_to_bob(&mut ann, 0..3).await;
    server.step(144 * HOUR);
    send_to_bob(&mut ann, 3..5).await;
    server.step(24 * HOUR);
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (2, 3));
    assert_eq!(hear_dropped(&mut bob).await.count, 3);
    assert_eq!(bodies(&bob.hear_messages(2).await), ["3", "4"]);
}

#[tokio::test]
async fn what_waited_says_so_and_what_is_live_does_not() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    ann.send(&["bob"], "early").await;
    let mut bob = server.open("bob").await;
    let early = bob.hear_message().await;
    bob.hear_all().await;
    ann.send(&["bob"], "live").await;
    let live = bob.hear_message().await;
    assert_eq!((early.waited, live.waited), (true, false));
    assert_eq!((early.sequence, live.sequence), (1, 2));
}

#[tokio::test]
async fn a_message_whose_time_is_over_is_not_delivered() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    for (number, ttl_ms) in [(1, 60_000), (2, 0), (3, 7_200_000)] {
        let mut send = send(number, &["bob"], number.to_string());
        send.ttl_ms = ttl_ms;
        ann.say(send).await;
        ann.hear_sent(number).await;
    }
    server.step(HOUR);
    let mut bob = server.open("bob").await;
    assert_eq!(bodies(&bob.hear_messages(2).await), ["2", "3"]);
    assert_eq!(bob.opened().dropped, 0);
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn a_message_whose_time_is_over_is_no_drop() {
    let server = Running::start_with(|config| config.store.window_messages = 2).await;
    let mut ann = server.open("ann").await;
    let mut brief = send(1, &["bob"], "brief");
    brief.ttl_ms = 1000;
    ann.say(brief).await;
    ann.hear_sent(1).await;
    server.step(HOUR);
    ann.take_number();
    send_to_bob(&mut ann, 1..3).await;
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (2, 0));
    assert_eq!(bodies(&bob.hear_messages(2).await), ["1", "2"]);
}

#[tokio::test]
async fn each_device_has_its_own_place_in_the_inbox() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    server.open_with(open_on("bob", "phone")).await.leave().await;
    server.open_with(open_on("bob", "laptop")).await.leave().await;
    let ids = send_to_bob(&mut ann, 0..4).await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    assert_eq!(bodies(&phone.hear_messages(4).await), texts(0..4));
    phone.ack(ids[3]).await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    assert_eq!(laptop.opened().waiting, 4);
    assert_eq!(bodies(&laptop.hear_messages(4).await), texts(0..4));
    laptop.ack(ids[1]).await;
    // A new device starts where the device that has had least stands.
    let mut tablet = server.open_with(open_on("bob", "tablet")).await;
    assert_eq!(bodies(&tablet.hear_messages(2).await), texts(2..4));
}

#[tokio::test]
async fn what_waits_outlasts_a_restart() {
    let mut server = Running::start().await;
    let mut ann = server.open("ann").await;
    send_to_bob(&mut ann, 0..5).await;
    let long = vec![b'x'; 5000];
    ann.send(&["bob"], long.clone()).await;
    server.restart().await;
    server.restart().await;
    let mut bob = server.open("bob").await;
    assert_eq!(bodies(&bob.hear_messages(5).await), texts(0..5));
    assert_eq!(bob.hear_message().await.body, long);
    let mut ann = server.open_with(open("ann")).await;
    assert_eq!(ann.opened().next_number, 7);
    assert_eq!(ann.send(&["bob"], "goes on").await.sequence, 7);
}

#[tokio::test]
async fn what_is_for_a_device_that_is_away_waits_for_it_and_no_other_over_a_restart() {
    let mut server = Running::start().await;
    let mut ann = server.open("ann").await;
    server.open_with(open_on("bob", "phone")).await.leave().await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    for text in texts(0..3) {
        server.push("ann", "bob", &["phone"], text).await;
    }
    let all = ann.send(&["bob"], "for both").await;
    assert_eq!(bodies(&laptop.hear_messages(1).await), ["for both"]);
    laptop.ack(all.id).await;
    laptop.send(&["cid"], "behind the acknowledgement").await;
    server.restart().await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    assert_eq!((laptop.opened().waiting, laptop.hear_all().await), (0, Vec::new()));
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    assert_eq!(phone.opened().waiting, 4);
    let heard = phone.hear_messages(4).await;
    assert_eq!(bodies(&heard), ["0", "1", "2", "for both"]);
    assert!(heard.iter().all(|message| message.waited));
    phone.ack(heard[3].id).await;
    phone.leave().await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    assert_eq!((phone.opened().waiting, phone.hear_all().await), (0, Vec::new()));
    assert_eq!(laptop.hear_all().await, []);
}

#[tokio::test]
async fn what_is_for_a_device_that_logs_out_is_gone() {
    let server = Running::start().await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    server.push("ann", "bob", &["phone"], "for the phone").await;
    assert_eq!(phone.hear_message().await.body, "for the phone");
    // It has not acknowledged it.
    phone.say(Close { request: 1 }).await;
    phone.hear_end().await;
    server.push("ann", "bob", &["phone"], "for nobody").await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    assert_eq!((phone.opened().waiting, phone.opened().dropped), (0, 0));
    assert_eq!((phone.hear_all().await, laptop.hear_all().await), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn pages_full_of_what_is_for_another_device_do_not_keep_a_session_from_the_rest() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    for device in ["phone", "laptop"] {
        server.open_with(open_on("bob", device)).await.leave().await;
    }
    let count = 3 * FEED_MESSAGES_MAX;
    for index in 0..count {
        server.push("ann", "bob", &["phone"], index.to_string()).await;
    }
    ann.send(&["bob"], "for both").await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    assert_eq!(laptop.opened().waiting, 1);
    assert_eq!(bodies(&laptop.hear_messages(1).await), ["for both"]);
    // It has caught up, and hears what comes next as it comes.
    ann.send(&["bob"], "for both again").await;
    let live = laptop.hear_message().await;
    assert_eq!(live.body, "for both again");
    assert!(!live.waited);
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    let heard = phone.hear_messages(count + 2).await;
    assert_eq!(bodies(&heard[..count]), texts(0..count as u32));
    assert_eq!(bodies(&heard[count..]), ["for both", "for both again"]);
    assert_eq!((phone.hear_all().await, laptop.hear_all().await), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_device_for_which_too_much_waits_does_not_end_the_session_of_another() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    server.open_with(open_on("bob", "phone")).await.leave().await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    for _ in 0..=INBOX_MESSAGES_MAX {
        server.push("cid", "bob", &["phone"], "for the phone").await;
    }
    ann.send(&["bob"], "for both").await;
    assert_eq!(laptop.hear_message().await.body, "for both");
    laptop.send(&["ann"], "still here").await;
    let phone = server.open_with(open_on("bob", "phone")).await;
    assert_eq!(phone.opened().waiting, INBOX_MESSAGES_MAX as u64);
    assert_eq!(phone.opened().dropped, 2);
}
