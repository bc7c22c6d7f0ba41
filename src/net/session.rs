//! One stream: reads frames for the hub, and writes what the session's outbox holds.
//!
//! # Invariants
//!
//! * The first frame is Open, in time.
//! * Bytes from the network never panic: what is no frame ends the session with its reason.
//! * Until the handshake is confirmed no session is open: nobody is replaced, nobody is online.
//! * The reader may be dropped at any point; the writer ends by itself or is cut.

use std::pin::Pin;
use std::sync::Arc;

use quinn::{Connection, ReadError, RecvStream, SendStream, VarInt, WriteError};

use crate::hub::{Flow, Hub, Next, Prepared, Session};
use crate::limits::{FRAME_BYTES_MAX, OPEN_TIMEOUT, SESSIONS_PER_CONNECTION_MAX};
use crate::net::connection::{Handshake, SessionDatagrams, Sessions};
use crate::net::{CLOSE_TIMEOUT, Shared, code};
use crate::reason::Reason;
use crate::wire::{
    ClientFrame, DecodeError, Decoder, Error, Open, RawFrame, Send, ServerFrame, request_of,
};

/// Bytes taken from the stream at once, so that one session does not hold up the others.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A stream that a client has opened.
pub(super) struct Stream {
    pub(super) connection: Connection,
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
    pub(super) handshake: Handshake,
}

/// Why reading has ended.
enum Ended {
    /// The client broke the stream off, or the connection is gone.
    Lost,
    /// The client has nothing more to say; it still hears its answers.
    Finished,
    /// The client closed its session: answer and finish.
    Closed,
    /// The server stops.
    Quiesced,
    /// The client did what it must not.
    Refused(Reason),
}

/// Serves a session until it is over.
pub(super) async fn run(stream: Stream, shared: Arc<Shared>, sessions: Sessions) {
    let Stream { connection, mut send, recv, handshake } = stream;
    let id = u64::from(VarInt::from(send.id()));
    let mut input = Input { recv, decoder: Decoder::new(FRAME_BYTES_MAX), held: None };
    if !take_place(&sessions, id) {
        shared.metrics.refuse(Reason::TooManySessions);
        return Box::pin(turn_away(send, input.recv, Reason::TooManySessions)).await;
    }
    // What happens once is boxed here and below: the task keeps the room of all that is not.
    let prepared = match Box::pin(prepare(&mut input, &connection, id, &shared.hub)).await {
        Ok(prepared) => prepared,
        Err(reason) => {
            shared.metrics.refuse(reason);
            sessions.lock().remove(&id);
            Box::pin(turn_away(send, input.recv, reason)).await;
            if reason == Reason::OpenTimeout && sessions.lock().is_empty() {
                connection.close(code(reason), b"no session was opened");
            }
            return;
        }
    };
    let session = prepared.session().clone();
    let place = Place { sessions: &sessions, stream: id };
    let end = serve(&mut input, &mut send, prepared, &place, &handshake, &shared).await;
    // Before the client hears of the end: it may open the next one then.
    sessions.lock().remove(&id);
    match end {
        Ok(()) => {
            // The client may have to be told that nothing is read any more.
            let _ = input.recv.stop(code(session.outbox().ended().unwrap_or(Reason::Normal)));
            let _ = send.finish();
        }
        Err(reason) => {
            let _ = send.reset(code(reason));
        }
    }
    if session.id().is_some() {
        Box::pin(shared.hub.end_session(&session)).await;
    }
    if end.is_ok() {
        // The session is over, but a drain has to wait until the client has the last of it. One
        // that ended by itself may have lost its client, which a drain must not wait for.
        let is_drained = shared.quiesce.is_cancelled();
        let patience = if is_drained { shared.write_timeout } else { CLOSE_TIMEOUT };
        let _ = tokio::time::timeout(patience, send.stopped()).await;
    }
}

/// Awaits the first frame, and whether a session may be opened by it.
async fn prepare(
    input: &mut Input,
    connection: &Connection,
    stream: u64,
    hub: &Hub,
) -> Result<Box<Prepared>, Reason> {
    let open = input.open().await?;
    let (connection, address) = (connection.clone(), connection.remote_address());
    let datagrams = Box::new(SessionDatagrams { connection, stream });
    hub.prepare(open, address, datagrams).await.map(Box::new)
}

/// The place of a session among those of its connection.
struct Place<'a> {
    sessions: &'a Sessions,
    stream: u64,
}

/// Takes the place of one of the sessions that a connection may have.
fn take_place(sessions: &Sessions, stream: u64) -> bool {
    let mut sessions = sessions.lock();
    let has_place = sessions.len() < SESSIONS_PER_CONNECTION_MAX as usize;
    if has_place {
        sessions.insert(stream, None);
    }
    has_place
}

