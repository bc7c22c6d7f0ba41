//! How sessions open, come back and end, against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use super::tests::*;
use super::*;
use crate::id::MessageId;
use crate::limits::CLIENT_INCOMING_MAX;
use crate::reason::Reason;
use crate::wire::{self, ClientFrame};

tests! {
    async fn the_instance_is_the_same_over_connections() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let ((stream, open), session) = tokio::join!(server.opened(), client.open(ann()));
        let _session = session.unwrap();
        stream.connection.close(0u8.into(), b"");
        let (_stream, again) = server.opened().await;
        assert_eq!(open.instance, again.instance);
    }

    async fn a_server_that_dies_while_opening_is_tried_again() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let opening = tokio::spawn(async move { client.open(ann()).await });
        let (stream, first) = server.stream().await;
        drop(stream);
        server.kill_and_restart();
        let (_stream, open) = server.opened().await;
        assert!(first.device.is_some(), "the server may have opened it, so it is named");
        assert_eq!(open.device, first.device);
        let (session, _incoming) = opening.await.unwrap().unwrap();
        assert_eq!(session.device().as_str(), "given");
    }

    async fn a_refused_opening_says_why() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let opening = tokio::spawn(async move { client.open(ann()).await });
        let (mut stream, _) = server.stream().await;
        stream.say(error(Reason::WrongApp)).await;
        match opening.await.unwrap() {
            Err(OpenError::Refused(refusal)) => {
                assert_eq!(refusal.reason(), Some(Reason::WrongApp));
            }
            other => panic!("{other:?}"),
        }
    }

    async fn a_session_that_was_too_slow_is_opened_again() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        stream.say(error(Reason::TooSlow)).await;
        let _back = server.opened().await;
        resumed(&mut incoming).await;
    }

    async fn a_client_that_is_sent_away_comes_back_over_a_new_connection() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let sending = session.start_send(to_bob("one")).await.unwrap();
        let one = stream.next_send().await;
        let text = wire::Text::default();
        stream.say(wire::GoAway { reason: Reason::Restarting, wait_ms: 50, text }).await;
        stream.answer(&one, 1).await;
        assert_eq!(sending.await.unwrap().id, MessageId(1), "what it has is still finished");
        let (again, _) = server.opened().await;
        assert_ne!(again.connection.stable_id(), stream.connection.stable_id());
        assert_eq!(
            incoming.next().await,
            Some(Event::Paused(Pause::SentAway(Reason::Restarting)))
        );
        assert!(matches!(incoming.next().await, Some(Event::Resumed(_))));
    }

    async fn a_replaced_session_ends_and_settles_its_sends() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let sending = session.start_send(to_bob("lost?")).await.unwrap();
        stream.next_send().await;
        stream.say(error(Reason::Replaced)).await;
        assert_eq!(sending.await, Err(SendError::MaybeStored));
        match incoming.next().await {
            Some(Event::Ended(refusal)) => assert_eq!(refusal.reason(), Some(Reason::Replaced)),
            event => panic!("{event:?}"),
        }
        assert_eq!(incoming.next().await, None);
        assert_eq!(session.send(to_bob("more")).await, Err(SendError::Ended));
        assert_eq!(session.ping().await, Err(RequestError::Ended));
    }

    async fn close_logs_out_after_what_was_queued() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(1)).await;
        assert_eq!(message(&mut incoming).await, 1);
        session.ack(Cursor { epoch: 7, id: MessageId(1) });
        let sending = session.start_send(to_bob("last")).await.unwrap();
        let closing = tokio::spawn(async move { session.close().await });
        assert_eq!(stream.next_ack().await, 1);
        let last = stream.next_send().await;
        stream.answer(&last, 2).await;
        let ClientFrame::Close(close) = stream.next().await else { panic!("no Close") };
        stream.say(wire::Closed { request: close.request }).await;
        closing.await.unwrap().unwrap();
        sending.await.unwrap();
        assert_eq!(incoming.next().await, None);
        assert!(stream.try_next().await.is_none(), "the stream has ended");
    }

    async fn logging_out_gets_through_when_the_app_takes_no_messages() {
        let mut server = Server::start(0);
        let (mut stream, session, incoming) = server.session(ann()).await;
        stream.say_all((1..=4 * CLIENT_INCOMING_MAX as i64).map(deliver)).await;
        while incoming.waiting() < CLIENT_INCOMING_MAX {
            tokio::task::yield_now().await;
        }
        let closing = tokio::spawn(async move { session.close().await });
        let ClientFrame::Close(close) = stream.next().await else { panic!("no Close") };
        stream.say(wire::Closed { request: close.request }).await;
        assert_eq!(closing.await.unwrap(), Ok(()));
    }

    async fn the_end_of_a_session_flushes_and_does_not_log_out() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(1)).await;
        assert_eq!(message(&mut incoming).await, 1);
        session.ack(Cursor { epoch: 7, id: MessageId(1) });
        let sending = session.start_send(to_bob("last")).await.unwrap();
        let server = async {
            assert_eq!(stream.next_ack().await, 1);
            let last = stream.next_send().await;
            stream.answer(&last, 2).await;
        };
        tokio::join!(server, session.end());
        sending.await.unwrap();
        assert!(stream.try_next().await.is_none());
        assert_eq!(incoming.next().await, None);
    }

    async fn dropping_the_last_handle_ends_the_stream() {
        let mut server = Server::start(0);
        let (mut stream, session, incoming) = server.session(ann()).await;
        drop(session);
        stream.say(deliver(1)).await;
        drop(incoming);
        assert!(stream.try_next().await.is_none());
    }

    async fn a_session_that_the_back_end_ended_hears_its_words_and_is_not_opened_again() {
        let mut server = Server::start(0);
        for reason in [Reason::Kicked, Reason::Blocked] {
            let client = server.client().await;
            let ((mut stream, _), opened) = tokio::join!(server.opened(), client.open(ann()));
            let (session, mut incoming) = opened.unwrap();
            event!(incoming, Event::Opened(_) => ());
            let text = wire::Text::from("come to the office");
            stream.say(wire::Error { text: text.clone(), ..error(reason) }).await;
            let refusal = event!(incoming, Event::Ended(refusal) => refusal);
            assert_eq!((refusal.reason(), &refusal.text), (Some(reason), &text));
            assert!(refusal.to_string().ends_with(": come to the office"), "{refusal}");
            assert!(!refusal.is_retryable());
            assert_eq!(incoming.next().await, None);
            assert_eq!(session.send(to_bob("more")).await, Err(SendError::Ended));
            // The next stream is the one of another session.
            let cat = OpenOptions::new(peer("cat"));
            let ((_stream, open), opened) = tokio::join!(server.opened(), client.open(cat));
            opened.unwrap();
            assert_eq!(open.peer, peer("cat"));
        }
    }

    async fn a_kick_ends_a_session_that_does_not_read_any_more() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say_all((1..=4 * CLIENT_INCOMING_MAX as i64).map(deliver)).await;
        while incoming.waiting() < CLIENT_INCOMING_MAX {
            tokio::task::yield_now().await;
        }
        stream.stop(Reason::Kicked);
        // What there is to write finds out.
        session.send_transient(Outgoing::to(peer("bob"), vec![1; 5000])).unwrap();
        let refusal = loop {
            match incoming.next().await {
                Some(Event::Message(_)) => {}
                Some(Event::Ended(refusal)) => break refusal,
                event => panic!("{event:?}"),
            }
        };
        assert_eq!(refusal.reason(), Some(Reason::Kicked));
    }

    async fn a_blocked_peer_cannot_open_and_is_told_why() {
        let mut server = Server::start(0);
        let client = server.client().await;
        for reason in [Reason::Blocked, Reason::Reserved] {
            let (opened, ()) = tokio::join!(client.open(ann()), async {
                let (mut stream, _) = server.stream().await;
                let text = wire::Text::from("for a week");
                stream.say(wire::Error { text, ..error(reason) }).await;
            });
            let Err(OpenError::Refused(refusal)) = opened else { panic!("{opened:?}") };
            assert_eq!((refusal.reason(), refusal.text.as_str()), (Some(reason), "for a week"));
        }
    }

    async fn a_session_that_ends_because_the_server_restarts_comes_back() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        stream.say(error(Reason::Restarting)).await;
        let _back = server.opened().await;
        event!(incoming, Event::Paused(Pause::Ended(refusal)) => {
            assert_eq!(refusal.reason(), Some(Reason::Restarting));
        });
        event!(incoming, Event::Resumed(_) => ());
    }
}
