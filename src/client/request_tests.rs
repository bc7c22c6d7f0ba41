//! Requests and their answers, against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use super::tests::*;
use super::*;
use crate::id::MessageId;
use crate::reason::Reason;
use crate::wire;

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
}
