//! Who is let in, and how many.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quinn::ConnectionError;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use tidings::limits::HANDSHAKE_TIMEOUT;

use crate::harness::{Manner, Raw, Running, assert_serves, open, until};

async fn try_connect(server: &Running) -> Result<Raw, ConnectionError> {
    let manner = Manner::default();
    Raw::try_connect(server.address(), &server.certificate_file(), manner).await
}

async fn one_over_is_turned_away(server: Running) {
    let mut ann = server.connect().await.open(open("ann")).await;
    let bob = server.connect().await.open(open("bob")).await;
    let refused = try_connect(&server).await.err().unwrap();
    assert!(matches!(refused, ConnectionError::ConnectionClosed(_)), "{refused}");
    let counted = "tidings_refused_total{reason=\"too many connections\"} 1";
    assert!(server.server().metrics().text().contains(counted));
    assert_eq!(ann.hear_all().await, []);
    drop(bob);
    until("the end of a connection", || server.connections() == 1).await;
    // Its task may still be about to end.
    let mut bob = loop {
        match try_connect(&server).await {
            Ok(raw) => break raw.open(open("bob")).await,
            Err(error) => assert!(matches!(error, ConnectionError::ConnectionClosed(_))),
        }
    };
    ann.send(&["bob"], "hello").await;
    bob.hear_message().await;
}

#[tokio::test]
async fn one_connection_over_the_limit_of_an_address_is_turned_away() {
    let limit = |config: &mut tidings::config::Config| config.net.connections_per_address_max = 2;
    one_over_is_turned_away(Running::start_with(limit).await).await;
}

#[tokio::test]
async fn one_connection_over_the_limit_of_all_is_turned_away() {
    let limit = |config: &mut tidings::config::Config| config.net.connections_max = 2;
    one_over_is_turned_away(Running::start_with(limit).await).await;
}

#[tokio::test]
async fn all_get_in_though_one_handshake_is_made_at_a_time() {
    let server = Running::start_with(|config| config.net.handshakes_max = 1).await;
    let (address, certificate) = (server.address(), server.certificate_file());
    let mut clients = JoinSet::new();
    for number in 0..40 {
        let certificate = certificate.clone();
        clients.spawn(async move {
            let raw = Raw::connect(address, &certificate).await;
            raw.open(open(&format!("peer-{number}"))).await
        });
    }
    let sessions = clients.join_all().await;
    assert_eq!((sessions.len(), server.sessions()), (40, 40));
    drop(sessions);
    until("their end", || server.connections() == 0).await;
    assert_serves(&server).await;
}

/// Shakes hands from another address, but hears no more than that the address is to be proven.
struct Staller {
    _connecting: JoinSet<()>,
    /// Answers of the server that were not heard.
    unheard: Arc<AtomicUsize>,
    proofs: Arc<AtomicUsize>,
}

impl Staller {
    async fn begin(server: &Running, handshakes: usize) -> Self {
        let (unheard, proofs) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let back = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await.unwrap();
        back.connect(server.address()).await.unwrap();
        let address = front.local_addr().unwrap();
        let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let client = endpoint.local_addr().unwrap();
        let mut connecting = JoinSet::new();
        for _ in 0..handshakes {
            let config = Manner::default().config(&server.certificate_file());
            let stalled = endpoint.connect_with(config, address, "localhost").unwrap();
            connecting.spawn(async move { drop(stalled.await) });
        }
        let counts = (unheard.clone(), proofs.clone());
        connecting.spawn(relay(front, back, client, counts));
        Self { _connecting: connecting, unheard, proofs }
    }
}

/// Relays what a client says, and of the answers only those that ask for a proof of the address.
async fn relay(
    front: UdpSocket,
    back: UdpSocket,
    client: SocketAddr,
    (unheard, proofs): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    /// The form and the type of a Retry packet: RFC 9000, 17.2.5.
    const RETRY: u8 = 0xf0;
    let (mut said, mut answer) = ([0; 2048], [0; 2048]);
    loop {
        tokio::select! {
            bytes = front.recv(&mut said) => {
                let _ = back.send(&said[..bytes.unwrap()]).await;
            }
            bytes = back.recv(&mut answer) => match bytes {
                Ok(bytes) if answer[0] & RETRY == RETRY => {
                    proofs.fetch_add(1, Ordering::Relaxed);
                    front.send_to(&answer[..bytes], client).await.unwrap();
                }
                _ => drop(unheard.fetch_add(1, Ordering::Relaxed)),
            },
        }
    }
}

// Elsewhere this machine has only one address for sure.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_proves_an_address_and_says_no_more_keeps_nobody_of_another_one_out() {
    let server = Running::start_with(|config| config.net.handshakes_max = 8).await;
    let staller = Staller::begin(&server, 200).await;
    let count = |of: &Arc<AtomicUsize>| of.load(Ordering::Relaxed);
    until("the proofs", || count(&staller.proofs) >= 100 && count(&staller.unheard) >= 2).await;
    // Were they out of turns, these would come when those that stall have had their time.
    let others = async {
        for _ in 0..3 {
            server.connect().await;
        }
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, others).await.unwrap();
    assert_serves(&server).await;
    drop(staller);
}
