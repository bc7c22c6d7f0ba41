//! Who is let in, and how many.

use quinn::ConnectionError;
use tokio::task::JoinSet;

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