/// Opens the session, and reads and writes until the writer has written the last.
async fn serve(
    input: &mut Input,
    send: &mut SendStream,
    prepared: Box<Prepared>,
    place: &Place<'_>,
    handshake: &Handshake,
    shared: &Shared,
) -> Result<(), Reason> {
    let session = prepared.session().clone();
    let writer = write(send, &session, shared);
    tokio::pin!(writer);
    let is_early = input.recv.is_0rtt() && !handshake.initialized();
    let heard = if is_early {
        let early = Box::pin(input.read_early(&session, shared, handshake));
        tokio::select! {
            heard = early => heard,
            written = &mut writer => return written,
        }
    } else {
        Ok(())
    };
    let (opened, written) = match heard {
        Ok(()) => {
            let open = opening(&shared.hub, prepared);
            let (opened, written) = beside(open, writer.as_mut(), is_early).await;
            (opened.map_err(Ended::Refused), written)
        }
        Err(ended) => (Err(ended), None),
    };
    let reader = async {
        if let Err(ended) = opened {
            if let Ended::Refused(reason) = ended {
                shared.metrics.refuse(reason);
            }
            return ended;
        }
        place.sessions.lock().insert(place.stream, Some(session.clone()));
        input.read(&session, shared).await
    };
    if let Some(written) = written {
        return written;
    }
    tokio::select! {
        ended = reader => {
            match ended {
                // Nobody reads what would be written.
                Ended::Lost => return Err(Reason::Normal),
                Ended::Finished | Ended::Closed | Ended::Quiesced => session.outbox().finish(),
                Ended::Refused(reason) => session.end(reason),
            }
            writer.await
        }
        written = &mut writer => written,
    }
}

/// What opens a session. The box is gone when this returns, not only with the session.
#[expect(clippy::boxed_local, reason = "the caller is a task, which keeps the room of a value")]
fn opening(
    hub: &Hub,
    prepared: Box<Prepared>,
) -> Pin<Box<impl Future<Output = Result<Arc<Session>, Reason>>>> {
    Box::pin(hub.open_session(*prepared))
}

/// Opens a session, which is not to be dropped half way: once submitted, it is open. Answers to
/// what was said early are written meanwhile; the second result is there if that has ended.
async fn beside<O, W>(
    open: impl Future<Output = O>,
    mut writer: Pin<&mut impl Future<Output = W>>,
    is_early: bool,
) -> (O, Option<W>) {
    let mut written = None;
    tokio::pin!(open);
    loop {
        tokio::select! {
            opened = &mut open => return (opened, written),
            end = &mut writer, if is_early && written.is_none() => written = Some(end),
        }
    }
}

/// Writes what the outbox holds, and reads from the inbox when that is empty and the session
/// behind.
async fn write(send: &mut SendStream, session: &Session, shared: &Shared) -> Result<(), Reason> {
    let (outbox, timeout) = (session.outbox(), shared.write_timeout);
    loop {
        match outbox.next() {
            Next::Write(batch) => {
                let written = tokio::time::timeout(timeout, send.write_chunk(batch)).await;
                match written {
                    Ok(Ok(())) => {}
                    Ok(Err(WriteError::Stopped(_))) => return Ok(()),
                    Ok(Err(_)) => return Err(Reason::Normal),
                    Err(_) => {
                        outbox.end(Reason::TooSlow);
                        return Err(Reason::TooSlow);
                    }
                }
            }
            Next::Feed(after) => {
                if let Err(error) = Box::pin(shared.hub.feed(session, after)).await {
                    let error = crate::chain::Chain(&error);
                    tracing::error!(peer = %session.peer(), %error, "cannot read an inbox");
                    session.end(Reason::Internal);
                }
            }
            Next::Wait => outbox.changed().await,
            Next::Finish => return Ok(()),
        }
    }
}

/// Tells why a session cannot be opened.
async fn turn_away(mut send: SendStream, mut recv: RecvStream, reason: Reason) {
    let error = Error { request: 0, reason: reason as u16, text: reason.text().into() };
    let mut frame = bytes::BytesMut::new();
    ServerFrame::Error(error).encode(&mut frame);
    let _ = recv.stop(code(reason));
    let told = async {
        let _ = send.write_chunk(frame.freeze()).await;
        let _ = send.finish();
        let _ = send.stopped().await;
    };
    let _ = tokio::time::timeout(OPEN_TIMEOUT, told).await;
}

/// The reading half of a stream.
struct Input {
    recv: RecvStream,
    decoder: Decoder,
    /// What came early and has to wait for the end of the handshake.
    held: Option<RawFrame>,
}

impl Input {
    /// Reads the first frame.
    async fn open(&mut self) -> Result<Open, Reason> {
        let first = tokio::time::timeout(OPEN_TIMEOUT, self.first_frame()).await;
        match first.map_err(|_| Reason::OpenTimeout)?? {
            ClientFrame::Open(open) => Ok(open),
            _ => Err(Reason::NotOpen),
        }
    }

