//! Sends against a scripted server: numbers, resends, refusals, bounds.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use bytes::{Bytes, BytesMut};

use super::tests::*;
use super::*;
use crate::id::{DeviceId, MessageId, PeerId};
use crate::limits::{
    CLIENT_ANSWER_TIMEOUT, CLIENT_INCOMING_MAX, CLIENT_SENDS_MAX, FRAME_BYTES_MAX,
};
use crate::reason::Reason;
use crate::wire::{self, ClientFrame, Decoder, Target, Text};

tests! {
    async fn an_unanswered_send_survives_the_death_of_the_server() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let first = session.start_send(to_bob("one")).await.unwrap();
        let second = session.start_send(to_bob("two")).await.unwrap();
        let (one, two) = (stream.next_send().await, stream.next_send().await);
        assert_eq!((one.number, two.number), (1, 2));
        stream.answer(&two, 20).await;
        assert_eq!(second.await.unwrap().id, MessageId(20));

        drop(stream);
        server.kill_and_restart();
        let third = session.start_send(to_bob("three")).await.unwrap();
        let (mut stream, open) = server.opened().await;
        assert_eq!(open.device, Some(DeviceId::new("given").unwrap()));
        let again = stream.next_send().await;
        assert_eq!((again.number, again.body.clone()), (1, Bytes::from("one")));
        let three = stream.next_send().await;
        assert_eq!((three.number, three.answered), (3, 1));
        stream.answer(&three, 30).await;
        stream.answer(&again, 10).await;
        assert_eq!(first.await.unwrap().id, MessageId(10));
        assert_eq!(third.await.unwrap().id, MessageId(30));
        resumed(&mut incoming).await;
        let counts = session.counts();
        // The third may have been written to the old server too.
        assert!((1..=2).contains(&counts.resends), "{counts:?}");
        assert_eq!((counts.resumes, counts.repeats), (1, 0));
    }

    async fn a_refused_send_says_why_and_others_go_on() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let refused = session.start_send(to_bob("one")).await.unwrap();
        let granted = session.start_send(to_bob("two")).await.unwrap();
        let (one, two) = (stream.next_send().await, stream.next_send().await);
        let full = wire::Error { request: one.request, ..error(Reason::StorageFull) };
        stream.say(full).await;
        stream.answer(&two, 2).await;
        assert!(matches!(refused.await, Err(SendError::Refused(_))));
        assert_eq!(granted.await.unwrap().id, MessageId(2));
    }

    async fn an_answer_gets_through_when_the_app_takes_no_messages() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let many = 4 * CLIENT_INCOMING_MAX as i64;
        let sending = session.start_send(to_bob("reply")).await.unwrap();
        let reply = stream.next_send().await;
        stream.say_all((1..=many).map(deliver)).await;
        stream.answer(&reply, many + 1).await;
        assert_eq!(sending.await.unwrap().id, MessageId(many + 1));
        for id in 1..=many {
            assert_eq!(message(&mut incoming).await, id);
        }
    }

    async fn the_sends_under_way_are_bounded_and_the_next_one_waits_its_turn() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let mut under_way = Vec::new();
        for _ in 0..CLIENT_SENDS_MAX {
            under_way.push(session.start_send(to_bob("x")).await.unwrap());
        }
        let mut next = tokio::spawn({
            let session = session.clone();
            async move { session.send(to_bob("y")).await }
        });
        let first = stream.next_send().await;
        for _ in 1..CLIENT_SENDS_MAX {
            assert_eq!(stream.next_send().await.body, "x");
        }
        tokio::select! {
            biased;
            sent = &mut next => panic!("{sent:?} before its turn"),
            // An answer shows that the client has nothing more to say.
            () = async {
                let (pinged, ping) = tokio::join!(session.ping(), stream.answer_ping());
                pinged.unwrap();
                ping
            } => {}
        }
        stream.answer(&first, 1).await;
        let send = stream.next_send().await;
        assert_eq!((send.body.as_ref(), send.answered), (&b"y"[..], 2));
        stream.answer(&send, 2).await;
        assert_eq!(next.await.unwrap().unwrap().id, MessageId(2));
    }

    async fn a_server_that_lost_the_connection_is_noticed_while_an_answer_is_due() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let sending = session.start_send(to_bob("one")).await.unwrap();
        stream.next_send().await;
        let asked = tokio::time::Instant::now();
        drop(stream);
        server.kill_and_restart();
        let (mut stream, _) = server.opened().await;
        assert!(asked.elapsed() < CLIENT_ANSWER_TIMEOUT / 2, "{:?}", asked.elapsed());
        let one = stream.next_send().await;
        stream.answer(&one, 1).await;
        sending.await.unwrap();
    }

    async fn what_cannot_be_sent_is_refused_here() {
        let mut server = Server::start(0);
        let (_stream, session, _incoming) = server.session(ann()).await;
        let nobody = session.send(Outgoing::to(vec![], "x")).await;
        assert_eq!(nobody, Err(SendError::NoRecipient));
        let many: Vec<PeerId> = (0..21).map(|number| peer(&format!("p{number}"))).collect();
        let many = session.send(Outgoing::to(many, "x")).await;
        assert_eq!(many, Err(SendError::TooManyRecipients { count: 21, count_max: 20 }));
        let long = session.send(Outgoing::to(peer("bob"), vec![0; 5121])).await;
        let too_long = TooLong { what: "body", bytes: 5121, bytes_max: 5120 };
        assert_eq!(long, Err(SendError::TooLong(too_long)));
        let number = session.send(to_bob("x").client_msg_no("n".repeat(65))).await;
        let too_long = TooLong { what: "client_msg_no", bytes: 65, bytes_max: 64 };
        assert_eq!(number, Err(SendError::TooLong(too_long)));
    }

    async fn transient_messages_ride_datagrams() {
        let mut server = Server::start(0);
        let (stream, session, mut incoming) = server.session(ann()).await;
        session.send_transient(to_bob("typing")).unwrap();
        let mut datagram = stream.connection.read_datagram().await.unwrap();
        assert_eq!(wire::datagram_stream(&mut datagram).unwrap(), 0);
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        decoder.push(datagram);
        let frame = ClientFrame::decode(decoder.next_frame().unwrap().unwrap()).unwrap();
        let ClientFrame::Send(send) = frame else { panic!("no Send") };
        assert!(send.transient && send.number == 0 && send.request != 0);
        assert_eq!(send.target, Target::Peers(vec![peer("bob")]));

        let mut back = BytesMut::new();
        wire::put_datagram_stream(&mut back, 0);
        deliver(0).encode(&mut back);
        stream.connection.send_datagram(back.freeze()).unwrap();
        assert_eq!(message(&mut incoming).await, 0);
    }

    async fn a_transient_message_too_long_for_a_datagram_takes_the_stream() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        session.send_transient(Outgoing::to(peer("bob"), vec![1; 5000])).unwrap();
        let send = stream.next_send().await;
        assert!(send.transient && send.body.len() == 5000);
    }

    async fn the_results_of_sends_are_events_if_the_app_wants_that() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann().send_events(true)).await;
        let stored = session.start_send(to_bob("one").client_msg_no("n1".to_owned())).await;
        let denied = session.start_send(to_bob("two").client_msg_no("n2".to_owned())).await;
        let one = stream.next_send().await;
        stream.answer(&one, 11).await;
        let two = stream.next_send().await;
        stream.say(refused(two.request, Reason::NotMember)).await;
        let sent = stored.unwrap().await.unwrap();
        let error = denied.unwrap().await.unwrap_err();
        assert!(!error.is_retryable());
        let client_msg_no = Text::from("n1");
        assert_eq!(incoming.next().await, Some(Event::Sent { client_msg_no, sent }));
        let client_msg_no = Text::from("n2");
        assert_eq!(incoming.next().await, Some(Event::Failed { client_msg_no, error }));
    }
}
