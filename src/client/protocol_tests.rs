//! Presence, groups, receipts, history and signatures against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::tests::*;
use super::*;
use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::limits::{CLIENT_COALESCE_FROM, CLIENT_SIGNATURES_REFUSED_MAX, WATCHED_MAX};
use crate::reason::Reason;
use crate::wire::{self, ClientFrame, ServerFrame, Text};

const GROUP: GroupId = GroupId([7; 12]);
const CHAT: ConversationId = ConversationId::Peers([3; 16]);

fn peers(ids: &str) -> Vec<PeerId> {
    ids.split_whitespace().map(peer).collect()
}

/// The next frame, which must be of this kind.
macro_rules! next {
    ($stream:expr, $kind:ident) => {
        match $stream.next().await {
            ClientFrame::$kind(frame) => frame,
            frame => panic!("{frame:?} is no {}", stringify!($kind)),
        }
    };
}

/// The next event, which must match.
macro_rules! event {
    ($incoming:expr, $pattern:pat => $value:expr) => {
        match $incoming.next().await {
            Some($pattern) => $value,
            event => panic!("{event:?} is no {}", stringify!($pattern)),
        }
    };
}

fn refused(request: u64, reason: Reason) -> wire::Error {
    wire::Error { request, ..error(reason) }
}

fn opened_with(online: &str) -> wire::Opened {
    wire::Opened { online: peers(online), ..opened(7, 1) }
}

fn joined(request: u64, open: bool) -> wire::Joined {
    let (version, rules) = (MessageId(9), Rules::default());
    wire::Joined { request, group: GROUP, open, version, count: 2, rules, metadata: Bytes::new() }
}

fn group_event(id: i64, change: GroupChange, by: &str, ids: &str) -> ServerFrame {
    let (by, peers) = (Some(peer(by)), peers(ids));
    let (waited, id) = (false, MessageId(id));
    wire::GroupEvent { waited, id, group: GROUP, change, by, peers, at_ms: 1 }.into()
}

fn recalled(id: i64) -> ServerFrame {
    let (message, by) = (MessageId(2), Some(peer("bob")));
    let (waited, id) = (false, MessageId(id));
    wire::Recalled { waited, id, conversation: CHAT, message, sequence: 2, by, at_ms: 1 }.into()
}

async fn resume(server: &mut Server, stream: &Stream, frame: wire::Opened) -> (Stream, wire::Open) {
    stream.connection.close(0u8.into(), b"");
    let (mut stream, open) = server.stream().await;
    stream.say(frame).await;
    (stream, open)
}

/// What a scripted signer does: the ids it allows, or that it fails.
type Decision = Result<Vec<PeerId>, SignError>;

/// Signs as told, and remembers what it was asked.
#[derive(Clone, Default)]
struct Scripted {
    asked: Arc<Mutex<Vec<SignRequest>>>,
    /// What it does next. Then it allows all.
    script: Arc<Mutex<VecDeque<Decision>>>,
}

impl Scripted {
    fn then(self, result: Result<&str, &str>) -> Self {
        self.script.lock().push_back(result.map(peers).map_err(SignError::new));
        self
    }

    fn last(&self) -> SignRequest {
        self.asked.lock().last().cloned().unwrap()
    }
}

impl Signer for Scripted {
    fn sign(&self, request: SignRequest) -> BoxFuture<'_, Result<Signed, SignError>> {
        let mut asked = self.asked.lock();
        asked.push(request.clone());
        let allowed = self.script.lock().pop_front().unwrap_or(Ok(request.ids));
        let nonce = asked.len().to_string();
        let signed = |ids| Signed { ids, nonce, timestamp: 1, signature: "abc".into() };
        Box::pin(std::future::ready(allowed.map(signed)))
    }
}

fn nonce(signature: &Option<wire::Signature>) -> &str {
    signature.as_ref().unwrap().nonce.as_str()
}