    async fn first_frame(&mut self) -> Result<ClientFrame, Reason> {
        loop {
            if let Some(raw) = self.decoder.next_frame().map_err(|error| error.reason)? {
                return match ClientFrame::decode(raw) {
                    Err(DecodeError { reason: Reason::UnknownKind, .. }) => Err(Reason::NotOpen),
                    decoded => decoded.map_err(|error| error.reason),
                };
            }
            match self.recv.read_chunk(READ_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.decoder.push(chunk.bytes),
                Ok(None) | Err(_) => return Err(Reason::NotOpen),
            }
        }
    }

    /// Deals with the sends of early data until the handshake is confirmed. They may be a
    /// recording, and then are repeats of what is stored. Whatever else has come waits, and what
    /// is behind it.
    async fn read_early(
        &mut self,
        session: &Arc<Session>,
        shared: &Shared,
        handshake: &Handshake,
    ) -> Result<(), Ended> {
        let confirmed = async {
            tokio::select! {
                confirmed = handshake.wait() => confirmed.then_some(()).ok_or(Ended::Lost),
                () = shared.quiesce.cancelled() => Err(Ended::Quiesced),
            }
        };
        tokio::pin!(confirmed);
        if !shared.hub.hears_early(session).await {
            return confirmed.await;
        }
        loop {
            while let Some(raw) = self.decoder.next_frame().map_err(|e| Ended::Refused(e.reason))? {
                match ClientFrame::decode(raw.clone()) {
                    Ok(send @ ClientFrame::Send(Send { transient: false, .. })) => {
                        shared.hub.handle(session, send).await.map_err(Ended::Refused)?;
                    }
                    _ => {
                        self.held = Some(raw);
                        return confirmed.await;
                    }
                }
            }
            let read = tokio::select! {
                confirmed = &mut confirmed => return confirmed,
                read = self.recv.read_chunk(READ_BYTES_MAX, true) => read,
            };
            match read {
                Ok(Some(chunk)) => self.decoder.push(chunk.bytes),
                // The client has said all; the next to read finds that again.
                Ok(None) => return confirmed.await,
                Err(_) => return Err(Ended::Lost),
            }
        }
    }

    /// Hands frames to the hub until the session is over, or the server stops. A frame that has
    /// been taken is dealt with first, for it may hold the place of its answer.
    async fn read(&mut self, session: &Arc<Session>, shared: &Shared) -> Ended {
        let quiesced = shared.quiesce.cancelled();
        tokio::pin!(quiesced);
        loop {
            match self.handle_all(session, &shared.hub).await {
                Ok(Flow::Continue) => {}
                Ok(Flow::Close) => return Ended::Closed,
                Err(reason) => return Ended::Refused(reason),
            }
            if shared.hub.is_crowded() {
                tokio::task::yield_now().await;
            }
            let read = tokio::select! {
                read = self.recv.read_chunk(READ_BYTES_MAX, true) => read,
                () = &mut quiesced => return Ended::Quiesced,
            };
            match read {
                Ok(Some(chunk)) => match session.outbox().ended() {
                    // The client may say much before it reads that its session is over.
                    Some(reason) => return Ended::Refused(reason),
                    None => self.decoder.push(chunk.bytes),
                },
                Ok(None) => return Ended::Finished,
                Err(ReadError::Reset(_) | ReadError::ConnectionLost(_)) => return Ended::Lost,
                Err(_) => return Ended::Refused(Reason::BadFrame),
            }
        }
    }

    fn next_frame(&mut self) -> Result<Option<RawFrame>, DecodeError> {
        match self.held.take() {
            Some(held) => Ok(Some(held)),
            None => self.decoder.next_frame(),
        }
    }

    /// Deals with all frames that have come.
    async fn handle_all(&mut self, session: &Arc<Session>, hub: &Hub) -> Result<Flow, Reason> {
        while let Some(raw) = self.next_frame().map_err(|error| error.reason)? {
            let request = request_of(&raw);
            let flow = match ClientFrame::decode(raw) {
                Ok(frame) => hub.handle(session, frame).await?,
                // Over a limit, or unknown: the request is refused and the session lives, if
                // there is a request to refuse.
                Err(DecodeError {
                    reason:
                        reason @ (Reason::BodyTooLong
                        | Reason::TooManyRecipients
                        | Reason::TooManyWatched
                        | Reason::BadMetadata
                        | Reason::BadId
                        | Reason::UnknownKind),
                    ..
                }) if request != 0 => {
                    session.reserve_answer().await;
                    hub.refuse(session, request, reason);
                    Flow::Continue
                }
                Err(error) => return Err(error.reason),
            };
            if flow == Flow::Close {
                return Ok(Flow::Close);
            }
        }
        Ok(Flow::Continue)
    }
}
