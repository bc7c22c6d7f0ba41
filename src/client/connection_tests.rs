//! Connections to a scripted server: whom they trust, what they share.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use super::tests::*;
use super::*;

tests! {
    async fn a_connection_survives_a_fresh_socket() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let ((mut stream, _), opened) = tokio::join!(server.opened(), client.open(ann()));
        let (session, _incoming) = opened.unwrap();
        let before = client.local_addr().unwrap();
        client.rebind().unwrap();
        assert_ne!(before, client.local_addr().unwrap());
        let sending = session.start_send(to_bob("from elsewhere")).await.unwrap();
        let send = stream.next_send().await;
        stream.answer(&send, 1).await;
        sending.await.unwrap();
        assert_eq!(session.counts().resumes, 0);
    }

    async fn several_peers_share_a_connection() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let mut sessions = Vec::new();
        for number in 0..16 {
            let options = OpenOptions::new(peer(&format!("peer{number}")));
            let ((stream, open), opened) = tokio::join!(server.opened(), client.open(options));
            assert_eq!(open.peer, peer(&format!("peer{number}")));
            sessions.push((stream, opened.unwrap()));
        }
        let connection = sessions[0].0.connection.stable_id();
        assert!(sessions.iter().all(|(stream, _)| stream.connection.stable_id() == connection));
        assert!(matches!(client.open(ann()).await, Err(OpenError::TooManySessions)));
        sessions.pop();
        let ((_stream, _), opened) = tokio::join!(server.opened(), async {
            loop {
                match client.open(ann()).await {
                    Err(OpenError::TooManySessions) => tokio::task::yield_now().await,
                    opened => return opened,
                }
            }
        });
        opened.unwrap();
    }

    async fn connections_share_a_socket_and_end_apart() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let beside = client.connect_beside().await.unwrap();
        assert_eq!(client.local_addr().unwrap(), beside.local_addr().unwrap());
        let ((one, _), opened) = tokio::join!(server.opened(), client.open(ann()));
        let (_session, mut incoming) = opened.unwrap();
        let ((two, _), opened) = tokio::join!(server.opened(), beside.open(ann()));
        let (session, _incoming) = opened.unwrap();
        assert_ne!(one.connection.stable_id(), two.connection.stable_id());
        client.close().await;
        assert!(matches!(incoming.next().await, Some(Event::Opened(_))));
        assert_eq!(incoming.next().await, None);
        let mut two = two;
        let (ping, ()) = tokio::join!(session.ping(), two.answer_ping());
        ping.unwrap();
    }

    async fn another_certificate_is_not_trusted() {
        let server = Server::start(0);
        let trust = Trust::Fingerprint(Fingerprint::of(b"another"));
        let options = ConnectOptions::new(server.address.to_string()).trust(trust);
        let error = Client::connect(options).await.unwrap_err();
        assert!(matches!(error, ConnectError::Untrusted(_)), "{error:?}");
        assert!(!error.is_retryable());
    }

    async fn a_certificate_is_trusted_by_its_issuer_only_for_its_name() {
        let server = Server::start(0);
        for (name, trusted) in [("localhost", true), ("elsewhere", false)] {
            let options = ConnectOptions::new(server.address.to_string())
                .server_name(name)
                .trust(Trust::CertificateAuthority(CERTIFICATE.into()));
            assert_eq!(Client::connect(options).await.is_ok(), trusted, "{name}");
        }
    }

    async fn a_ping_is_answered_and_fails_while_paused() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let (ping, ()) = tokio::join!(session.ping(), stream.answer_ping());
        ping.unwrap();
        stream.connection.close(0u8.into(), b"");
        assert!(matches!(incoming.next().await, Some(Event::Paused(_))));
        assert_eq!(session.ping().await, Err(RequestError::Paused));
        assert_eq!(session.send_transient(to_bob("typing")), Err(SendError::Paused));
        let _back = server.opened().await;
        assert!(matches!(incoming.next().await, Some(Event::Resumed(_))));
    }
}
