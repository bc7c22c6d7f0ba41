//! The floor: a relay over raw QUIC, with no log, no storage and no routing.
//!
//! It speaks the frames of `tidings/1`, but a Send is only answered and handed to its recipient,
//! whose number stands in its name. What the sessions say within one pace is handed out together,
//! as a server that commits in groups does: first everything goes into the outboxes, then the
//! sessions are woken. What it costs is what the transport costs.
//!
//! # Invariants
//!
//! * Ids rise in the order in which frames are collected, so they rise within every session.
//! * A session's task writes all that waits for it at once.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use quinn::{Incoming, RecvStream, SendStream};
use tidings::id::{DeviceId, SessionId};
use tidings::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, RECIPIENTS_MAX, SENDS_REMEMBERED};
use tidings::wire::{ClientFrame, Decoder, Opened, Pong, RawFrame, ServerFrame, kind};

use crate::frames::{self, SendView};
use crate::link;
use crate::names::index_in;

/// Chunks read from a stream under one lock.
const CHUNKS: usize = 16;
/// Times a session reads before it lets others run.
const READS: usize = 4;

/// Runs a relay for `peers` peers until standard input ends.
///
/// # Errors
///
/// When the system gives no socket.
pub(crate) async fn run(peers: u32, pace: Duration) -> Result<(), String> {
    let (endpoint, fingerprint) = link::server()?;
    let address = endpoint.local_addr().map_err(|error| error.to_string())?;
    let relay = Arc::new(Relay::new(peers));
    let pacer = std::thread::Builder::new()
        .name("relay-pacer".into())
        .spawn({
            let relay = relay.clone();
            move || relay.hand_out_for_ever(pace)
        })
        .map_err(|error| format!("cannot start the pacer: {error}"))?;
    relay.pacer.set(pacer.thread().clone()).map_err(|_| "two pacers")?;
    println!("ready: listening on {address}, fingerprint {fingerprint}");
    std::io::stdout().flush().map_err(|error| error.to_string())?;

    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let accept = async {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(serve(incoming, relay.clone()));
        }
    };
    tokio::select! {
        _ = parent => Ok(()),
        () = accept => Err("the relay's endpoint closed".into()),
    }
}

async fn serve(incoming: Incoming, relay: Arc<Relay>) {
    let Ok(connection) = incoming.await else { return };
    while let Ok((send, recv)) = connection.accept_bi().await {
        tokio::spawn(Session::new(relay.clone(), send, recv).run());
    }
}

/// What all sessions share.
struct Relay {
    outboxes: Box<[Mutex<Outbox>]>,
    collector: Mutex<Collector>,
    pacer: OnceLock<Thread>,
    /// The pacer waits for a first frame.
    idle: AtomicBool,
}

/// Frames on their way to one session.
#[derive(Default)]
struct Outbox {
    bytes: BytesMut,
    /// The session's task, when it waits for frames.
    waker: Option<Waker>,
}

/// What the sessions have said since the last hand-out.
#[derive(Default)]
struct Collector {
    last_id: u64,
    frames: Frames,
}

/// Encoded frames of many sessions.
#[derive(Default)]
struct Frames {
    bytes: BytesMut,
    /// For whom, and where the frame ends in `bytes`.
    parts: Vec<(u32, usize)>,
}

impl Relay {
    fn new(peers: u32) -> Self {
        Self {
            outboxes: (0..peers).map(|_| Mutex::default()).collect(),
            collector: Mutex::default(),
            pacer: OnceLock::new(),
            idle: AtomicBool::new(false),
        }
    }

    fn hand_out_for_ever(&self, pace: Duration) {
        let mut frames = Frames::default();
        let mut wakers = Vec::new();
        loop {
            let started = Instant::now();
            std::mem::swap(&mut self.collector.lock().frames, &mut frames);
            if frames.parts.is_empty() {
                self.wait_for_frames();
                continue;
            }
            self.hand_out(&mut frames, &mut wakers);
            std::thread::sleep(pace.saturating_sub(started.elapsed()));
        }
    }

    fn wait_for_frames(&self) {
        self.idle.store(true, Ordering::SeqCst);
        if self.collector.lock().frames.parts.is_empty() {
            std::thread::park();
        }
        self.idle.store(false, Ordering::SeqCst);
    }

    fn hand_out(&self, frames: &mut Frames, wakers: &mut Vec<Waker>) {
        let mut start = 0;
        for (to, end) in frames.parts.drain(..) {
            let mut outbox = self.outboxes[to as usize].lock();
            outbox.bytes.extend_from_slice(&frames.bytes[start..end]);
            wakers.extend(outbox.waker.take());
            start = end;
        }
        frames.bytes.clear();
        wakers.drain(..).for_each(Waker::wake);
    }

