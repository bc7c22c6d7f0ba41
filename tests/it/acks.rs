//! Acknowledgements, and going on from a cursor.

use crate::harness::{Running, bodies, open, open_on};
use tidings::id::MessageId;
use tidings::reason::Reason;
use tidings::wire::{Ack, Open};

/// Goes on behind `cursor` of the log with this epoch.
fn resume(epoch: u64, cursor: MessageId) -> Open {
    Open { epoch, cursor, ..open("bob") }
}

#[tokio::test]
async fn an_acknowledgement_holds_for_all_before_it() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut bob = server.open("bob").await;
    for text in ["1", "2", "3", "4"] {
        ann.send(&["bob"], text).await;
    }
    let heard = bob.hear_messages(4).await;
    bob.ack(heard[2].id).await;
    // An older one takes nothing back.
    bob.ack(heard[0].id).await;
    bob.leave().await;
    let mut bob = server.open("bob").await;
    assert_eq!(bob.opened().waiting, 1);
    let again = bob.hear_message().await;
    assert_eq!((again.id, &again.body[..]), (heard[3].id, &b"4"[..]));
    assert!(again.waited);
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_the_next_session() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut bob = server.open("bob").await;
    ann.send(&["bob"], "1").await;
    let first = bob.hear_message().await;
    drop(bob);
    let mut bob = server.open("bob").await;
    assert_eq!(bob.hear_message().await.id, first.id);
}

#[tokio::test]
async fn an_acknowledgement_of_the_future_ends_the_session() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut bob = server.open("bob").await;
    ann.send(&["bob"], "1").await;
    let first = bob.hear_message().await;
    bob.say(Ack { id: MessageId(first.id.0 + 1) }).await;
    assert_eq!(bob.hear_reason().await, Reason::AckOfFuture);
    let mut bob = server.open("bob").await;
    assert_eq!(bob.hear_message().await.id, first.id, "it acknowledged nothing");
}

#[tokio::test]
async fn a_message_of_others_can_not_be_acknowledged() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut bob = server.open("bob").await;
    let sent = ann.send(&["cid"], "not for bob").await;
    bob.say(Ack { id: sent.id }).await;
    assert_eq!(bob.hear_reason().await, Reason::AckOfFuture);
}

#[tokio::test]
async fn a_session_goes_on_behind_its_cursor_though_nothing_was_acknowledged() {
    let mut server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut bob = server.open("bob").await;
    let epoch = bob.opened().epoch;
    for text in ["1", "2", "3"] {
        ann.send(&["bob"], text).await;
    }
    let heard = bob.hear_messages(3).await;
    bob.leave().await;
    let mut bob = server.open_with(resume(epoch, heard[0].id)).await;
    assert_eq!(bob.opened().waiting, 2);
    assert_eq!(bodies(&bob.hear_messages(2).await), ["2", "3"]);
    server.restart().await;
    let mut bob = server.open_with(resume(epoch, heard[1].id)).await;
    assert_eq!(bob.opened().epoch, epoch);
    assert_eq!(bodies(&bob.hear_messages(1).await), ["3"]);
    assert_eq!(bob.hear_all().await, []);
}

#[tokio::test]
async fn a_cursor_of_another_epoch_or_of_the_future_is_ignored() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let sent = ann.send(&["bob"], "1").await;
    let epoch = ann.opened().epoch;
    for cursor in [resume(epoch ^ 1, sent.id), resume(epoch, MessageId(i64::MAX))] {
        let mut bob = server.open_with(cursor).await;
        assert_eq!(bob.hear_message().await.id, sent.id);
    }
}

#[tokio::test]
async fn a_message_is_kept_until_every_device_has_acknowledged_it() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    let sent = ann.send(&["bob"], "1").await;
    phone.hear_message().await;
    laptop.hear_message().await;
    phone.ack(sent.id).await;
    drop(laptop);
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    assert_eq!(laptop.hear_message().await.id, sent.id);
    laptop.ack(sent.id).await;
    let mut tablet = server.open_with(open_on("bob", "tablet")).await;
    assert_eq!(tablet.opened().waiting, 0);
    assert_eq!(tablet.hear_all().await, []);
}
