//! Going down and coming back.

use std::time::{Duration, Instant};

use crate::harness::{Running, bodies, open, send, soon};
use tidings::client::{Event, OpenOptions, Outgoing, Pause};
use tidings::limits::RECONNECT_JITTER;
use tidings::net::DrainOutcome;
use tidings::reason::Reason;
use tidings::wire::ServerFrame;

#[tokio::test]
async fn a_drain_answers_what_it_took_and_tells_everybody_to_come_back() {
    let mut server = Running::start().await;
    let mut idle = server.open("idle").await;
    let mut ann = server.open("ann").await;
    for number in 1..=45 {
        ann.say(send(number, &["bob"], number.to_string())).await;
    }
    ann.hear_sent(1).await;
    let (outcome, (frames, _), (idle_frames, _)) =
        tokio::join!(server.drain(), ann.hear_end(), idle.hear_end());
    assert_eq!(outcome, DrainOutcome { clean: 2, forced: 0 });
    let wait_ms = RECONNECT_JITTER.as_millis() as u64;
    let is_goodbye = |frame: &ServerFrame| match frame {
        ServerFrame::GoAway(go) => go.reason == Reason::Restarting && go.wait_ms <= wait_ms,
        _ => false,
    };
    assert_eq!(idle_frames.len(), 1);
    assert!(is_goodbye(&idle_frames[0]));
    assert_eq!(frames.iter().filter(|frame| is_goodbye(frame)).count(), 1);
    assert_eq!(ann.raw.closed().await, Reason::Restarting as u64);
    // Exactly what was answered was stored.
    let answered = 1 + frames.iter().filter(|f| matches!(f, ServerFrame::Sent(_))).count();
    server.start_again().await;
    let mut bob = server.open("bob").await;
    assert_eq!(bob.opened().waiting as usize, answered);
    let expected: Vec<String> = (1..=answered).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&bob.hear_messages(answered).await), expected);
}

#[tokio::test]
async fn a_restart_keeps_the_certificate_and_the_log() {
    let mut server = Running::start().await;
    let fingerprint = server.server().fingerprint();
    let before = server.open("ann").await;
    server.restart().await;
    assert_eq!(server.server().fingerprint(), fingerprint);
    assert_eq!(server.server().report().damage, [""; 0]);
    let after = server.open("ann").await;
    assert_eq!(after.opened().epoch, before.opened().epoch);
    assert!(after.opened().session > before.opened().session);
}

#[tokio::test]
async fn a_client_comes_back_by_itself_after_a_restart() {
    let mut server = Running::start().await;
    let client = server.client().await;
    let (bob, mut to_bob) = client.open(OpenOptions::new("bob".parse().unwrap())).await.unwrap();
    let (ann, _to_ann) = client.open(OpenOptions::new("ann".parse().unwrap())).await.unwrap();
    let before = ann.send(Outgoing::to(bob.peer(), "before")).await.unwrap();
    assert!(matches!(to_bob.next().await, Some(Event::Opened(_))));
    assert!(matches!(to_bob.next().await, Some(Event::Message(m)) if m.id == before.id));
    server.drain().await;
    let sending = ann.start_send(Outgoing::to(bob.peer(), "while it was down")).await.unwrap();
    server.start_again().await;
    let began = Instant::now();
    let after = soon("the answer", sending).await.unwrap();
    assert!(began.elapsed() < RECONNECT_JITTER + Duration::from_secs(7), "{:?}", began.elapsed());
    assert!(after.id > before.id);
    assert_eq!(after.sequence, 2);
    assert!(matches!(
        soon("pause", to_bob.next()).await,
        Some(Event::Paused(Pause::SentAway(Reason::Restarting)))
    ));
    assert!(matches!(soon("resume", to_bob.next()).await, Some(Event::Resumed(_))));
    assert!(matches!(soon("it", to_bob.next()).await, Some(Event::Message(m)) if m.id == after.id));
}

#[tokio::test]
async fn a_client_outlives_a_server_that_has_lost_everything() {
    let mut server = Running::start().await;
    let client = server.client().await;
    let (bob, mut to_bob) = client.open(OpenOptions::new("bob".parse().unwrap())).await.unwrap();
    let (ann, _to_ann) = client.open(OpenOptions::new("ann".parse().unwrap())).await.unwrap();
    for text in ["1", "2", "3"] {
        ann.send(Outgoing::to(bob.peer(), text)).await.unwrap();
    }
    let Some(Event::Opened(before)) = to_bob.next().await else { panic!("not open") };
    for _ in 0..3 {
        assert!(matches!(soon("it", to_bob.next()).await, Some(Event::Message(_))));
    }
    server.restart_wiped().await;
    let after = loop {
        match soon("resume", to_bob.next()).await {
            Some(Event::Resumed(after)) => break after,
            Some(Event::Paused(_)) => {}
            event => panic!("{event:?}"),
        }
    };
    assert_ne!(after.epoch, before.epoch);
    let sent = soon("a send", ann.send(Outgoing::to(bob.peer(), "anew"))).await.unwrap();
    assert_eq!(sent.sequence, 1);
    let Some(Event::Message(message)) = soon("it", to_bob.next()).await else { panic!("none") };
    assert_eq!((message.id, message.epoch), (sent.id, after.epoch));
}

#[tokio::test]
async fn a_session_that_opens_while_the_server_drains_is_sent_away() {
    let mut server = Running::start().await;
    let raw = server.connect().await;
    let mut stream = raw.stream().await;
    server.server().hub().go_away();
    stream.say(open("late")).await;
    assert_eq!(stream.hear_reason().await, Reason::Restarting);
    server.drain().await;
}
