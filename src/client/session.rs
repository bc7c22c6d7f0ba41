//! The handle of a session.
//!
//! # Invariants
//!
//! * A method either returns at once or says what it waits for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::client::{Cursor, DeviceState, Outgoing, RequestError, SendError};
use crate::id::{DeviceId, MessageId, PeerId};

/// A message is on the server's stable storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sent {
    /// The message's id.
    pub id: MessageId,
    /// Its number in its conversation, from 1.
    pub sequence: u32,
    /// When the server took it, in milliseconds since 1970 UTC.
    pub at_ms: u64,
}

/// What a session has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Messages that came again and were not handed to the app again.
    pub repeats: u64,
    /// Messages that were sent again after a reconnection.
    pub resends: u64,
    /// Times that the session was opened again.
    pub resumes: u64,
}

/// A peer opened on a device. A cheap handle: clones are the same session.
#[derive(Clone, Debug)]
pub struct Session {}

/// The answer to a send that has been queued. Dropping it does not take the message back.
#[derive(Debug)]
#[must_use = "the message is durable only when this says so"]
pub struct Sending {}

impl Session {
    /// Sends a message and waits until it is on the server's stable storage.
    ///
    /// While the connection is lost this waits, and the message is sent again over the next
    /// one. At most 128 sends of a session are under way at once; the next one waits for its
    /// turn. Messages queued one after the other keep their order.
    ///
    /// # Errors
    ///
    /// [`SendError::MaybeStored`] if no answer came within the
    /// [send's time](crate::client::OpenOptions::send_timeout); every other error means that the
    /// message is not stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before its turn has come takes the message back; later it does not.
    ///
    /// ```no_run
    /// # use tidings::client::{Outgoing, SendError, Session};
    /// # use tidings::id::PeerId;
    /// # async fn run(session: Session, bob: PeerId) -> Result<(), SendError> {
    /// let sent = session.send(Outgoing::to(bob, "hello")).await?;
    /// println!("message {} of the conversation", sent.sequence);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn send(&self, message: Outgoing) -> Result<Sent, SendError> {
        self.start_send(message).await?.await
    }

    /// Queues a message as soon as its turn has come, and returns what waits for the answer, so
    /// that one task can have many sends under way.
    ///
    /// # Errors
    ///
    /// As for [`Self::send`], but never [`SendError::MaybeStored`].
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the message is not sent.
    pub async fn start_send(&self, message: Outgoing) -> Result<Sending, SendError> {
        todo!()
    }

    /// Sends a message to those who are online now. It is never stored and not answered.
    ///
    /// It rides a QUIC datagram if it fits one, which may be lost or overtake other messages.
    ///
    /// # Errors
    ///
    /// [`SendError::Paused`] while there is no connection, [`SendError::Full`] when too many
    /// wait already, and what is wrong with the message itself.
    pub fn send_transient(&self, message: Outgoing) -> Result<(), SendError> {
        todo!()
    }

    /// Says that the app has had every message up to this one. For sessions with
    /// [`manual_ack`](crate::client::OpenOptions::manual_ack); others do it by themselves.
    ///
    /// It is sent lazily: with the next frame, after 32 calls, or after 20 ms. A cursor of
    /// another epoch, or one behind an earlier call, does nothing.
    pub fn ack(&self, cursor: Cursor) {
        todo!()
    }

    /// Asks whether the server is there, and says how long the answer took.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer.
    pub async fn ping(&self) -> Result<Duration, RequestError> {
        todo!()
    }

    /// Logs the device out: what was queued is sent, then the device gets nothing more until it
    /// is opened again. If the connection is lost, this waits for the next one.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why the device may not be logged out.
    pub async fn close(&self) -> Result<(), RequestError> {
        todo!()
    }

    /// Ends the session without logging out, and waits (3 s at most) until what was queued has
    /// reached the server, acknowledgements too. What comes for the device waits for it.
    pub async fn end(&self) {
        todo!()
    }

    /// The peer.
    pub fn peer(&self) -> &PeerId {
        todo!()
    }

    /// The device's id, chosen by the server if none was given: keep it and open with it again.
    pub fn device(&self) -> DeviceId {
        todo!()
    }

    /// The log that ids belong to at the moment.
    pub fn epoch(&self) -> u64 {
        self.cursor().epoch
    }

    /// How far the app has come: the last message that it has had.
    pub fn cursor(&self) -> Cursor {
        todo!()
    }

    /// The device's id and the cursor together, as a
    /// [`DeviceFile`](crate::client::DeviceFile) keeps them.
    pub fn state(&self) -> DeviceState {
        DeviceState { device: self.device(), cursor: self.cursor() }
    }

    /// What the session has counted.
    pub fn counts(&self) -> Counts {
        todo!()
    }
}

impl Future for Sending {
    type Output = Result<Sent, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        todo!()
    }
}
