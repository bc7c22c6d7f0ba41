//! What is signed, and what comes of signatures, against a scripted server.
//!
//! # Invariants
//!
//! * Nothing sleeps: tests await frames and events.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::tests::*;
use super::*;
use crate::id::{MessageId, PeerId};
use crate::limits::CLIENT_SIGNATURES_REFUSED_MAX;
use crate::reason::Reason;
use crate::wire;

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
}
