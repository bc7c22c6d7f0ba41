//! Watching peers, against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use super::tests::*;
use super::*;
use crate::limits::WATCHED_MAX;
use crate::wire;

tests! {
    async fn a_request_fails_when_the_connection_is_lost_and_a_watch_does_not() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let asking = async { tokio::join!(session.devices(), session.watch(peers("bob cat"))) };
        let answering = async {
            next!(stream, Devices);
            assert_eq!(next!(stream, Watch).peers, peers("bob cat"));
            resume(&mut server, &stream, opened_with("cat")).await
        };
        let ((devices, watched), (mut stream, open)) = tokio::join!(asking, answering);
        assert_eq!(devices, Err(RequestError::Paused));
        assert_eq!((open.watch, watched), (peers("bob cat"), Ok(peers("cat"))));
        assert_eq!(session.watching(), peers("bob cat"));
        assert_eq!(session.online(), peers("cat"));
        resumed(&mut incoming).await;
        event!(incoming, Event::Online(online) => assert_eq!(online, peers("cat")));
        let (pinged, ()) = tokio::join!(session.ping(), stream.answer_ping());
        pinged.unwrap();
    }

    async fn a_watch_while_paused_waits_for_the_resume() {
        let mut server = Server::start(0);
        let (stream, session, mut incoming) = server.session(ann().watch(peers("bob"))).await;
        stream.connection.close(0u8.into(), b"");
        event!(incoming, Event::Paused(_) => ());
        let watching = async {
            let watched = session.watch(peers("cat dan")).await;
            (watched, session.online())
        };
        let answering = async {
            while session.watching().len() < 3 {
                tokio::task::yield_now().await;
            }
            session.unwatch(peers("dan")).await.unwrap();
            let (mut stream, open) = server.stream().await;
            stream.say(opened_with("cat dan")).await;
            // An Open under way has the list of its time; what changed is told behind it.
            let before = open.watch.contains(&peer("dan"));
            if before {
                assert_eq!(next!(stream, Unwatch).peers, peers("dan"));
            }
            if !open.watch.contains(&peer("cat")) {
                let watch = next!(stream, Watch);
                stream.say(wire::Watched { request: watch.request, online: peers("cat") }).await;
            }
            stream
        };
        let ((watched, online), _stream) = tokio::join!(watching, answering);
        assert_eq!((watched, online), (Ok(peers("cat")), peers("cat")));
        assert_eq!(session.watching(), peers("bob cat"));
    }

    async fn what_changed_while_paused_is_told_once_and_the_rest_not_at_all() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let watch = peers("bob cat dan eve");
        let opening = client.open(ann().watch(watch.clone()));
        let ((mut stream, open), opening) = tokio::join!(async {
            let (mut stream, open) = server.stream().await;
            stream.say(opened_with("bob cat")).await;
            (stream, open)
        }, opening);
        let (session, mut incoming) = opening.unwrap();
        assert_eq!(open.watch, watch);
        event!(incoming, Event::Opened(opening) => assert_eq!(opening.online, peers("bob cat")));
        assert_eq!(session.online(), peers("bob cat"));
        stream.say(wire::Presence { online: peers("dan"), offline: peers("bob") }).await;
        event!(incoming, Event::Online(online) => assert_eq!(online, peers("dan")));
        event!(incoming, Event::Offline(offline) => assert_eq!(offline, peers("bob")));

        let (mut stream, open) = resume(&mut server, &stream, opened_with("bob dan")).await;
        assert_eq!(open.watch, watch);
        resumed(&mut incoming).await;
        event!(incoming, Event::Online(online) => assert_eq!(online, peers("bob")));
        event!(incoming, Event::Offline(offline) => assert_eq!(offline, peers("cat")));
        assert!(session.is_online(&peer("bob")) && !session.is_online(&peer("cat")));
        // The server may tell again what is known already.
        stream.say(wire::Presence { online: peers("bob"), offline: peers("cat") }).await;
        stream.say(wire::Presence { online: peers("eve"), offline: vec![] }).await;
        event!(incoming, Event::Online(online) => assert_eq!(online, peers("eve")));
    }

    async fn watching_one_peer_too_many_is_refused_here() {
        let mut server = Server::start(0);
        let many: Vec<_> = (0..WATCHED_MAX).map(|n| peer(&format!("p{n}"))).collect();
        let (mut stream, session, _incoming) = server.session(ann().watch(many.clone())).await;
        let refused = session.watch(peers("bob")).await;
        assert!(matches!(refused, Err(RequestError::TooMany { count: 1001, .. })), "{refused:?}");
        let (unwatched, ()) = tokio::join!(session.unwatch(&many[..1]), async {
            let frame = next!(stream, Unwatch);
            assert_eq!(frame.peers, &many[..1]);
            stream.say(wire::Unwatched { request: frame.request }).await;
        });
        unwatched.unwrap();
        let (watched, ()) = tokio::join!(session.watch(peers("bob")), async {
            let request = next!(stream, Watch).request;
            stream.say(wire::Watched { request, online: peers("bob") }).await;
        });
        assert_eq!(watched, Ok(peers("bob")));
        assert!(session.is_online(&peer("bob")));
        assert_eq!(session.watching().len(), WATCHED_MAX);
    }

    async fn status_asks_without_watching() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let (online, ()) = tokio::join!(session.status(peers("bob cat")), async {
            let frame = next!(stream, Status);
            stream.say(wire::Statuses { request: frame.request, online: peers("cat") }).await;
        });
        assert_eq!(online, Ok(peers("cat")));
        assert!(session.watching().is_empty());
    }
}
