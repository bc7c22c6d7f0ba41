//! The task of a session: opens it, keeps it, and comes back when the connection is lost.
//!
//! # Invariants
//!
//! * However the task ends, every send and request has been settled.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use quinn::VarInt;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::connection::{Link, Live};
use crate::client::groups::Rejoin;
use crate::client::pace::Backoff;
use crate::client::state::{EndGuard, Shared, Told};
use crate::client::stream::{Failure, Stream, await_opened, run_stream};
use crate::client::{
    ConnectError, Incoming, OpenError, OpenOptions, Refusal, Session, SignAction, SignError,
};
use crate::limits::{
    CLIENT_ANSWER_TIMEOUT, CLIENT_BACKOFF_MAX, CLIENT_SIGNATURES_REFUSED_MAX,
    CLIENT_WATCH_INTERVAL, FRAME_BYTES_MAX, PROTOCOL_VERSION, WATCHED_MAX,
};
use crate::wire::{ClientFrame, Decoder, Open, Signature};

/// Opens a session and starts its task.
pub(super) async fn open(
    link: Arc<Link>,
    options: OpenOptions,
) -> Result<(Session, Incoming), OpenError> {
    let (count, count_max) = (options.watch.len(), WATCHED_MAX);
    if count > count_max {
        return Err(OpenError::TooManyWatched { count, count_max });
    }
    let permit =
        Arc::clone(&link.sessions).try_acquire_owned().map_err(|_| OpenError::TooManySessions)?;
    let send_timeout = options.send_timeout;
    let shared = Arc::new(Shared::new(&options));
    let guard = Arc::new(EndGuard(Arc::clone(&shared)));
    let (first, opened) = oneshot::channel();
    let driver = Driver::new(link, options, Arc::clone(&shared));
    tokio::spawn(async move {
        driver.run(first).await;
        drop(permit);
    });
    let device = opened.await.unwrap_or(Err(OpenError::Closed))?;
    let incoming = Incoming::new(Arc::clone(&shared), Arc::clone(&guard));
    Ok((Session::new(shared, device, send_timeout, guard), incoming))
}

/// What [`open`] waits for.
type First = oneshot::Sender<Result<crate::id::DeviceId, OpenError>>;

struct Driver {
    link: Arc<Link>,
    options: OpenOptions,
    shared: Arc<Shared>,
    /// Drawn once: send numbers belong to it over all connections.
    instance: u64,
    /// The last connection that is not to be used again.
    bad: Option<u64>,
    /// For when the server refuses or ends the session while the connection stands.
    backoff: Backoff,
    /// Why the last opening failed.
    failure: Option<Failure>,
    /// Signatures refused in a row since the session was open.
    refused: u32,
}

impl Driver {
    fn new(link: Arc<Link>, options: OpenOptions, shared: Arc<Shared>) -> Self {
        Self {
            link,
            options,
            shared,
            instance: RandomState::new().hash_one(()),
            bad: None,
            backoff: Backoff::new(),
            failure: None,
            refused: 0,
        }
    }

    async fn run(mut self, first: First) {
        let shared = Arc::clone(&self.shared);
        let watch = watch_sends(&shared, self.options.send_timeout);
        let why = tokio::select! {
            why = self.drive(first) => why,
            never = watch => never,
        };
        shared.finish(why);
    }

    /// Opens the session and keeps it open. Returns why the server ended it, if it did.
    async fn drive(&mut self, first: First) -> Option<Refusal> {
        let mut stream = self.open_first(first).await?;
        let stop = self.shared.stop.clone();
        loop {
            let (began, generation) = (Instant::now(), stream.live.generation);
            let live = stream.live.clone();
            let failure = run_stream(&self.shared, stream).await;
            match failure {
                Failure::Done => return None,
                Failure::Refused(refusal) if refusal.is_final() => return Some(refusal),
                _ if stop.is_cancelled() || self.link.is_closed() => return None,
                _ => tracing::debug!(?failure, generation, "session paused"),
            }
            self.shared.paused(failure.pause());
            if began.elapsed() > CLIENT_BACKOFF_MAX {
                self.backoff.reset();
            }
            let back = async {
                self.wait_after(&failure, &live).await;
                drop(live);
                self.open().await
            };
            stream = match stop.run_until_cancelled(back).await? {
                Ok(stream) => stream,
                Err(Failure::Refused(refusal)) => return Some(refusal),
                Err(_) => return None,
            };
        }
    }

    /// Opens the session for the first time, within its time, and tells how it went.
    async fn open_first(&mut self, first: First) -> Option<Stream> {
        let stop = self.shared.stop.clone();
        let timeout = self.options.open_timeout;
        let open = tokio::time::timeout(timeout, self.open());
        let error = match stop.run_until_cancelled(open).await? {
            Ok(Ok(stream)) => {
                // If nobody waits any more, the session is told to stop.
                let _ = first.send(Ok(stream.opened.device.clone()));
                return Some(stream);
            }
            Ok(Err(Failure::Refused(refusal))) => OpenError::Refused(refusal),
            Ok(Err(Failure::Unsigned(error))) => OpenError::Unsigned(error),
            Ok(Err(_)) => OpenError::Closed,
            Err(_) => self.failure.take().map_or(OpenError::TimedOut(None), Failure::timed_out),
        };
        let _ = first.send(Err(error));
        None
    }

