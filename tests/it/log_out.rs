//! Close is log out; everything else is not.

use crate::harness::{End, Running, bodies, open_on, send, until};
use tidings::wire::{Close, Closed, ServerFrame};

#[tokio::test]
async fn a_close_is_answered_after_what_came_before_it() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    for number in 1..=20 {
        ann.say(send(number, &["bob"], number.to_string())).await;
    }
    ann.say(Close { request: 21 }).await;
    let (frames, end) = ann.hear_end().await;
    let sent = frames.iter().filter(|frame| matches!(frame, ServerFrame::Sent(_))).count();
    assert_eq!((sent, end), (20, End::Finished));
    assert!(frames.contains(&Closed { request: 21 }.into()));
    until("the end of the session", || server.sessions() == 0).await;
}

#[tokio::test]
async fn a_device_that_logged_out_gets_nothing_until_it_opens_again() {
    let server = Running::start().await;
    let mut ann = server.open("ann").await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    let mut laptop = server.open_with(open_on("bob", "laptop")).await;
    phone.say(Close { request: 1 }).await;
    let (frames, end) = phone.hear_end().await;
    assert_eq!((frames, end), (vec![Closed { request: 1 }.into()], End::Finished));
    let sent = ann.send(&["bob"], "for the laptop").await;
    laptop.hear_message().await;
    laptop.ack(sent.id).await;
    let mut phone = server.open_with(open_on("bob", "phone")).await;
    assert_eq!((phone.opened().waiting, phone.opened().dropped), (0, 0));
    ann.send(&["bob"], "for both").await;
    assert_eq!(bodies(&phone.hear_messages(1).await), ["for both"]);
    assert_eq!(bodies(&laptop.hear_messages(1).await), ["for both"]);
}

#[tokio::test]
async fn a_peer_that_logged_out_everywhere_is_away_at_once_and_keeps_its_window() {
    let server = Running::start_with(|config| config.store.window_messages = 2).await;
    let mut ann = server.open("ann").await;
    let mut bob = server.open("bob").await;
    bob.say(Close { request: 1 }).await;
    bob.hear_end().await;
    for text in ["1", "2", "3"] {
        ann.send(&["bob"], text).await;
    }
    let mut bob = server.open("bob").await;
    assert_eq!((bob.opened().waiting, bob.opened().dropped), (2, 1));
    assert!(matches!(bob.hear().await, ServerFrame::Dropped(dropped) if dropped.count == 1));
    assert_eq!(bodies(&bob.hear_messages(2).await), ["2", "3"]);
}

#[tokio::test]
async fn a_client_that_ends_its_side_still_hears_its_answers_and_is_not_logged_out() {
    let server = Running::start().await;
    let mut ann = server.open_with(open_on("ann", "phone")).await;
    for number in 1..=50 {
        ann.say(send(number, &["bob"], number.to_string())).await;
    }
    let frames = ann.leave().await;
    let answered = |frame: &ServerFrame| match frame {
        ServerFrame::Sent(sent) => sent.request,
        frame => panic!("{frame:?}"),
    };
    assert_eq!(frames.iter().map(answered).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    let mut bob = server.open("bob").await;
    bob.send(&["ann"], "while you are out").await;
    let mut ann = server.open_with(open_on("ann", "phone")).await;
    assert_eq!(ann.hear_message().await.body, "while you are out");
}
