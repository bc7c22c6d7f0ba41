//! Groups, against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use super::tests::*;
use super::*;
use crate::id::MessageId;
use crate::wire;

tests! {
    async fn what_happens_in_groups_is_told_as_seen_from_the_peer() {
        use GroupChange::{Deleted, Edited, Invited, Joined, Kicked, Left};
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
            group_event(8, Deleted, "bob", ""),
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
        let deleted = event!(incoming, Event::Left(notice) => notice);
        assert_eq!((deleted.change, deleted.group), (Deleted, GROUP));
        assert_eq!(session.cursor().id, MessageId(7), "the last one was not had yet");
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
        let too_long = TooLong { what: "metadata", bytes: 8193, bytes_max: 8192 };
        assert_eq!(refused, Err(RequestError::TooLong(too_long)));
    }
}