    /// Tries until the session is open, or until it makes no sense.
    async fn open(&mut self) -> Result<Stream, Failure> {
        loop {
            let failure = match self.link.connected(self.bad).await {
                Ok(live) => match self.try_open(&live).await {
                    Ok(stream) => {
                        self.refused = 0;
                        return Ok(stream);
                    }
                    Err(failure) if self.is_final(&failure) => return Err(failure),
                    Err(failure) => {
                        self.wait_after(&failure, &live).await;
                        failure
                    }
                },
                Err(ConnectError::Closed) => return Err(Failure::Done),
                // The link waits before its next try.
                Err(error) => Failure::Connect(error),
            };
            tracing::debug!(?failure, "session not opened");
            self.failure = Some(failure);
        }
    }

    /// Whether trying again makes no sense. A session that was open once gets a few fresh
    /// signatures.
    fn is_final(&mut self, failure: &Failure) -> bool {
        let shared = &self.shared;
        let resumes = shared.lock().was_open;
        match failure {
            Failure::Unsigned(_) => !resumes,
            Failure::Refused(refusal) if resumes && refusal.is_about_signature() => {
                self.refused += 1;
                !shared.signing.is_on() || self.refused > CLIENT_SIGNATURES_REFUSED_MAX
            }
            Failure::Refused(refusal) => refusal.is_final(),
            _ => false,
        }
    }

    /// Waits as long as a failure asks for, and sees to it that a broken connection is not used
    /// again.
    async fn wait_after(&mut self, failure: &Failure, live: &Live) {
        match failure {
            Failure::SentAway(_, until) => {
                self.bad = Some(live.generation);
                tokio::time::sleep_until(*until).await;
            }
            Failure::Unanswered => {
                self.bad = Some(live.generation);
                self.link.abandon(live);
            }
            // The link waits before its next try.
            _ if live.connection.close_reason().is_some() => {}
            _ => tokio::time::sleep(self.backoff.next_wait()).await,
        }
    }

    async fn try_open(&self, live: &Live) -> Result<Stream, Failure> {
        let (told, signature) = self.sign().await.map_err(Failure::Unsigned)?;
        let open = self.open_stream(live, told, signature);
        let open = tokio::time::timeout(CLIENT_ANSWER_TIMEOUT, open);
        open.await.unwrap_or(Err(Failure::Unanswered))
    }

    /// Gets fresh signatures for the Open, and for the open group that the session was in.
    async fn sign(&self) -> Result<(Told, Option<Signature>), SignError> {
        let (asked, group) = {
            let state = self.shared.lock();
            (state.watching.all(), state.open_group)
        };
        let (signing, peer) = (&self.shared.signing, &self.options.peer);
        let signed = signing.sign(peer.clone(), SignAction::Open, asked.clone());
        let (watch, signature) = signed.await?;
        let rejoin = match group {
            Some(group) => Some(Rejoin::sign(signing, peer.clone(), group).await),
            None => None,
        };
        Ok((Told { asked, watch, rejoin, ..Told::default() }, signature))
    }

    async fn open_stream(
        &self,
        live: &Live,
        told: Told,
        signature: Option<Signature>,
    ) -> Result<Stream, Failure> {
        let (device, cursor) = self.shared.open_from();
        let open = Open {
            version: PROTOCOL_VERSION,
            app: self.link.options.app.as_str().into(),
            peer: self.options.peer.clone(),
            device: Some(device),
            flag: self.options.flag,
            instance: self.instance,
            client: self.link.options.client.as_str().into(),
            epoch: cursor.epoch,
            cursor: cursor.id,
            watch: told.watch.clone(),
            signature,
        };
        let mut frame = BytesMut::new();
        ClientFrame::from(open).encode(&mut frame);
        let told = Told { cursor, ..told };
        let stream = match self.say_open(live, frame.clone()).await {
            // Nobody has heard it: the same again, now that the handshake is done.
            Err(Failure::EarlyRefused) => self.say_open(live, frame).await?,
            said => said?,
        };
        let route = live.route(VarInt::from(stream.send.id()).into_inner(), &self.shared);
        self.shared.opened(&stream.opened, told, Some(route));
        self.link.proved(live);
        Ok(stream)
    }

    /// Begins a stream, says an Open on it, with sends if it is early, and waits for the answer.
    async fn say_open(&self, live: &Live, mut frames: BytesMut) -> Result<Stream, Failure> {
        let (mut send, mut recv) = live.connection.open_bi().await?;
        self.shared.begin(recv.is_0rtt(), &mut frames);
        // If the server refuses it, what it says is still to be read.
        let _ = send.write_chunk(frames.freeze()).await;
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        let opened = await_opened(&self.shared, live, &mut send, &mut recv, &mut decoder).await?;
        Ok(Stream { live: live.clone(), send, recv, decoder, opened })
    }
}

/// Fails sends when their time is over, and tells when the server does not answer. Sleeps while
/// there are none.
async fn watch_sends(shared: &Shared, send_timeout: Duration) -> Option<Refusal> {
    loop {
        match shared.expire(send_timeout) {
            None => shared.sends.notified().await,
            Some(unanswered) => {
                if unanswered >= CLIENT_ANSWER_TIMEOUT {
                    shared.unanswered.notify_waiters();
                }
                tokio::time::sleep(CLIENT_WATCH_INTERVAL).await;
            }
        }
    }
}
