//! One QUIC connection: each stream that the client opens is a session.
//!
//! # Invariants
//!
//! * A connection on which no session is opened in time is closed.
//! * Streams are taken at a bounded rate; QUIC grants no further ones for those that wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::SetOnce;

use crate::hub::{Datagrams, Session};
use crate::limits::OPEN_TIMEOUT;
use crate::net::turns::Turns;
use crate::net::{STREAMS_MAX, Shared, code, session};
use crate::reason::Reason;
use crate::wire::{ClientFrame, Decoder, datagram_stream, put_datagram_stream};

/// The sessions of a connection, by stream; `None` while one opens.
pub(super) type Sessions = Arc<Mutex<HashMap<u64, Option<Arc<Session>>>>>;

/// Whether the handshake of a connection was confirmed; unknown until it is over.
pub(super) type Handshake = Arc<SetOnce<bool>>;

/// Serves a connection until it is over.
pub(super) async fn serve(connection: Connection, shared: &Arc<Shared>, handshake: &Handshake) {
    let sessions = Sessions::default();
    let too_late = async {
        handshake.wait().await;
        tokio::time::sleep(OPEN_TIMEOUT).await;
    };
    let mut next = tokio::select! {
        first = connection.accept_bi() => first,
        () = too_late => {
            return connection.close(code(Reason::OpenTimeout), b"no session was opened");
        }
    };
    let (mut streams, mut turns) = (0_u64, Turns::default());
    while let Ok((send, recv)) = next {
        let (connection_too, handshake) = (connection.clone(), handshake.clone());
        let stream = session::Stream { connection: connection_too, send, recv, handshake };
        shared.sessions.spawn(session::run(stream, shared.clone(), sessions.clone()));
        streams += 1;
        turns.take(Instant::now());
        if streams == 2 {
            // Who wants more than one session may have them all.
            connection.set_max_concurrent_bi_streams(VarInt::from_u32(STREAMS_MAX));
        }
        next = loop {
            tokio::select! {
                next = accept_in_turn(&connection, &turns) => break next,
                datagram = connection.read_datagram() => match datagram {
                    Ok(datagram) => Box::pin(receive_datagram(datagram, shared, &sessions)).await,
                    Err(error) => break Err(error),
                },
            }
        };
    }
}

/// The next stream of the client, once it is its turn. Cancel safe.
async fn accept_in_turn(
    connection: &Connection,
    turns: &Turns,
) -> Result<(SendStream, RecvStream), ConnectionError> {
    let wait = turns.wait(Instant::now());
    if !wait.is_zero() {
        // Boxed, for it is rare, and the task of each connection would keep its room.
        Box::pin(tokio::time::sleep(wait)).await;
    }
    connection.accept_bi().await
}

/// A transient Send that rides a datagram. What is wrong with it is passed over, as a datagram
/// that never came would be.
async fn receive_datagram(mut datagram: Bytes, shared: &Shared, sessions: &Sessions) {
    let Ok(stream) = datagram_stream(&mut datagram) else { return };
    let mut decoder = Decoder::new(datagram.len());
    decoder.push(datagram);
    let Ok(Some(raw)) = decoder.next_frame() else { return };
    let Ok(ClientFrame::Send(send)) = ClientFrame::decode(raw) else { return };
    let session = sessions.lock().get(&stream).cloned().flatten();
    let may_send = |session: &Arc<Session>| send.transient && session.outbox().ended().is_none();
    if let Some(session) = session.filter(may_send) {
        let _ = shared.hub.send_transient(&session, send, true).await;
    }
}

/// The datagrams of one session of a connection.
pub(super) struct SessionDatagrams {
    pub(super) connection: Connection,
    pub(super) stream: u64,
}

impl Datagrams for SessionDatagrams {
    fn send(&self, frame: &[u8]) -> bool {
        let fits = |max: usize| frame.len() + 8 <= max;
        if !self.connection.max_datagram_size().is_some_and(fits) {
            return false;
        }
        let mut datagram = BytesMut::with_capacity(frame.len() + 8);
        put_datagram_stream(&mut datagram, self.stream);
        datagram.extend_from_slice(frame);
        self.connection.send_datagram(datagram.freeze()).is_ok()
    }
}
