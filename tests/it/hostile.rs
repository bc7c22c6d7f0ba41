//! Clients that do everything wrong at once: the server's memory stays bounded and it serves on.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::failures::Process;
use crate::harness::{Manner, PATIENCE, Raw, Session, open, raw_frame, send, until};
use tidings::id::MessageId;
use tidings::wire::Ack;

/// Clients of each kind.
const CLIENTS: usize = 20;
/// Messages of 5,000 bytes for each of those who do not read: 1 MB each, four times an outbox.
const UNREAD: usize = 200;
const MEMORY_KIB_MAX: u64 = 64 * 1024;

/// How to reach the server.
#[derive(Clone)]
struct Way {
    process: std::net::SocketAddr,
    certificate: PathBuf,
}

impl Way {
    async fn connect(&self) -> Raw {
        Raw::connect(self.process, &self.certificate).await
    }

    /// A session that lets the server send next to nothing.
    async fn open_deaf(&self, name: &str) -> Session {
        let manner = Manner { stream_window: 1024, ..Manner::default() };
        let raw = Raw::try_connect(self.process, &self.certificate, manner).await;
        raw.unwrap().open(open(name)).await
    }
}

/// Bytes that are no session: an unknown kind, a frame too long, one without a kind.
async fn talk_garbage(way: Way) {
    let garbage = [
        raw_frame(0x7f, b"junk"),
        Bytes::from_static(&[0xbf, 0xff, 0xff, 0xff]),
        Bytes::from_static(&[0]),
    ];
    let raw = way.connect().await;
    for bytes in garbage {
        let mut stream = raw.stream().await;
        stream.say_bytes(bytes).await;
        stream.hear_end().await;
    }
}

async fn acknowledge_the_future(way: Way, name: String) {
    let mut session = way.connect().await.open(open(&name)).await;
    session.say(Ack { id: MessageId(i64::MAX) }).await;
    session.hear_end().await;
}

/// Wants another protocol; the handshake fails.
async fn speak_another_protocol(way: Way) {
    let manner = Manner { alpn: b"other/1".to_vec(), ..Manner::default() };
    assert!(Raw::try_connect(way.process, &way.certificate, manner).await.is_err());
}

/// Asks without end and never listens, a byte at a time at first.
async fn ask_without_listening(way: Way, name: String) -> Session {
    let mut session = way.open_deaf(&name).await;
    for byte in raw_frame(0x7f, &[1]) {
        session.say_bytes(Bytes::copy_from_slice(&[byte])).await;
    }
    for request in 2..60 {
        session.say_bytes(raw_frame(0x7f, &[request])).await;
    }
    session
}

/// Says something from one to the other, over and over, and how long each took, shortest first.
async fn converse(ann: &mut Session, bob: &mut Session, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        ann.send(&["bob"], "hello").await;
        let message = bob.hear_message().await;
        times.push(start.elapsed());
        bob.ack(message.id).await;
    }
    times.sort_unstable();
    times
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_of_every_kind_cost_little_memory_and_nobody_else_their_service() {
    let folder = TempDir::new().unwrap();
    let server = Process::start(&folder, "127.0.0.1:0", "").await;
    let way = Way {
        process: server.address,
        certificate: folder.path().join("data/keys/certificate.pem"),
    };
    let mut ann = way.connect().await.open(open("ann")).await;
    let mut bob = way.connect().await.open(open("bob")).await;
    converse(&mut ann, &mut bob, 50).await;
    let before = server.memory_kib();

    let mut ending = JoinSet::new();
    let mut staying = Vec::new();
    let mut idle = Vec::new();
    for index in 0..CLIENTS {
        ending.spawn(talk_garbage(way.clone()));
        ending.spawn(acknowledge_the_future(way.clone(), format!("future-{index}")));
        ending.spawn(speak_another_protocol(way.clone()));
        staying.push(ask_without_listening(way.clone(), format!("asks-{index}")).await);
        staying.push(way.open_deaf(&format!("deaf-{index}")).await);
        idle.push(way.connect().await);
    }
    let deaf: Vec<String> = (0..CLIENTS).map(|index| format!("deaf-{index}")).collect();
    let deaf: Vec<&str> = deaf.iter().map(String::as_str).collect();
    let mut loud = way.connect().await.open(open("loud")).await;
    let shout = async {
        for _ in 0..UNREAD {
            let number = loud.take_number();
            loud.say(send(number, &deaf, vec![7; 5_000])).await;
            loud.hear_sent(number).await;
        }
    };
    let (times, ()) = tokio::join!(converse(&mut ann, &mut bob, 200), shout);
    while let Some(ended) = ending.join_next().await {
        ended.unwrap();
    }
    let grown = || server.memory_kib().saturating_sub(before);
    println!("p99 beside hostile clients: {:?}; memory grown by {} KiB", times[197], grown());
    // Bounds that tell service from none on a busy machine; `loadtest hostile` has narrow ones.
    assert_eq!(times.len(), 200);
    assert!(times[197] < PATIENCE / 10 && times[199] < PATIENCE, "{:?}", &times[190..]);
    assert!(grown() < 2 * MEMORY_KIB_MAX, "{} KiB", grown());
    // On a busy machine more of them are served at the same time, and what they took comes back.
    until("they cost little memory", || grown() < MEMORY_KIB_MAX).await;
    converse(&mut ann, &mut bob, 10).await;
}