tests! {
    async fn answers_find_their_requests_in_any_order() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let asking = async {
            tokio::join!(
                session.history(CHAT, None, 10),
                session.conversations(Some(MessageId(5)), 3),
                session.devices(),
                session.recall(MessageId(4)),
                session.read_up_to(CHAT, 8),
            )
        };
        let answering = async {
            let history = next!(stream, History);
            assert_eq!((history.before, history.max), (MessageId::NONE, 10));
            let conversations = next!(stream, Conversations);
            assert_eq!((conversations.before, conversations.max), (MessageId(5), 3));
            let (devices, recall) = (next!(stream, Devices), next!(stream, Recall));
            let read = next!(stream, ReadUpTo);
            assert_eq!((recall.message, read.sequence), (MessageId(4), 8));
            let request = conversations.request;
            stream.say_all([
                wire::ReadNoted { request: read.request }.into(),
                refused(recall.request, Reason::TooLate).into(),
                wire::DeviceList { request: devices.request, devices: vec![] }.into(),
                wire::ConversationPage { request, more: true, conversations: vec![] }.into(),
                wire::HistoryPage { request: history.request, more: false, messages: vec![] }
                    .into(),
            ]).await;
        };
        let ((history, conversations, devices, recall, read), ()) = tokio::join!(asking, answering);
        assert_eq!(history.unwrap(), HistoryPage { messages: vec![], more: false });
        assert!(conversations.unwrap().more && devices.unwrap().is_empty());
        let Err(RequestError::Refused(refusal)) = recall else { panic!("{recall:?}") };
        assert_eq!(refusal.reason(), Some(Reason::TooLate));
        read.unwrap();
    }

    async fn an_answer_to_something_else_is_an_error() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let (answer, ()) = tokio::join!(session.devices(), async {
            let request = next!(stream, Devices).request;
            stream.say(wire::Pong { request, at_ms: 1 }).await;
        });
        assert_eq!(answer, Err(RequestError::Unexpected));
    }

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

    async fn the_list_that_the_signer_leaves_is_the_one_that_is_sent() {
        let mut server = Server::start(0);
        let signer = Scripted::default().then(Ok("cat")).then(Ok("dan")).then(Ok("dan"));
        let options = ann().watch(peers("bob cat")).signer(signer.clone());
        let client = server.client().await;
        let ((mut stream, open), opened) = tokio::join!(server.opened(), client.open(options));
        let (session, _incoming) = opened.unwrap();
        assert_eq!((open.watch.clone(), nonce(&open.signature)), (peers("cat"), "1"));
        assert_eq!(signer.last().action, SignAction::Open);
        assert_eq!(session.watching(), peers("cat"));

        let (watched, ()) = tokio::join!(session.watch(peers("dan eve")), async {
            let watch = next!(stream, Watch);
            assert_eq!((watch.peers, nonce(&watch.signature)), (peers("dan"), "2"));
            stream.say(wire::Watched { request: watch.request, online: peers("dan") }).await;
        });
        assert_eq!(watched, Ok(peers("dan")));
        assert_eq!(session.watching(), peers("cat dan"));

        // A fresh signature when the session resumes, and cat is not allowed any more.
        let (_stream, open) = resume(&mut server, &stream, opened_with("dan")).await;
        assert_eq!((open.watch.clone(), nonce(&open.signature)), (peers("dan"), "3"));
        assert_eq!(signer.last().ids, peers("cat dan"));
        while session.counts().resumes == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(session.watching(), peers("dan"));
    }

    async fn joins_invitations_and_kicks_are_signed_and_leaving_is_not() {
        let mut server = Server::start(0);
        let signer = Scripted::default();
        let (mut stream, session, _incoming) = server.session(ann().signer(signer.clone())).await;
        let new = NewGroup { metadata: "{}".into(), ..NewGroup::default() };
        let (group, ()) = tokio::join!(session.create_group(new), async {
            let join = next!(stream, Join);
            assert_eq!((join.group, nonce(&join.signature)), (wire::Join::NEW, "2"));
            stream.say(joined(join.request, false)).await;
        });
        let group = group.unwrap();
        assert_eq!((group.id, group.open, group.count), (GROUP, false, 2));
        assert_eq!(signer.last().action, SignAction::Join { group: None });

        signer.script.lock().push_back(Ok(peers("bob")));
        let (invited, ()) = tokio::join!(session.invite(GROUP, peers("bob cat")), async {
            let invite = next!(stream, Invite);
            assert_eq!((invite.peers, nonce(&invite.signature)), (peers("bob"), "3"));
            stream.say(wire::Invited { request: invite.request, version: MessageId(5) }).await;
        });
        assert_eq!(invited, Ok(MessageId(5)));
        let (kicked, ()) = tokio::join!(session.kick(GROUP, peers("bob")), async {
            let kick = next!(stream, Kick);
            assert_eq!(nonce(&kick.signature), "4");
            stream.say(wire::Kicked { request: kick.request, version: MessageId(6) }).await;
        });
        assert_eq!(kicked, Ok(MessageId(6)));
        let (left, ()) = tokio::join!(session.leave(GROUP), async {
            let request = next!(stream, Leave).request;
            stream.say(wire::Left { request }).await;
        });
        left.unwrap();
        assert_eq!(signer.asked.lock().len(), 4);

        signer.script.lock().extend([Ok(vec![]), Err(SignError::new("no"))]);
        let nobody = session.invite(GROUP, peers("bob")).await;
        assert_eq!(nobody, Err(RequestError::Unsigned(SignError::Nobody)));
        let failed = session.join(GROUP).await;
        assert_eq!(failed, Err(RequestError::Unsigned(SignError::Failed("no".into()))));
    }

    async fn a_signer_that_fails_fails_the_first_opening_and_not_a_resumption() {
        let mut server = Server::start(0);
        let client = server.client().await;
        let signer = Scripted::default().then(Err("no"));
        let error = client.open(ann().signer(signer.clone())).await.unwrap_err();
        assert!(matches!(error, OpenError::Unsigned(SignError::Failed(_))), "{error:?}");

        let (stream, _session, mut incoming) = server.session(ann().signer(signer.clone())).await;
        signer.script.lock().extend([Err(SignError::new("busy")), Err(SignError::new("busy"))]);
        let (_stream, open) = resume(&mut server, &stream, opened(7, 1)).await;
        assert_eq!(nonce(&open.signature), "5");
        resumed(&mut incoming).await;
    }

    async fn a_refused_signature_is_tried_again_when_resuming_and_not_for_ever() {
        let mut server = Server::start(0);
        let signer = Scripted::default();
        let (stream, _session, mut incoming) = server.session(ann().signer(signer)).await;
        stream.connection.close(0u8.into(), b"");
        let mut nonces = Vec::new();
        for reason in [Reason::NonceUsed, Reason::StaleSignature, Reason::BadSignature] {
            let (mut stream, open) = server.stream().await;
            nonces.push(nonce(&open.signature).to_owned());
            stream.say(error(reason)).await;
        }
        let (stream, _) = server.opened().await;
        assert_eq!(nonces, ["2", "3", "4"]);
        resumed(&mut incoming).await;

        stream.connection.close(0u8.into(), b"");
        for _ in 0..=CLIENT_SIGNATURES_REFUSED_MAX {
            let (mut stream, _) = server.stream().await;
            stream.say(error(Reason::BadSignature)).await;
        }
        event!(incoming, Event::Paused(_) => ());
        event!(incoming, Event::Ended(refusal) => {
            assert_eq!(refusal.reason(), Some(Reason::BadSignature));
        });
        assert_eq!(incoming.next().await, None);
    }

    async fn without_a_signer_a_refused_signature_ends_the_session() {
        let mut server = Server::start(0);
        let (stream, _session, mut incoming) = server.session(ann()).await;
        stream.connection.close(0u8.into(), b"");
        let (mut stream, _) = server.stream().await;
        stream.say(error(Reason::SignatureMissing)).await;
        event!(incoming, Event::Paused(_) => ());
        event!(incoming, Event::Ended(_) => ());
    }

    async fn what_happens_in_groups_is_told_as_seen_from_the_peer() {
        use GroupChange::{Edited, Invited, Joined, Kicked, Left};
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        stream.say_all([
            group_event(1, Invited, "bob", "ann cat"),
            group_event(2, Joined, "dan", "dan"),
            group_event(3, Edited, "bob", ""),
            group_event(4, Kicked, "bob", "dan cat"),
            group_event(5, Kicked, "bob", "ann"),
            group_event(6, Joined, "ann", "ann"),
            group_event(7, Left, "ann", "ann"),
        ]).await;
        let invited = event!(incoming, Event::Invited(notice) => notice);
        assert_eq!((invited.group, invited.by), (GROUP, Some(peer("bob"))));
        event!(incoming, Event::MembersJoined(n) => assert_eq!(n.peers, peers("dan")));
        event!(incoming, Event::GroupEdited(n) => assert_eq!(n.by, Some(peer("bob"))));
        event!(incoming, Event::MembersLeft(n) => assert_eq!(n.peers, peers("dan cat")));
        let kicked = event!(incoming, Event::Left(notice) => notice);
        assert_eq!((kicked.change, kicked.by), (Kicked, Some(peer("bob"))));
        event!(incoming, Event::Joined(_) => ());
        let left = event!(incoming, Event::Left(notice) => notice);
        assert_eq!((left.change, left.by), (Left, Some(peer("ann"))));
        assert_eq!(session.cursor().id, MessageId(6), "the last one was not had yet");
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

    async fn a_session_goes_back_into_its_open_group() {
        let mut server = Server::start(0);
        let signer = Scripted::default();
        let (mut stream, session, mut incoming) = server.session(ann().signer(signer)).await;
        let (group, ()) = tokio::join!(session.join(GROUP), async {
            let request = next!(stream, Join).request;
            stream.say(joined(request, true)).await;
        });
        assert!(group.unwrap().open);

        let (mut stream, open) = resume(&mut server, &stream, opened(7, 1)).await;
        assert_eq!(nonce(&open.signature), "3");
        let join = next!(stream, Join);
        assert_eq!((join.group, nonce(&join.signature)), (GROUP, "4"));
        stream.say(joined(join.request, true)).await;
        resumed(&mut incoming).await;

        let (mut stream, _) = resume(&mut server, &stream, opened(7, 1)).await;
        let join = next!(stream, Join);
        stream.say(refused(join.request, Reason::NoSuchGroup)).await;
        resumed(&mut incoming).await;
        let left = event!(incoming, Event::Left(notice) => notice);
        assert_eq!((left.group, left.cursor), (GROUP, Cursor::default()));

        let (mut stream, _) = resume(&mut server, &stream, opened(7, 1)).await;
        resumed(&mut incoming).await;
        let (pinged, ()) = tokio::join!(session.ping(), stream.answer_ping());
        pinged.unwrap();
    }

    async fn a_session_that_left_its_open_group_while_paused_stays_out() {
        let mut server = Server::start(0);
        let (mut stream, session, mut incoming) = server.session(ann()).await;
        let (group, ()) = tokio::join!(session.join(GROUP), async {
            let request = next!(stream, Join).request;
            stream.say(joined(request, true)).await;
        });
        group.unwrap();
        stream.connection.close(0u8.into(), b"");
        event!(incoming, Event::Paused(_) => ());
        assert_eq!(session.leave(GROUP).await, Ok(()));
        let (mut stream, _) = server.opened().await;
        event!(incoming, Event::Resumed(_) => ());
        let (pinged, ()) = tokio::join!(session.ping(), stream.answer_ping());
        pinged.unwrap();
    }

    async fn what_a_peer_sends_elsewhere_is_marked_as_its_own() {
        let mut server = Server::start(0);
        let (mut stream, _session, mut incoming) = server.session(ann()).await;
        let ServerFrame::Deliver(frame) = deliver(3) else { panic!("no Deliver") };
        stream.say(wire::Deliver { own: true, from: peer("ann"), ..frame }).await;
        event!(incoming, Event::Message(message) => assert!(message.own));
    }

    async fn requests_may_be_made_from_any_task() {
        fn check<T: Send + 'static>(_: impl FnOnce(Session) -> T) {}
        check(|s| async move { s.watch(peers("bob")).await });
        check(|s| async move { s.unwatch(peers("bob")).await });
        check(|s| async move { s.status(peers("bob")).await });
        check(|s| async move { s.join(GROUP).await });
        check(|s| async move { s.leave(GROUP).await });
        check(|s| async move { s.invite(GROUP, peers("bob")).await });
        check(|s| async move { s.kick(GROUP, peers("bob")).await });
        check(|s| async move { s.create_group(NewGroup::default()).await });
        check(|s| async move { s.edit_group(GROUP, GroupEdit::default()).await });
        check(|s| async move { s.members(GROUP, None, 1).await });
        check(|s| async move { s.history(CHAT, None, 1).await });
        check(|s| async move { s.send(to_bob("x")).await });
    }

    async fn a_group_is_read_page_by_page_and_edited() {
        let mut server = Server::start(0);
        let (mut stream, session, _incoming) = server.session(ann()).await;
        let (page, ()) = tokio::join!(session.members(GROUP, Some(peer("bob")), 2), async {
            let frame = next!(stream, Members);
            assert_eq!((frame.after, frame.max), (Some(peer("bob")), 2));
            let wire::Joined { version, rules, metadata, .. } = joined(1, false);
            let (members, request) = (peers("cat dan"), frame.request);
            let creator = Some(peer("ann"));
            stream.say(wire::MemberPage {
                request, open: false, version, creator, count: 9, rules, metadata, members,
                more: true,
            }).await;
        });
        let page = page.unwrap();
        assert_eq!((page.group.id, page.group.count), (GROUP, 9));
        assert_eq!((page.members, page.more), (peers("cat dan"), true));
        let edit = GroupEdit { metadata: Some("{}".into()), rules: None };
        let (edited, ()) = tokio::join!(session.edit_group(GROUP, edit), async {
            let frame = next!(stream, Edit);
            assert_eq!((frame.rules, frame.metadata), (None, Some("{}".into())));
            stream.say(wire::Edited { request: frame.request, version: MessageId(8) }).await;
        });
        assert_eq!(edited, Ok(MessageId(8)));
        let long = GroupEdit { metadata: Some(vec![b' '; 8193].into()), rules: None };
        let refused = session.edit_group(GROUP, long).await;
        assert!(matches!(refused, Err(RequestError::TooLong { bytes: 8193, .. })));
    }
}
