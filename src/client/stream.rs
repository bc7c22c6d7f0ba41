//! One stream of a session: how it is read and written, and why it ended.
//!
//! # Invariants
//!
//! * The reader and the writer are two futures; neither waits for the other.
//! * A future that writes is dropped only together with its stream.

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::Instant;

use crate::client::connection::Live;
use crate::client::inward::{Taken, away_for};
use crate::client::outward::Work;
use crate::client::state::Shared;
use crate::client::{ConnectError, OpenError, Pause, Refusal, SignError};
use crate::limits::{CLIENT_END_TIMEOUT, CLIENT_WATCH_INTERVAL, HANDSHAKE_TIMEOUT};
use crate::reason::Reason;
use crate::wire::{DecodeError, Decoder, Opened, ServerFrame, Text};

/// An open session.
pub(super) struct Stream {
    pub(super) live: Live,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    pub(super) decoder: Decoder,
    /// What the server said when it was opened.
    pub(super) opened: Opened,
}

/// Why the session is not open (any more).
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no connection.
    Connect(ConnectError),
    /// The stream or its connection was lost.
    Lost,
    /// The server did not answer in time.
    Unanswered,
    /// The server did not take what was said before the handshake was done.
    EarlyRefused,
    /// The server ended the session.
    Refused(Refusal),
    /// There is no signature for the Open.
    Unsigned(SignError),
    /// The server asked to come back at this time.
    SentAway(Reason, Instant),
    /// The server does not speak the protocol.
    Malformed(DecodeError),
    /// The session was ended on this side.
    Done,
}

impl Failure {
    pub(super) fn pause(&self) -> Pause {
        match self {
            Self::Connect(_) | Self::Unsigned(_) => Pause::Lost,
            Self::Lost | Self::EarlyRefused | Self::Done => Pause::Lost,
            Self::Unanswered => Pause::Unanswered,
            Self::Refused(refusal) => Pause::Ended(refusal.clone()),
            Self::SentAway(reason, _) => Pause::SentAway(*reason),
            Self::Malformed(error) => Pause::Malformed(*error),
        }
    }

    /// What the first opening fails with when its time is over.
    pub(super) fn timed_out(self) -> OpenError {
        let source: Box<dyn std::error::Error + Send + Sync> = match self {
            Self::Refused(refusal) => return OpenError::Refused(refusal),
            Self::Connect(error) => error.into(),
            Self::Unsigned(error) => error.into(),
            Self::Malformed(error) => error.into(),
            Self::SentAway(reason, _) => reason.into(),
            Self::Lost | Self::Unanswered | Self::EarlyRefused | Self::Done => {
                return OpenError::TimedOut(None);
            }
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
            ReadError::ZeroRttRejected => Self::EarlyRefused,
            _ => Self::Lost,
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(code) => Self::closed_with(code),
            _ => Self::Lost,
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// Waits for the answer to Open, and on a connection that is early first for any answer.
pub(super) async fn await_opened(
    shared: &Shared,
    live: &Live,
    send: &mut SendStream,
    recv: &mut RecvStream,
    decoder: &mut Decoder,
) -> Result<Opened, Failure> {
    let begun = Instant::now();
    let mut opened = std::pin::pin!(read_opened(shared, recv, decoder));
    loop {
        if let Ok(opened) = tokio::time::timeout(CLIENT_WATCH_INTERVAL, &mut opened).await {
            return opened;
        }
        if live.is_answered() {
            // If it fails, the reader finds out why.
            let _ = send.write_chunk(shared.poke()).await;
        } else if begun.elapsed() >= HANDSHAKE_TIMEOUT {
            return Err(Failure::Unanswered);
        }
    }
}

/// Reads the answer to Open. Answers to sends that were written with it may come before.
async fn read_opened(
    shared: &Shared,
    recv: &mut RecvStream,
    decoder: &mut Decoder,
) -> Result<Opened, Failure> {
    loop {
        match next_frame(decoder)? {
            Some(ServerFrame::Opened(opened)) => return Ok(opened),
            Some(ServerFrame::Error(error)) if error.request == 0 => {
                return Err(Failure::Refused(error.into()));
            }
            Some(ServerFrame::GoAway(frame)) => {
                let until = Instant::now() + away_for(&frame);
                return Err(Failure::SentAway(frame.reason, until));
            }
            Some(
                answer @ (ServerFrame::Sent(_)
                | ServerFrame::UpstreamStored(_)
                | ServerFrame::Error(_)),
            ) => {
                if let Taken::Queued | Taken::QueuedFull = shared.take(answer) {
                    shared.wake_app();
                }
            }
            Some(_) => {
                let detail = "a session begins with Opened";
                return Err(DecodeError::new(Reason::NotOpen, detail).into());
            }
            None => match recv.read_chunk(usize::MAX, true).await? {
                Some(chunk) => decoder.push(chunk.bytes),
                None => return Err(Failure::Lost),
            },
        }
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
pub(super) async fn run_stream(shared: &Shared, stream: Stream) -> Failure {
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
        failure = write(shared, &live.connection, &mut send) => failure,
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
        let taken = take_chunks(shared, decoder, &mut chunks[..count], &mut away).await;
        if let Err(failure) = taken {
            return failure;
        }
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

/// Takes the frames in the decoder and then those in `chunks`, as the app makes room for them.
async fn take_chunks(
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
                Taken::QueuedFull => {
                    shared.wake_app();
                    shared.wait_for_room().await;
                }
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

async fn write(shared: &Shared, connection: &Connection, send: &mut SendStream) -> Failure {
    let mut buffer = BytesMut::new();
    loop {
        match shared.compose(connection.rtt(), &mut buffer) {
            Work::Write => {
                if let Err(error) = send.write_chunk(buffer.split().freeze()).await {
                    // The reader may still find out why, and in which words.
                    tokio::time::sleep(CLIENT_WATCH_INTERVAL).await;
                    return error.into();
                }
            }
            Work::Wait(None) => shared.writer.notified().await,
            Work::Wait(Some(at)) => {
                // Woken or in time, there may be something to say.
                let _ = tokio::time::timeout_at(at, shared.writer.notified()).await;
            }
            Work::Finish => {
                // A stream that is gone needs no end; otherwise the server is to have all of it.
                let _ = send.finish();
                let _ = send.stopped().await;
                return Failure::Done;
            }
        }
    }
}

/// Pieces of the stream taken with one lock of the connection.
const READ_CHUNKS_MAX: usize = 16;
