//! What a session asks of the app's back end: to be found by an alias, to take a message.
//!
//! # Invariants
//!
//! * A message to the back end stands in the row of the sends, with a number of theirs: it is
//!   written again over each new connection as they are, and answered once.

use bytes::Bytes;

use crate::client::requests::Effect;
use crate::client::{RequestError, SendError, Session};
use crate::id::{Alias, MessageId};
use crate::wire::{self, ServerFrame};

/// A message to the app's back end is on the server's stable storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpstreamSent {
    /// The message's id, by which [`Event::UpstreamDone`](super::Event::UpstreamDone) names it.
    pub id: MessageId,
    /// When the server took it, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

impl Session {
    /// Binds an alias to this device, so that the app's back end can push to it by that name.
    /// Returns when that is on the server's stable storage; the alias stays when the session ends.
    ///
    /// A device has one alias: this one takes the place of the one before. An alias may be bound
    /// to several devices, also of several peers: 10, unless the server says otherwise.
    ///
    /// # Errors
    ///
    /// [`RequestError::Refused`] with [`Reason::AliasFull`](crate::reason::Reason::AliasFull) if
    /// other devices have the alias and there may be no more of them, and with
    /// [`Reason::Unsupported`](crate::reason::Reason::Unsupported) if the server leaves aliases to
    /// the back end; otherwise [`RequestError`] says why there is no answer. Binding again does no
    /// harm.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the alias may be bound or not.
    ///
    /// ```no_run
    /// # use tidings::client::Session;
    /// # async fn run(session: Session) -> Result<(), Box<dyn std::error::Error>> {
    /// session.bind_alias(&"customer 4711".parse()?).await?;
    /// println!("push to it by this alias, or by the device's id: {}", session.device());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn bind_alias(&self, alias: &Alias) -> Result<(), RequestError> {
        let alias = alias.clone();
        let frame = |request| wire::BindAlias { request, alias }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::AliasBound(_) => Ok(()),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Takes an alias away from this device. Returns when that is on the server's stable storage.
    ///
    /// # Errors
    ///
    /// [`RequestError::Refused`] with [`Reason::NoSuchAlias`](crate::reason::Reason::NoSuchAlias)
    /// if the device does not have the alias (any more), and with
    /// [`Reason::Unsupported`](crate::reason::Reason::Unsupported) if the server leaves aliases to
    /// the back end; otherwise [`RequestError`] says why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the alias may be taken away or not.
    pub async fn unbind_alias(&self, alias: &Alias) -> Result<(), RequestError> {
        self.ask_to_unbind(alias, false).await
    }

    /// Takes an alias away from all devices that have it, which this one must be among.
    ///
    /// # Errors
    ///
    /// As for [`Self::unbind_alias`].
    ///
    /// # Cancel safety
    ///
    /// As for [`Self::unbind_alias`].
    pub async fn unbind_alias_everywhere(&self, alias: &Alias) -> Result<(), RequestError> {
        self.ask_to_unbind(alias, true).await
    }

    async fn ask_to_unbind(&self, alias: &Alias, all: bool) -> Result<(), RequestError> {
        let alias = alias.clone();
        let frame = |request| wire::UnbindAlias { request, alias, all }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::AliasUnbound(_) => Ok(()),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Sends a message to the app's back end itself, and waits until it is on the server's stable
    /// storage. It has 5 KiB at the most.
    ///
    /// What the back end makes of it comes later, as
    /// [`Event::UpstreamDone`](super::Event::UpstreamDone), to all devices of the peer: within
    /// 24 hours, also if the back end never takes it.
    ///
    /// Such a message is one of the session's sends: it waits for its turn among them, keeps its
    /// place in their order, and is sent again over the next connection while the one before is
    /// lost, until the [send's time](crate::client::OpenOptions::send_timeout) is over. However
    /// often it was sent, the back end gets it under one id. How it went is said here alone, not
    /// by [`Event::Sent`](super::Event::Sent) or [`Event::Failed`](super::Event::Failed).
    ///
    /// # Errors
    ///
    /// [`SendError::MaybeStored`] if no answer came in time; every other error means that the
    /// message is not stored. [`SendError::Refused`] with
    /// [`Reason::TooManyUpstream`](crate::reason::Reason::TooManyUpstream) may be tried again when
    /// the back end has taken others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before its turn has come takes the message back; later it does not.
    ///
    /// ```no_run
    /// # use tidings::client::{SendError, Session};
    /// # async fn run(session: Session) -> Result<(), SendError> {
    /// let sent = session.send_upstream(r#"{"order":4711}"#).await?;
    /// println!("the back end gets it as {}", sent.id);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send_upstream(&self, body: impl Into<Bytes>) -> Result<UpstreamSent, SendError> {
        let body = body.into();
        let push = |started, answer| self.shared().push_upstream(body, started, answer);
        let stored = self.in_turn(push).await?.stored().await?;
        Ok(UpstreamSent { id: stored.id, at_ms: stored.at_ms })
    }
}
