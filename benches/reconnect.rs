//! How long after a reconnection begins is the first message heard, and known to be safe, with
//! early data (0-RTT) and without, where a round trip takes 50 ms?
//!
//! Share of the whole: none while a connection stands.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unused_imports,
    reason = "it shares the tests' server, network and client"
)]

#[path = "../tests/it/frames.rs"]
mod frames;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "../tests/it/proxy.rs"]
mod proxy;

use std::time::{Duration, Instant};

use harness::{Manner, Raw, Running, open, send, soon, until};
use proxy::Proxy;
use tidings::wire::ServerFrame;

/// One way; a round trip takes twice as long.
const DELAY: Duration = Duration::from_millis(25);
/// Reconnections of each kind when it is run as a bench; a test run makes one.
const ROUNDS: u64 = 50;

/// One reconnection: after what time the recipient had the message, and the sender its answer.
struct Round {
    heard: Duration,
    answered: Duration,
}

#[tokio::main]
async fn main() {
    let server = Running::start().await;
    let proxy = Proxy::start(server.address(), DELAY).await;
    let config = Manner::default().config(&server.certificate_file());
    let mut bob = server.open("bob").await;
    // The first connection gets the first ticket.
    let mut number = 1;
    reconnect(&server, &proxy, &config, &mut bob, false, number).await;
    let (mut ordinary, mut early) = (Vec::new(), Vec::new());
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    for _ in 0..rounds {
        for (is_early, rounds) in [(false, &mut ordinary), (true, &mut early)] {
            number += 1;
            rounds.push(reconnect(&server, &proxy, &config, &mut bob, is_early, number).await);
        }
    }
    println!(
        "round trip {:?}, {rounds} reconnections each, median (slowest tenth from)",
        2 * DELAY
    );
    print("without early data", &ordinary);
    print("with early data   ", &early);
}

/// Connects with a ticket, opens a session, sends one message and leaves.
async fn reconnect(
    server: &Running,
    proxy: &Proxy,
    config: &quinn::ClientConfig,
    bob: &mut harness::Session,
    is_early: bool,
    number: u64,
) -> Round {
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let start = Instant::now();
    let connecting = endpoint.connect_with(config.clone(), proxy.address(), "localhost").unwrap();
    let connection = match is_early {
        true => match connecting.into_0rtt() {
            Ok((connection, _accepted)) => connection,
            Err(_) => panic!("there is no ticket"),
        },
        false => soon("a handshake", connecting).await.unwrap(),
    };
    let raw = Raw { connection, _endpoint: endpoint };
    let (mut ann, message) = (raw.stream().await, send(number, &["bob"], "back again"));
    ann.say(open("ann")).await;
    if !is_early {
        // The client library, too, waits until a session is open.
        assert!(matches!(ann.hear().await, ServerFrame::Opened(_)));
    }
    ann.say(message).await;
    let heard = async {
        bob.hear_message().await;
        start.elapsed()
    };
    let answered = async {
        ann.hear_sent(number).await;
        start.elapsed()
    };
    let (heard, answered) = tokio::join!(heard, answered);
    ann.hear_all().await;
    raw.connection.close(0_u32.into(), b"");
    until("the end of the session", || server.sessions() == 1).await;
    Round { heard, answered }
}

fn print(what: &str, rounds: &[Round]) {
    let of = |part: fn(&Round) -> Duration| {
        let mut times: Vec<Duration> = rounds.iter().map(part).collect();
        times.sort_unstable();
        let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
        format!("{:6.1} ms ({:.1})", ms(times.len() / 2), ms(times.len() * 9 / 10))
    };
    println!("{what}  heard {}  answered {}", of(|r| r.heard), of(|r| r.answered));
}
