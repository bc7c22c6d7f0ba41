//! Aliases and messages to the app's back end, against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use bytes::Bytes;

use super::tests::*;
use super::*;
use crate::id::{Alias, MessageId};
use crate::limits::CLIENT_SENDS_MAX;
use crate::reason::Reason;
use crate::wire;

fn stored(request: u64, id: i64) -> wire::UpstreamStored {
    wire::UpstreamStored { request, id: MessageId(id), at_ms: 5 }
}

fn done(id: i64, upstream: i64, accepted: bool) -> wire::UpstreamDone {
    let (id, upstream) = (MessageId(id), MessageId(upstream));
    wire::UpstreamDone { waited: true, id, upstream, accepted, at_ms: 6 }
}

tests! {
    async fn an_alias_is_bound_and_taken_away_here_and_everywhere() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let alias: Alias = "customer: 4711".parse().unwrap();
        let asking = async {
            session.bind_alias(&alias).await.unwrap();
            session.unbind_alias(&alias).await.unwrap();
            session.unbind_alias_everywhere(&alias).await.unwrap();
        };
        let answering = async {
            let bind = next!(stream, BindAlias);
            assert_eq!(bind.alias, alias);
            stream.say(wire::AliasBound { request: bind.request }).await;
            for all in [false, true] {
                let unbind = next!(stream, UnbindAlias);
                assert_eq!((&unbind.alias, unbind.all), (&alias, all));
                stream.say(wire::AliasUnbound { request: unbind.request }).await;
            }
        };
        tokio::join!(asking, answering);
    }

    async fn an_alias_that_is_refused_or_not_answered_is_an_error() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let alias: Alias = "a".parse().unwrap();
        let (bound, ()) = tokio::join!(session.bind_alias(&alias), async {
            let request = next!(stream, BindAlias).request;
            stream.say(refused(request, Reason::AliasFull)).await;
        });
        let Err(RequestError::Refused(refusal)) = bound else { panic!("{bound:?}") };
        assert_eq!(refusal.reason(), Some(Reason::AliasFull));
        let (unbound, ()) = tokio::join!(session.unbind_alias(&alias), async {
            let request = next!(stream, UnbindAlias).request;
            stream.say(wire::AliasBound { request }).await;
        });
        assert_eq!(unbound, Err(RequestError::Unexpected));
        let (bound, _stream) = tokio::join!(session.bind_alias(&alias), async {
            next!(stream, BindAlias);
            resume(&mut server, &stream, opened(7, 1)).await
        });
        assert_eq!(bound, Err(RequestError::Paused));
        resumed(&mut incoming).await;
    }

    async fn a_message_to_the_back_end_shares_the_numbers_of_sends_and_survives_the_server() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let first = session.start_send(to_bob("one")).await.unwrap();
        let upstream = tokio::spawn({
            let session = session.clone();
            async move { session.send_upstream("order").await }
        });
        assert_eq!(stream.next_send().await.number, 1);
        let order = next!(stream, Upstream);
        assert_eq!((order.number, order.answered), (2, 1));
        let third = session.start_send(to_bob("three")).await.unwrap();
        let three = stream.next_send().await;
        assert_eq!(three.number, 3);
        stream.answer(&three, 30).await;
        assert_eq!(third.await.unwrap().id, MessageId(30));

        drop(stream);
        server.kill_and_restart();
        let (mut stream, _) = server.opened().await;
        let one = stream.next_send().await;
        let again = next!(stream, Upstream);
        let order_request = order.request;
        assert_eq!((one.number, again), (1, order));
        stream.say(stored(order_request, 20)).await;
        let at_ms = 5;
        assert_eq!(upstream.await.unwrap(), Ok(UpstreamSent { id: MessageId(20), at_ms }));
        stream.answer(&one, 10).await;
        assert_eq!(first.await.unwrap().id, MessageId(10));
        resumed(&mut incoming).await;
        assert_eq!(session.counts().resends, 2);
    }

    async fn an_answer_that_comes_before_the_session_is_open_again_counts() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let (sent, _stream) = tokio::join!(session.send_upstream("order"), async {
            let order = next!(stream, Upstream);
            stream.connection.close(0u8.into(), b"");
            let (mut stream, _) = server.stream().await;
            stream.say_all([stored(order.request, 20).into(), opened(7, 2).into()]).await;
            stream
        });
        assert_eq!(sent.unwrap().id, MessageId(20));
        resumed(&mut incoming).await;
        assert_eq!(session.counts().resends, 0);
    }

    async fn a_message_to_the_back_end_that_is_refused_or_too_long_is_an_error() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann().send_events(true)).await;
        let (sent, ()) = tokio::join!(session.send_upstream("order"), async {
            let request = next!(stream, Upstream).request;
            stream.say(refused(request, Reason::TooManyUpstream)).await;
        });
        let Err(SendError::Refused(refusal)) = sent else { panic!("{sent:?}") };
        assert!(refusal.is_retryable());
        let too_long = TooLong { what: "body", bytes: 5121, bytes_max: 5120 };
        let sent = session.send_upstream(vec![0; 5121]).await;
        assert_eq!(sent, Err(SendError::TooLong(too_long)));
        let (pinged, ()) = tokio::join!(session.ping(), stream.answer_ping());
        pinged.unwrap();
        assert!(incoming.try_next().is_none(), "its future alone says how it went");
        stream.say(error(Reason::Kicked)).await;
        event!(incoming, Event::Ended(_) => ());
        assert_eq!(session.send_upstream("late").await, Err(SendError::Ended));
    }

    async fn messages_to_the_back_end_wait_for_their_turn_among_the_sends() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let mut under_way = Vec::new();
        for _ in 0..CLIENT_SENDS_MAX {
            under_way.push(session.start_send(to_bob("x")).await.unwrap());
        }
        let mut upstream = std::pin::pin!(session.send_upstream("y"));
        let first = stream.next_send().await;
        for _ in 1..CLIENT_SENDS_MAX {
            stream.next_send().await;
        }
        tokio::select! {
            biased;
            sent = &mut upstream => panic!("{sent:?} before its turn"),
            // An answer shows that the client has nothing more to say.
            (pinged, ()) = async { tokio::join!(session.ping(), stream.answer_ping()) } => {
                pinged.unwrap();
            }
        }
        let answering = async {
            stream.answer(&first, 1).await;
            let message = next!(stream, Upstream);
            assert_eq!((message.body, message.answered), (Bytes::from("y"), 2));
            stream.say(stored(message.request, 200)).await;
        };
        let (sent, ()) = tokio::join!(upstream, answering);
        assert_eq!(sent.unwrap().id, MessageId(200));
        // Its place is free again.
        let (sent, ()) = tokio::join!(session.send_upstream("z"), async {
            let message = next!(stream, Upstream);
            stream.say(stored(message.request, 201)).await;
        });
        assert_eq!(sent.unwrap().id, MessageId(201));
    }

    async fn what_became_of_a_message_to_the_back_end_is_told_once_and_acknowledged() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say_all([done(21, 20, true).into(), done(31, 30, false).into()]).await;
        let first = event!(incoming, Event::UpstreamDone(done) => done);
        let cursor = Cursor { epoch: 7, id: MessageId(21) };
        let upstream = MessageId(20);
        let expected = UpstreamDone { upstream, accepted: true, at_ms: 6, waited: true, cursor };
        assert_eq!(first, expected);
        assert_eq!(Event::UpstreamDone(first).cursor(), Some(cursor));
        event!(incoming, Event::UpstreamDone(done) => {
            assert_eq!((done.upstream, done.accepted), (MessageId(30), false));
        });
        assert_eq!(stream.next_ack().await, 21);

        let (mut stream, open) = resume(&mut server, &stream, opened(7, 1)).await;
        assert_eq!(open.cursor, MessageId(21));
        stream.say_all([done(31, 30, false).into(), deliver(40)]).await;
        resumed(&mut incoming).await;
        assert_eq!(message(&mut incoming).await, 40);
        assert_eq!(session.counts().repeats, 1);
    }
}
