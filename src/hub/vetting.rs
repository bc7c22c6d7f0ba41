//! Asking the app's back end about a message of a client before it is sent.
//!
//! # Invariants
//!
//! * What a session sends is asked about one after another, in its order, so it sends no faster
//!   than it is asked about. Only that session waits; what comes by datagram, which has no order,
//!   holds up the other datagrams of its connection, and streams that are being opened.
//! * A resend is asked about again, by the same id, but its outcome never changes: it is known by
//!   what the client sends, not by what the back end makes of that, and what is stored already is
//!   answered as the first time, even if it is refused by now.
//! * What the back end sends itself is not asked about.

use bytes::Bytes;

use crate::hub::Hub;
use crate::hub::session::Session;
use crate::id::{ConversationId, PeerId};
use crate::presend::{Question, Verdict};
use crate::reason::Reason;
use crate::wire::{Send, Text};

/// Why a message is not sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Veto {
    /// What kind of refusal it is.
    pub reason: Reason,
    /// What the sender is told with it.
    pub text: Text,
}

impl From<Reason> for Veto {
    fn from(reason: Reason) -> Self {
        Self { reason, text: reason.text().into() }
    }
}

impl Hub {
    /// Asks about a message; gives the body that it is to have instead of its own, if any.
    ///
    /// # Errors
    ///
    /// Why it is not to be sent.
    pub(super) async fn vet(
        &self,
        session: &Session,
        (conversation, to): (ConversationId, &[PeerId]),
        send: &Send,
    ) -> Result<Option<Bytes>, Veto> {
        let Some(hook) = &self.options.pre_send else { return Ok(None) };
        let about = session.about();
        let question = Question {
            id: question_id(session, send),
            at_ms: self.store.clock().now_ms(),
            from: session.peer().clone(),
            device: session.device().clone(),
            flag: about.flag,
            client: about.client.as_str().to_owned(),
            address: about.address.to_string(),
            conversation,
            to: to.to_vec(),
            transient: send.transient,
            receipt: send.receipt,
            ttl_ms: i64::try_from(send.ttl_ms).unwrap_or(i64::MAX),
            client_msg_no: send.client_msg_no.as_str().to_owned(),
            body: send.body.clone(),
        };
        match hook.ask(question).await {
            Verdict::Allow => Ok(None),
            Verdict::Replace(body) => Ok(Some(body)),
            Verdict::Refuse(code) if code.is_empty() => Err(Reason::Vetoed.into()),
            Verdict::Refuse(code) => Err(Veto { reason: Reason::Vetoed, text: code.into() }),
            Verdict::Unasked => Err(Reason::Unasked.into()),
        }
    }
}

/// Names the send of a client's instance, whichever session it comes by. A transient message comes
/// once.
fn question_id(session: &Session, send: &Send) -> String {
    if send.transient {
        return format!("ask-{:032x}", fastrand::u128(..));
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(session.peer().as_str().as_bytes());
    hasher.update(b":");
    hasher.update(session.device().as_str().as_bytes());
    format!("ask-{:08x}-{:016x}-{}", hasher.finalize(), session.instance(), send.number)
}