    fn wake_pacer(&self) {
        if self.idle.load(Ordering::SeqCst)
            && let Some(pacer) = self.pacer.get()
        {
            pacer.unpark();
        }
    }
}

impl Frames {
    fn end(&mut self, to: u32) {
        self.parts.push((to, self.bytes.len()));
    }
}

/// One session: one stream, one task.
struct Session {
    relay: Arc<Relay>,
    send: SendStream,
    recv: RecvStream,
    decoder: Decoder,
    peer: Peer,
    writing: Bytes,
}

/// The session is over.
struct Over;

impl Session {
    fn new(relay: Arc<Relay>, send: SendStream, recv: RecvStream) -> Self {
        let decoder = Decoder::new(FRAME_BYTES_MAX);
        Self { relay, send, recv, decoder, peer: Peer::default(), writing: Bytes::new() }
    }

    async fn run(mut self) {
        let Over = poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        if self.read(cx).is_err() || self.write(cx).is_err() {
            return Poll::Ready(Over);
        }
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        for _ in 0..READS {
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            let count = match pin!(self.recv.read_chunks(&mut chunks)).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Some(count))) => count,
                Poll::Ready(_) => return Err(Over),
            };
            let at_ms = unix_ms();
            let mut collector = self.relay.collector.lock();
            for chunk in &mut chunks[..count] {
                self.decoder.push(std::mem::take(chunk));
                while let Some(frame) = self.decoder.next_frame().map_err(|_| Over)? {
                    let peers = self.relay.outboxes.len() as u32;
                    self.peer.take(frame, at_ms, peers, &mut collector).ok_or(Over)?;
                }
            }
            drop(collector);
            self.relay.wake_pacer();
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let Some((index, _)) = self.peer.opened else { return Ok(()) };
        loop {
            if self.writing.is_empty() {
                let mut outbox = self.relay.outboxes[index as usize].lock();
                if outbox.bytes.is_empty() {
                    outbox.waker = Some(cx.waker().clone());
                    return Ok(());
                }
                self.writing = outbox.bytes.split().freeze();
            }
            let chunks = std::slice::from_mut(&mut self.writing);
            match pin!(self.send.write_chunks(chunks)).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(written) => written.map_err(|_| Over)?,
            };
        }
    }
}

/// What a session knows of its peer.
#[derive(Default)]
struct Peer {
    /// Its place among the outboxes and its name, once it has opened.
    opened: Option<(u32, Bytes)>,
}

impl Peer {
    /// Collects the answer to a frame, and what it delivers; `None` ends the session.
    fn take(
        &mut self,
        frame: RawFrame,
        at_ms: u64,
        peers: u32,
        collector: &mut Collector,
    ) -> Option<()> {
        let Collector { last_id, frames } = collector;
        match (frame.kind, &self.opened) {
            (kind::SEND, Some((index, name))) => {
                let send = SendView::read(&frame.fields)?;
                let to = index_in(send.to).filter(|to| *to < peers)?;
                *last_id += 1;
                let sequence = *last_id & u64::from(u32::MAX);
                frames::put_sent(&mut frames.bytes, send.request, *last_id, sequence, at_ms);
                frames.end(*index);
                frames::put_deliver(&mut frames.bytes, *last_id, sequence, at_ms, name, &send);
                frames.end(to);
            }
            (kind::ACK, Some(_)) => {}
            _ => {
                let answer = self.answer(ClientFrame::decode(frame).ok()?, at_ms, peers)?;
                answer.encode(&mut frames.bytes);
                frames.end(self.opened.as_ref()?.0);
            }
        }
        Some(())
    }

    /// The answer to a frame other than Send and Ack.
    fn answer(&mut self, frame: ClientFrame, at_ms: u64, peers: u32) -> Option<ServerFrame> {
        match (frame, &self.opened) {
            (ClientFrame::Open(open), None) => {
                let name = Bytes::copy_from_slice(open.peer.as_str().as_bytes());
                let index = index_in(&name).filter(|index| *index < peers)?;
                self.opened = Some((index, name));
                let device = open.device.unwrap_or_else(DeviceId::random);
                Some(opened(i64::from(index) + 1, device, at_ms).into())
            }
            (ClientFrame::Ping(ping), Some(_)) => {
                Some(Pong { request: ping.request, at_ms }.into())
            }
            _ => None,
        }
    }
}

fn opened(session: i64, device: DeviceId, at_ms: u64) -> Opened {
    Opened {
        session: SessionId(session),
        epoch: 1,
        device,
        next_number: 1,
        waiting: 0,
        dropped: 0,
        at_ms,
        online: Vec::new(),
        frame_bytes_max: FRAME_BYTES_MAX as u64,
        body_bytes_max: BODY_BYTES_MAX as u64,
        recipients_max: RECIPIENTS_MAX as u64,
        sends_max: SENDS_REMEMBERED as u64,
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
