//! Who reads slowly, or never, costs its bound and nobody else.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::harness::{
    End, Manner, Raw, Running, Session, assert_serves, encoded, open, peer, raw_frame, send, soon,
    until,
};
use tidings::limits::{OUTBOX_FRAMES_MAX, SESSIONS_PER_CONNECTION_MAX};
use tidings::reason::Reason;
use tidings::wire::{Ping, ServerFrame, Target};

/// More than fits an outbox and the way to it.
const MESSAGES: usize = OUTBOX_FRAMES_MAX * 5 / 2;
/// Bytes under way to one who does not read.
const WINDOW: u32 = 16 * 1024;

async fn connect_narrow(server: &Running) -> Raw {
    let manner = Manner { stream_window: WINDOW, ..Manner::default() };
    let certificate = server.certificate_file();
    Raw::try_connect(server.address(), &certificate, manner).await.unwrap()
}

async fn open_narrow(server: &Running, name: &str) -> Session {
    connect_narrow(server).await.open(open(name)).await
}

/// Sends many messages, 64 under way, to peers of whom the first does not read.
async fn send_many(ann: &mut Session, to: &[&str]) {
    let mut under_way = std::collections::VecDeque::new();
    for number in 0..MESSAGES {
        let request = ann.take_number();
        ann.say(send(request, to, vec![number as u8; 1000])).await;
        under_way.push_back(request);
        if under_way.len() == 64 {
            ann.hear_sent(under_way.pop_front().unwrap()).await;
        }
    }
    for request in under_way {
        ann.hear_sent(request).await;
    }
}

#[tokio::test]
async fn a_slow_reader_never_delays_a_sender_and_has_everything_in_order_afterwards() {
    let server = Running::start().await;
    let mut bob = open_narrow(&server, "bob").await;
    let mut cid = server.open("cid").await;
    let mut ann = server.open("ann").await;
    // Every answer comes, though Bob reads nothing meanwhile; so does every message to Cid.
    send_many(&mut ann, &["bob", "cid"]).await;
    cid.hear_messages(MESSAGES).await;
    let heard = bob.hear_messages(MESSAGES).await;
    let numbers: Vec<usize> = heard.iter().map(|message| message.sequence as usize).collect();
    assert_eq!(numbers, (1..=MESSAGES).collect::<Vec<_>>());
    assert!(heard.is_sorted_by(|a, b| a.id < b.id), "ids rise strictly");
    assert!(!heard[0].waited && heard[MESSAGES - 1].waited);
    // Once it has caught up, it is live again.
    for try_again in (0..20).rev() {
        ann.send(&["bob"], "and now?").await;
        let message = bob.hear_message().await;
        if !message.waited {
            break;
        }
        assert!(try_again > 0, "it is behind for ever");
    }
}

#[tokio::test]
async fn a_session_that_never_reads_is_cut_and_loses_nothing() {
    let server = Running::start_with(|config| {
        config.net.write_timeout = Duration::from_millis(300);
    })
    .await;
    let mut bob = open_narrow(&server, "bob").await;
    let mut ann = server.open("ann").await;
    send_many(&mut ann, &["bob"]).await;
    until("the cut", || server.sessions() == 1).await;
    assert_eq!(bob.hear_end().await.1, End::Reset(Reason::TooSlow as u64));
    let ended = "tidings_ended_total{reason=\"the session reads slower than it is written to\"} 1";
    assert!(server.server().metrics().text().contains(ended));
    let mut bob = server.open("bob").await;
    let heard = bob.hear_messages(MESSAGES).await;
    assert_eq!(heard[MESSAGES - 1].sequence as usize, MESSAGES);
}

#[tokio::test]
async fn a_session_that_is_over_is_heard_no_more_even_if_it_does_not_read_that() {
    let server = Running::start_with(|config| {
        config.net.write_timeout = Duration::from_secs(3);
    })
    .await;
    let mut bob = open_narrow(&server, "bob").await;
    let (mut ann, mut cid) = (server.open("ann").await, server.open("cid").await);
    // Twice what is under way to one who does not read.
    for _ in 0..2 * WINDOW / 1024 {
        ann.send(&["bob"], vec![0; 1024]).await;
    }
    assert_eq!(server.server().hub().end_sessions(&peer("bob"), None, "enough"), 1);
    bob.say(send(1, &["cid"], "one more thing")).await;
    until("the cut", || server.sessions() == 2).await;
    assert_eq!(cid.hear_all().await, []);
}

