//! The task of a session: opens it, reads and writes, and comes back when the connection is lost.
//!
//! # Invariants
//!
//! * The reader and the writer are two futures of one task; neither waits for the other.
//! * A future that writes is dropped only together with its stream.
//! * However the task ends, every send and request has been settled.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::client::connection::{Link, Live};
use crate::client::pace::Backoff;
use crate::client::state::{EndGuard, Shared, Taken, Work};
use crate::client::{ConnectError, Incoming, OpenError, OpenOptions, Pause, Refusal, Session};
use crate::limits::{
    CLIENT_ANSWER_TIMEOUT, CLIENT_BACKOFF_MAX, CLIENT_END_TIMEOUT, CLIENT_WATCH_INTERVAL,
    FRAME_BYTES_MAX, PROTOCOL_VERSION, WATCHED_MAX,
};
use crate::reason::Reason;
use crate::wire::{ClientFrame, DecodeError, Decoder, Open, Opened, ServerFrame, Text};

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

/// An open session.
struct Stream {
    live: Live,
    send: SendStream,
    recv: RecvStream,
    decoder: Decoder,
    /// What the server said when it was opened.
    opened: Opened,
}

/// Why the session is not open (any more).
#[derive(Debug)]
enum Failure {
    /// There is no connection.
    Connect(ConnectError),
    /// The stream or its connection was lost.
    Lost,
    /// The server did not answer in time.
    Unanswered,
    /// The server ended the session.
    Refused(Refusal),
    /// The server asked to come back at this time.
    SentAway(Reason, Instant),
    /// The server does not speak the protocol.
    Malformed(DecodeError),
    /// The session was ended on this side.
    Done,
}

impl Failure {
    fn pause(&self) -> Pause {
        match self {
            Self::Connect(_) | Self::Lost | Self::Done => Pause::Lost,
            Self::Unanswered => Pause::Unanswered,
            Self::Refused(refusal) => Pause::Ended(refusal.clone()),
            Self::SentAway(reason, _) => Pause::SentAway(*reason),
            Self::Malformed(error) => Pause::Malformed(*error),
        }
    }

    /// What the first opening fails with when its time is over.
    fn timed_out(self) -> OpenError {
        let source: Box<dyn std::error::Error + Send + Sync> = match self {
            Self::Refused(refusal) => return OpenError::Refused(refusal),
            Self::Connect(error) => error.into(),
            Self::Malformed(error) => error.into(),
            Self::SentAway(reason, _) => reason.into(),
            Self::Lost | Self::Unanswered | Self::Done => return OpenError::TimedOut(None),
        };
        OpenError::TimedOut(Some(source))
    }

    /// What the code means with which a stream or a connection was closed.
    fn closed_with(code: VarInt) -> Self {
        match u16::try_from(code.into_inner()) {
            Ok(number) if number != Reason::Normal as u16 => {
                Self::Refused(Refusal { number, text: Text::default() })
            }
            _ => Self::Lost,
        }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::closed_with(close.error_code),
            _ => Self::Lost,
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(code) => Self::closed_with(code),
            _ => Self::Lost,
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

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
                    Ok(stream) => return Ok(stream),
                    Err(Failure::Refused(refusal)) if refusal.is_final() => {
                        return Err(Failure::Refused(refusal));
                    }
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
        let open = tokio::time::timeout(CLIENT_ANSWER_TIMEOUT, self.open_stream(live));
        open.await.unwrap_or(Err(Failure::Unanswered))
    }

    async fn open_stream(&self, live: &Live) -> Result<Stream, Failure> {
        let (mut send, mut recv) = live.connection.open_bi().await?;
        let (device, cursor) = self.shared.open_from();
        let open = Open {
            version: PROTOCOL_VERSION,
            app: self.link.options.app.as_str().into(),
            peer: self.options.peer.clone(),
            device,
            flag: self.options.flag,
            instance: self.instance,
            client: self.link.options.client.as_str().into(),
            epoch: cursor.epoch,
            cursor: cursor.id,
            watch: self.options.watch.clone(),
            signature: self.options.signer.as_ref().map(|sign| sign()),
        };
        let mut buffer = BytesMut::new();
        ClientFrame::from(open).encode(&mut buffer);
        // If the server refuses it, what it says is still to be read.
        let _ = send.write_chunk(buffer.freeze()).await;
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        let opened = read_opened(&mut recv, &mut decoder).await?;
        let stream = VarInt::from(send.id()).into_inner();
        self.shared.opened(&opened, cursor, Some(live.route(stream, &self.shared)));
        self.link.proved();
        Ok(Stream { live: live.clone(), send, recv, decoder, opened })
    }
}

