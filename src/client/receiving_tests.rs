//! What arrives, against a scripted server: once, acknowledged, in bounds.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use super::tests::*;
use super::*;
use crate::id::MessageId;
use crate::limits::{CLIENT_COALESCE_FROM, CLIENT_INCOMING_MAX};
use crate::wire::{self, ServerFrame};

tests! {
    async fn what_the_app_has_is_dropped_when_it_comes_again() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say_all([deliver(11), deliver(12), deliver(13)]).await;
        assert_eq!(message(&mut incoming).await, 11);
        assert_eq!(message(&mut incoming).await, 12);
        assert_eq!(stream.next_ack().await, 11, "12 was handed out, and not had yet");
        assert_eq!(session.cursor(), Cursor { epoch: 7, id: MessageId(11) });

        stream.connection.close(0u8.into(), b"");
        let (mut stream, open) = server.opened().await;
        assert_eq!((open.epoch, open.cursor), (7, MessageId(11)));
        stream.say_all([deliver(12), deliver(13), deliver(14)]).await;
        assert_eq!(message(&mut incoming).await, 13);
        resumed(&mut incoming).await;
        assert_eq!(message(&mut incoming).await, 14);
        assert!(stream.next_ack().await >= 12);
        assert_eq!(session.counts().repeats, 2);
    }

    async fn another_epoch_voids_the_cursor() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(50)).await;
        assert_eq!(message(&mut incoming).await, 50);
        stream.connection.close(0u8.into(), b"");
        let (mut stream, _) = server.stream().await;
        stream.say_all([opened(8, 1).into(), deliver(5)]).await;
        resumed(&mut incoming).await;
        assert_eq!(message(&mut incoming).await, 5);
        session.ack(Cursor { epoch: 7, id: MessageId(50) });
        assert_eq!(session.cursor(), Cursor { epoch: 8, id: MessageId::NONE });
        assert_eq!(session.counts().repeats, 0);
    }

    async fn an_acknowledgement_leaves_with_the_next_frame() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say(deliver(1)).await;
        assert_eq!(message(&mut incoming).await, 1);
        assert!(incoming.try_next().is_none());
        let _sending = session.start_send(to_bob("reply")).await.unwrap();
        assert_eq!(stream.next_ack().await, 1);
        assert_eq!(stream.next_send().await.body, "reply");
    }

    async fn nothing_is_acknowledged_by_itself_in_manual_mode() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) =
            server.session(ann().manual_ack(true)).await;
        stream.say_all([deliver(1), deliver(2), deliver(3)]).await;
        for id in 1..=3 {
            assert_eq!(message(&mut incoming).await, id);
        }
        session.ack(Cursor { epoch: 7, id: MessageId(2) });
        assert_eq!(stream.next_ack().await, 2);
    }

    async fn a_full_queue_stops_reading_until_the_app_takes_more() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        // More than the client's window and queue hold.
        let total = 20_000;
        let writing = tokio::spawn(async move {
            for first in (1..=total).step_by(1000) {
                stream.say_all((first..first + 1000).map(deliver)).await;
            }
            stream
        });
        for id in 1..=total {
            if id == 1 {
                while incoming.waiting() < CLIENT_INCOMING_MAX {
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(message(&mut incoming).await, id);
            assert!(incoming.waiting() <= CLIENT_INCOMING_MAX);
        }
        writing.await.unwrap();
    }

    async fn notices_are_acknowledged_and_dropped_when_they_come_again() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let join = |id| group_event(id, GroupChange::Joined, "bob", "bob");
        stream.say_all([deliver(2), recalled(3), join(4)]).await;
        assert_eq!(message(&mut incoming).await, 2);
        let recall = event!(incoming, Event::Recalled(recalled) => recalled);
        assert_eq!((recall.message, recall.by), (MessageId(2), Some(peer("bob"))));
        event!(incoming, Event::MembersJoined(_) => ());
        assert_eq!(stream.next_ack().await, 3);

        let (mut stream, open) = resume(&mut server, &stream, opened(7, 1)).await;
        assert_eq!(open.cursor, MessageId(3));
        stream.say_all([recalled(3), join(4), recalled(5)]).await;
        resumed(&mut incoming).await;
        let recall = event!(incoming, Event::Recalled(recalled) => recalled);
        assert_eq!(recall.cursor, Cursor { epoch: 7, id: MessageId(5) });
        assert_eq!(session.counts().repeats, 2);
        assert!(stream.next_ack().await >= 4);
    }

    async fn marks_are_told_and_never_acknowledged() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let (bob, at_ms) = (peer("bob"), 5);
        let mark = Mark { conversation: CHAT, peer: bob.clone(), sequence: 3, at_ms };
        let delivered =
            wire::Delivered { conversation: CHAT, peer: bob.clone(), sequence: 3, at_ms };
        let read = wire::Read { conversation: CHAT, peer: bob, sequence: 3, at_ms };
        stream.say_all([delivered.into(), read.into()]).await;
        assert_eq!(incoming.next().await, Some(Event::Delivered(mark.clone())));
        assert_eq!(incoming.next().await, Some(Event::Read(mark)));
        assert!(incoming.try_next().is_none());
        let (pinged, ()) = tokio::join!(session.ping(), stream.answer_ping());
        pinged.unwrap();
        assert_eq!(session.cursor().id, MessageId::NONE);
    }

    async fn marks_and_presence_take_little_room_when_the_app_takes_nothing() {
        let mut server = Server::start(0);
        let options = ann().watch(peers("bob cat"));
        let (mut stream, session, mut incoming) = server.session(options).await;
        stream.say_all((1..=CLIENT_COALESCE_FROM as i64).map(deliver)).await;
        for sequence in 1..=5000 {
            let read =
                wire::Read { conversation: CHAT, peer: peer("bob"), sequence, at_ms: 1 };
            let (mut online, mut offline) = (peers("bob"), peers("cat"));
            if sequence % 2 == 0 {
                std::mem::swap(&mut online, &mut offline);
            }
            let presence = wire::Presence { online, offline };
            stream.say_all([read.into(), presence.into()]).await;
        }
        let (pinged, ()) = tokio::join!(session.ping(), stream.answer_ping());
        pinged.unwrap();
        assert_eq!(incoming.waiting(), CLIENT_COALESCE_FROM + 3);
        for id in 1..=CLIENT_COALESCE_FROM as i64 {
            assert_eq!(message(&mut incoming).await, id);
        }
        event!(incoming, Event::Read(mark) => assert_eq!(mark.sequence, 5000));
        event!(incoming, Event::Online(online) => assert_eq!(online, peers("cat")));
        event!(incoming, Event::Offline(offline) => assert_eq!(offline, peers("bob")));
    }

    async fn what_a_peer_sends_elsewhere_is_marked_as_its_own() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        let ServerFrame::Deliver(frame) = deliver(3) else { panic!("no Deliver") };
        stream.say(wire::Deliver { own: true, from: peer("ann"), ..frame }).await;
        event!(incoming, Event::Message(message) => assert!(message.own));
    }
}
