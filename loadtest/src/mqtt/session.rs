//! One session over one connection of its own: a task that reads, lets its peer speak, and writes.
//!
//! # Invariants
//!
//! * What is said in one turn goes out in one write, acknowledgements included.
//! * Nothing is said while an earlier write waits for the broker, but reading goes on.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::mqttbytes::v4::Packet;
use tidings::limits::KEEP_ALIVE;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::peer::Peer;
use super::{Broker, Line};
use crate::peer::Work;
use crate::run::{Phase, Run};

/// How long a connection and its session may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How long saying farewell may take.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes read at a time at least.
const READ_BYTES: usize = 16 * 1024;
/// Times a session reads before it lets others run.
const READS: usize = 4;
/// Bytes of a packet; what is longer is none of this program's.
const PACKET_BYTES_MAX: usize = 16 * 1024;

/// One session.
pub(crate) struct Session {
    run: Arc<Run>,
    index: u32,
    line: Box<dyn Line>,
    peer: Peer,
    due: VecDeque<u64>,
    input: BytesMut,
    writing: BytesMut,
    keep_alive: Interval,
}

impl Session {
    /// Connects and opens the session of the peer `index`.
    ///
    /// # Errors
    ///
    /// Why it could not be opened.
    pub(crate) async fn open(
        run: Arc<Run>,
        broker: &Broker,
        index: u32,
        work: Work,
    ) -> Result<Self, String> {
        match tokio::time::timeout(OPEN_TIMEOUT, Self::connect(run, broker, index, work)).await {
            Ok(opened) => opened.map_err(|why| format!("cannot open a session: {why}")),
            Err(_) => Err(format!("a session did not open within {OPEN_TIMEOUT:?}")),
        }
    }

    async fn connect(
        run: Arc<Run>,
        broker: &Broker,
        index: u32,
        work: Work,
    ) -> Result<Self, String> {
        let line = broker.connect().await?;
        let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let peer = Peer::new(index, &run, work)?;
        let (due, input, writing) = (VecDeque::new(), BytesMut::new(), BytesMut::new());
        let mut session = Self { run, index, line, peer, due, input, writing, keep_alive };
        let text = |error: std::io::Error| error.to_string();
        while !session.peer.is_open() {
            let out = session.peer.out.split();
            session.line.write_all(&out).await.map_err(text)?;
            session.line.flush().await.map_err(text)?;
            session.input.reserve(READ_BYTES);
            if session.line.read_buf(&mut session.input).await.map_err(text)? == 0 {
                return Err("the broker closed the connection".into());
            }
            session.take_packets()?;
        }
        Ok(session)
    }

    /// Runs the session to its end, which must come within `limit`; says whether it was to end.
    pub(crate) async fn run(mut self, limit: Duration) -> bool {
        let run = self.run.clone();
        let ended = run.hold(limit, poll_fn(|cx| self.poll(cx))).await;
        run.mail[self.index as usize].leave(&mut self.due);
        if ended {
            // The broker may be gone by now.
            let _ = tokio::time::timeout(FAREWELL_TIMEOUT, self.say_farewell()).await;
        }
        ended
    }

    async fn say_farewell(&mut self) -> std::io::Result<()> {
        self.peer.say_farewell();
        self.writing.unsplit(self.peer.out.split());
        self.line.write_all(&self.writing).await?;
        self.line.shutdown().await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        drop(self.run.mail[self.index as usize].take(cx, &mut self.due));
        match self.poll_line(cx) {
            Err(why) => Poll::Ready(Err(why)),
            Ok(()) if self.peer.is_done() || self.run.phase() == Phase::End => Poll::Ready(Ok(())),
            Ok(()) => Poll::Pending,
        }
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.read(cx)?;
        self.flush(cx)?;
        if !self.writing.is_empty() {
            return Ok(());
        }
        while self.keep_alive.poll_tick(cx).is_ready() {
            self.peer.ping();
        }
        let now_ns = self.run.now_ns();
        self.peer
            .speak(&mut self.due, &mut self.run.moment(now_ns, &mut self.run.records.own()))?;
        std::mem::swap(&mut self.writing, &mut self.peer.out);
        self.flush(cx)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        for _ in 0..READS {
            self.input.reserve(READ_BYTES);
            match pin!(self.line.read_buf(&mut self.input)).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err("the broker ended a session".into()),
                Poll::Ready(Ok(_)) => self.take_packets()?,
                Poll::Ready(Err(error)) => return Err(format!("a session broke: {error}")),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take_packets(&mut self) -> Result<(), String> {
        let now_ns = self.run.now_ns();
        let mut record = self.run.records.own();
        while !self.input.is_empty() {
            match Packet::read(&mut self.input, PACKET_BYTES_MAX) {
                Ok(packet) => self.peer.take(packet, &mut self.run.moment(now_ns, &mut record))?,
                Err(Error::InsufficientBytes(_)) => return Ok(()),
                Err(error) => return Err(format!("a packet cannot be read: {error}")),
            }
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        let broke = |error: std::io::Error| format!("a session broke: {error}");
        while !self.writing.is_empty() {
            match Pin::new(&mut self.line).poll_write(cx, &self.writing) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err("the broker ended a session".into()),
                Poll::Ready(Ok(written)) => drop(self.writing.split_to(written)),
                Poll::Ready(Err(error)) => return Err(broke(error)),
            }
        }
        // TLS may hold back what it has taken; there is nothing to be done while it does.
        match Pin::new(&mut self.line).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(broke(error)),
            _ => Ok(()),
        }
    }
}