/// Asks again and again, hearing no answer, until the server cuts the session; says how many
/// bytes the server let us write.
async fn ask_for_ever(server: &Running, asker: &str, question: &Bytes) -> usize {
    let mut session = open_narrow(server, asker).await;
    let mut questions = BytesMut::new();
    while questions.len() < 8 * 1024 {
        questions.extend_from_slice(question);
    }
    let ask = async {
        let mut bytes = 0;
        while session.send.write_all(&questions).await.is_ok() {
            bytes += questions.len();
        }
        bytes
    };
    soon("the cut", ask).await
}

#[tokio::test]
async fn who_does_not_read_answers_is_not_read_from() {
    let server = Running::start_with(|config| {
        config.net.write_timeout = Duration::from_millis(1500);
    })
    .await;
    let ping = encoded(Ping { request: 1 });
    let unknown = raw_frame(0x7e, &[1]);
    let mut nobody = send(1, &[], "");
    (nobody.transient, nobody.number) = (true, 0);
    let transient = encoded(nobody.clone());
    (nobody.transient, nobody.number) = (false, 1);
    nobody.target = Target::Peers(Vec::new());
    let persistent = encoded(nobody);
    let (ping, unknown, transient, persistent) = tokio::join!(
        ask_for_ever(&server, "ann", &ping),
        ask_for_ever(&server, "bob", &unknown),
        ask_for_ever(&server, "cid", &transient),
        ask_for_ever(&server, "dan", &persistent),
    );
    for (what, bytes) in
        [("ping", ping), ("unknown", unknown), ("transient", transient), ("send", persistent)]
    {
        // What QUIC lets us write ahead (32 KiB), one chunk that is read, and the places there are.
        assert!(bytes < 64 * 1024, "{what}: {bytes} bytes were read without hearing an answer");
    }
    assert_serves(&server).await;
}

#[tokio::test]
async fn streams_that_are_not_read_from_leave_another_of_their_connection_its_room() {
    let server = Running::start().await;
    let raw = connect_narrow(&server).await;
    let question = encoded(Ping { request: 1 });
    let much = Bytes::from(question.repeat(28 * 1024 / question.len()));
    let more = Bytes::from(question.repeat(100));
    let mut askers = tokio::task::JoinSet::new();
    for number in 1..SESSIONS_PER_CONNECTION_MAX {
        let mut asker = raw.open(open(&format!("asker {number}"))).await;
        let (much, more) = (much.clone(), more.clone());
        askers.spawn(async move {
            asker.send.write_all(&much).await.unwrap();
            // As far as anybody can tell, the server takes no more.
            let stuck = Duration::from_millis(300);
            while tokio::time::timeout(stuck, asker.send.write_all(&more)).await.is_ok() {}
            asker
        });
    }
    let _askers = soon("the askers", askers.join_all()).await;
    let mut ann = raw.open(open("ann")).await;
    ann.say(Ping { request: 2 }).await;
    assert!(matches!(ann.hear().await, ServerFrame::Pong(pong) if pong.request == 2));
}

#[tokio::test]
async fn what_a_peer_asked_is_answered_between_the_messages_it_is_slow_to_read() {
    let server = Running::start().await;
    let mut bob = open_narrow(&server, "bob").await;
    let mut ann = server.open("ann").await;
    send_many(&mut ann, &["bob"]).await;
    bob.say(send(1, &["ann"], "wait for me")).await;
    assert_eq!(ann.hear_message().await.body, "wait for me");
    let mut messages = 0;
    let mut is_answered = false;
    while messages < MESSAGES || !is_answered {
        match bob.hear().await {
            ServerFrame::Deliver(_) => messages += 1,
            ServerFrame::Sent(sent) => is_answered = sent.request == 1,
            frame => panic!("{frame:?}"),
        }
    }
}