/// Reads the answer to Open.
async fn read_opened(recv: &mut RecvStream, decoder: &mut Decoder) -> Result<Opened, Failure> {
    let frame = loop {
        if let Some(frame) = next_frame(decoder)? {
            break frame;
        }
        match recv.read_chunk(usize::MAX, true).await? {
            Some(chunk) => decoder.push(chunk.bytes),
            None => return Err(Failure::Lost),
        }
    };
    match frame {
        ServerFrame::Opened(opened) => Ok(opened),
        ServerFrame::Error(error) => Err(Failure::Refused(error.into())),
        ServerFrame::GoAway(frame) => {
            let wait = Duration::from_millis(frame.wait_ms);
            Err(Failure::SentAway(frame.reason, Instant::now() + wait))
        }
        _ => Err(DecodeError::new(Reason::NotOpen, "a session begins with Opened").into()),
    }
}

/// The next frame of a kind that this version knows.
fn next_frame(decoder: &mut Decoder) -> Result<Option<ServerFrame>, DecodeError> {
    while let Some(raw) = decoder.next_frame()? {
        match ServerFrame::decode(raw) {
            Ok(frame) => return Ok(Some(frame)),
            // The server may be newer.
            Err(error) if error.reason == Reason::UnknownKind => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Reads and writes until the session ends or pauses.
async fn run_stream(shared: &Shared, stream: Stream) -> Failure {
    let Stream { live, mut send, mut recv, mut decoder, .. } = stream;
    let datagrams = async {
        live.hand_out_datagrams().await;
        std::future::pending::<Failure>().await
    };
    let end = async {
        shared.stop.cancelled().await;
        tokio::time::sleep(CLIENT_END_TIMEOUT).await;
    };
    tokio::select! {
        failure = read(shared, &mut recv, &mut decoder) => failure,
        failure = write(shared, &mut send) => failure,
        failure = datagrams => failure,
        () = shared.unanswered.notified() => Failure::Unanswered,
        () = end => Failure::Done,
    }
}

async fn read(shared: &Shared, recv: &mut RecvStream, decoder: &mut Decoder) -> Failure {
    let mut away = None;
    let mut chunks: [Bytes; READ_CHUNKS_MAX] = Default::default();
    // What came together with Opened has not been taken yet.
    let mut count = 0;
    loop {
        if let Err(failure) = take_chunks(shared, decoder, &mut chunks[..count], &mut away) {
            return failure;
        }
        shared.wait_for_room().await;
        let read = recv.read_chunks(&mut chunks);
        let read = match away {
            // The server finishes what it has; then it is time to go.
            Some((reason, until)) => match tokio::time::timeout_at(until, read).await {
                Ok(Ok(Some(more))) => Ok(Some(more)),
                _ => return Failure::SentAway(reason, until),
            },
            None => read.await,
        };
        count = match read {
            Ok(Some(count)) => count,
            Ok(None) => return Failure::Lost,
            Err(error) => return error.into(),
        };
    }
}

/// Takes the frames in the decoder and then those in `chunks`.
fn take_chunks(
    shared: &Shared,
    decoder: &mut Decoder,
    chunks: &mut [Bytes],
    away: &mut Option<(Reason, Instant)>,
) -> Result<(), Failure> {
    let mut queued = false;
    let mut chunks = chunks.iter_mut();
    let taken = loop {
        match next_frame(decoder) {
            Ok(Some(frame)) => match shared.take(frame) {
                Taken::Done => {}
                Taken::Queued => queued = true,
                Taken::Closed => break Err(Failure::Done),
                Taken::SentAway { reason, wait } => *away = Some((reason, Instant::now() + wait)),
                Taken::Refused(refusal) => break Err(Failure::Refused(refusal)),
            },
            Ok(None) => match chunks.next() {
                Some(chunk) => decoder.push(std::mem::take(chunk)),
                None => break Ok(()),
            },
            Err(error) => break Err(error.into()),
        }
    };
    if queued {
        shared.wake_app();
    }
    taken
}

async fn write(shared: &Shared, send: &mut SendStream) -> Failure {
    let mut buffer = BytesMut::new();
    loop {
        match shared.compose(&mut buffer) {
            Work::Write => {
                if send.write_chunk(buffer.split().freeze()).await.is_err() {
                    // The reader may still find out why.
                    tokio::time::sleep(CLIENT_WATCH_INTERVAL).await;
                    return Failure::Lost;
                }
            }
            Work::Wait(None) => shared.writer.notified().await,
            Work::Wait(Some(at)) => {
                // Woken or in time, there may be something to say.
                let _ = tokio::time::timeout_at(at, shared.writer.notified()).await;
            }
            Work::Finish => return finish(shared, send).await,
        }
    }
}

/// Ends the stream and waits until the server has all of it.
async fn finish(shared: &Shared, send: &mut SendStream) -> Failure {
    // A stream that is gone needs no end.
    let _ = send.finish();
    let _ = send.stopped().await;
    if !shared.all_answered() {
        // The reader goes on until the server ends the stream too.
        std::future::pending::<()>().await;
    }
    Failure::Done
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

/// Pieces of the stream taken with one lock of the connection.
const READ_CHUNKS_MAX: usize = 16;
