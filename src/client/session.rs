//! The handle of a session.
//!
//! # Invariants
//!
//! * A method either returns at once or says what it waits for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::requests::Effect;
use crate::client::state::{Answer, EndGuard, Shared, Stored};
use crate::client::{Cursor, DeviceState, Outgoing, RequestError, SendError};
use crate::id::{DeviceId, MessageId, PeerId};
use crate::wire::{self, ServerFrame};

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
pub struct Session {
    shared: Arc<Shared>,
    device: DeviceId,
    send_timeout: Duration,
    _guard: Arc<EndGuard>,
}

/// The answer to a send that has been queued. Dropping it does not take the message back.
///
/// # Cancel safety
///
/// It may be awaited in turns, by reference.
#[derive(Debug)]
#[must_use = "the message is durable only when this says so"]
pub struct Sending {
    answer: oneshot::Receiver<Result<Stored, SendError>>,
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        device: DeviceId,
        send_timeout: Duration,
        guard: Arc<EndGuard>,
    ) -> Self {
        Self { shared, device, send_timeout, _guard: guard }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

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
        self.in_turn(|started, answer| self.shared.push_send(message, started, answer)).await
    }

    /// Pushes a send when its turn has come.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, nothing is pushed.
    pub(super) async fn in_turn(
        &self,
        push: impl FnOnce(Instant, Answer) -> Result<(), SendError>,
    ) -> Result<Sending, SendError> {
        let started = Instant::now();
        let permit = match self.shared.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let turn = tokio::time::timeout(self.send_timeout, self.shared.permits.acquire());
                turn.await.map_err(|_| SendError::TimedOut)?.map_err(|_| SendError::Ended)?
            }
        };
        let (sender, answer) = oneshot::channel();
        push(started, sender)?;
        // It comes back with the answer.
        permit.forget();
        Ok(Sending { answer })
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
        self.shared.send_transient(message)
    }

    /// Says that the app has had every message up to this one. Sessions without
    /// [`manual_ack`](crate::client::OpenOptions::manual_ack) do it by themselves when the app
    /// asks for the next message; this is for the last one before the end, then.
    ///
    /// It is sent lazily: with the next frame, after 32 calls, or after 20 to 200 ms. A cursor of
    /// another epoch, or one behind an earlier call, does nothing.
    pub fn ack(&self, cursor: Cursor) {
        self.shared.ack(cursor);
    }

    /// Asks whether the server is there, and says how long the answer took.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why there is no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing but the answer is lost if the future is dropped.
    pub async fn ping(&self) -> Result<Duration, RequestError> {
        let started = Instant::now();
        match self.shared.ask(Effect::None, |request| wire::Ping { request }.into()).await? {
            ServerFrame::Pong(_) => Ok(started.elapsed()),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// Logs the device out: what was queued is sent, then the device gets nothing more until it
    /// is opened again. If the connection is lost, this waits for the next one.
    ///
    /// # Errors
    ///
    /// [`RequestError`] says why the device may not be logged out.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the device is being logged out, even if the future is dropped.
    pub async fn close(&self) -> Result<(), RequestError> {
        let closed = tokio::time::timeout(self.send_timeout, self.shared.close()).await;
        closed.map_err(|_| RequestError::TimedOut)?.unwrap_or(Err(RequestError::Ended))
    }

    /// Ends the session without logging out, and waits (3 s at most) until the server has what
    /// was queued, acknowledgements too, and has answered it. What comes for the device waits for
    /// it. While there is no connection, this ends at once.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the session is ending, even if the future is dropped.
    pub async fn end(&self) {
        self.shared.end();
        self.shared.done.cancelled().await;
    }

    /// The peer.
    pub fn peer(&self) -> PeerId {
        self.shared.peer()
    }

    /// The device's id, also called its CID; a random one if none was given: keep it and open
    /// with it again. It is what the app's back end pushes to when it means this device alone,
    /// so the app tells it to the back end, or binds an [alias](Self::bind_alias).
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The log that ids belong to at the moment.
    pub fn epoch(&self) -> u64 {
        self.cursor().epoch
    }

    /// How far the app has come: the last message that it has had.
    pub fn cursor(&self) -> Cursor {
        self.shared.cursor()
    }

    /// The device's id and the cursor together, as a
    /// [`DeviceFile`](crate::client::DeviceFile) keeps them.
    pub fn state(&self) -> DeviceState {
        DeviceState { device: self.device.clone(), cursor: self.cursor() }
    }

    /// What the session has counted.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }
}

impl Sending {
    fn poll_stored(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stored, SendError>> {
        // The driver settles every send, so a lost sender means that its runtime is gone.
        let answer = Pin::new(&mut self.answer).poll(cx);
        answer.map(|answer| answer.unwrap_or(Err(SendError::MaybeStored)))
    }

    /// What [`Session::in_turn`] pushed is stored, whatever it was.
    pub(super) async fn stored(mut self) -> Result<Stored, SendError> {
        std::future::poll_fn(|cx| self.poll_stored(cx)).await
    }
}

impl Future for Sending {
    type Output = Result<Sent, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_stored(cx).map_ok(Sent::from)
    }
}
