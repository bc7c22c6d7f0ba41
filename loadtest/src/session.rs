//! One session over one connection of its own: a task that reads, lets its peer speak, and writes.
//!
//! # Invariants
//!
//! * Nothing is said while an earlier write waits for the server, but reading goes on.
//! * A session that ends before its time is counted and its reason kept.

use std::collections::{BTreeSet, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tidings::id::{DeviceFlag, DeviceId, MessageId};
use tidings::limits::{FRAME_BYTES_MAX, PROTOCOL_VERSION};
use tidings::wire::{ClientFrame, Decoder, Open, Opened, ServerFrame};

use crate::peer::{Peer, Work};
use crate::run::{Phase, Run};
use crate::tls::SERVER_NAME;

/// How long a connection and its session may take to open.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Chunks read from a stream under one lock.
const CHUNKS: usize = 16;
/// Times a session reads before it lets others run.
const READS: usize = 4;

/// One session.
pub(crate) struct Session {
    run: Arc<Run>,
    index: u32,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
    decoder: Decoder,
    peer: Peer,
    due: VecDeque<u64>,
    writing: Bytes,
}

impl Session {
    /// Connects and opens the session of the peer `index`.
    ///
    /// # Errors
    ///
    /// Why it could not be opened.
    pub(crate) async fn open(
        run: Arc<Run>,
        endpoint: &Endpoint,
        server: SocketAddr,
        index: u32,
        work: Work,
    ) -> Result<Self, String> {
        let opening = Self::connect(run, endpoint, server, index, work);
        match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(format!("a session did not open within {OPEN_TIMEOUT:?}")),
        }
    }

    async fn connect(
        run: Arc<Run>,
        endpoint: &Endpoint,
        server: SocketAddr,
        index: u32,
        mut work: Work,
    ) -> Result<Self, String> {
        let text = |error: &dyn std::fmt::Display| format!("cannot open a session: {error}");
        let connecting = endpoint.connect(server, SERVER_NAME).map_err(|error| text(&error))?;
        let connection = connecting.await.map_err(|error| text(&error))?;
        let (mut send, mut recv) = connection.open_bi().await.map_err(|error| text(&error))?;
        let mut frame = BytesMut::new();
        open_frame(&run, index, &work)?.encode(&mut frame);
        match &mut work {
            Work::Drain { opened_ns } => *opened_ns = run.now_ns(),
            Work::Restless { due_ns: Some(due_ns) } => {
                run.records.own().asked(*due_ns, &run);
                run.roster.change(index, true, run.now_ns());
            }
            _ => {}
        }
        send.write_chunk(frame.freeze()).await.map_err(|error| text(&error))?;
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        let opened = read_opened(&mut recv, &mut decoder).await?;
        match work {
            Work::Restless { due_ns: Some(due_ns) } => {
                run.records.own().answered(due_ns, run.now_ns(), &run);
            }
            Work::Watch => check_online(&run, &opened)?,
            _ => {}
        }
        let peer = Peer::new(index, &run, work, &opened);
        let (due, writing) = (VecDeque::new(), Bytes::new());
        Ok(Self { run, index, connection, send, recv, decoder, peer, due, writing })
    }

    /// Runs the session, and after it those that the same peer opens whenever its mail says so.
    ///
    /// The first one that ends by itself, or cannot be opened, is the last.
    pub(crate) async fn run_restless(mut self, endpoint: Endpoint, server: SocketAddr) {
        let (run, index) = (self.run.clone(), self.index);
        while self.run(Duration::MAX).await {
            let Some(due_ns) = run.mail[index as usize].next_due(&run).await else { return };
            let work = Work::Restless { due_ns: Some(due_ns) };
            self = match Self::open(run.clone(), &endpoint, server, index, work).await {
                Ok(session) => session,
                Err(why) => return run.broke(why),
            };
        }
    }

    /// Runs the session to its end, which must come within `limit`; says whether it was to end.
    pub(crate) async fn run(mut self, limit: Duration) -> bool {
        let run = self.run.clone();
        let running = async {
            // What came together with Opened.
            self.take_frames(Bytes::new())?;
            poll_fn(|cx| self.poll(cx)).await
        };
        let ended = run.hold(limit, running).await;
        run.mail[self.index as usize].leave(&mut self.due);
        self.connection.close(0u8.into(), b"");
        ended
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        {
            let mut slot = self.run.mail[self.index as usize].take(cx, &mut self.due);
            self.peer.move_at(&mut slot.moved);
        }
        self.peer.follow(self.connection.rtt());
        let over = self.poll_stream(cx);
        let ack_due_ns = self.peer.ack_due_ns();
        self.run.mail[self.index as usize].ack_due.store(ack_due_ns, Ordering::Relaxed);
        match over {
            Err(why) => Poll::Ready(Err(why)),
            Ok(()) if self.peer.is_done() || self.run.phase() == Phase::End => Poll::Ready(Ok(())),
            Ok(()) => Poll::Pending,
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.read(cx)?;
        self.flush(cx)?;
        let mut has_more = true;
        while has_more && self.writing.is_empty() {
            let now_ns = self.run.now_ns();
            let mut record = self.run.records.own();
            has_more = self.peer.speak(&mut self.due, &mut self.run.moment(now_ns, &mut record));
            drop(record);
            self.writing = self.peer.out.split().freeze();
            self.flush(cx)?;
        }
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        for _ in 0..READS {
            let mut chunks = [const { Bytes::new() }; CHUNKS];
            let count = match pin!(self.recv.read_chunks(&mut chunks)).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Some(count))) => count,
                Poll::Ready(Ok(None)) if self.peer.is_done() => return Ok(()),
                Poll::Ready(Ok(None)) => return Err("the server ended a stream".into()),
                Poll::Ready(Err(error)) => return Err(format!("a session broke: {error}")),
            };
            for chunk in &mut chunks[..count] {
                self.take_frames(std::mem::take(chunk))?;
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take_frames(&mut self, chunk: Bytes) -> Result<(), String> {
        let now_ns = self.run.now_ns();
        let mut record = self.run.records.own();
        if !chunk.is_empty() {
            self.decoder.push(chunk);
        }
        while let Some(frame) = self.decoder.next_frame().map_err(|error| error.to_string())? {
            self.peer.take(frame, &mut self.run.moment(now_ns, &mut record))?;
        }
        Ok(())
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        while !self.writing.is_empty() {
            let chunks = std::slice::from_mut(&mut self.writing);
            match pin!(self.send.write_chunks(chunks)).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Err(format!("a session broke: {error}")),
            }
        }
        Ok(())
    }
}

fn open_frame(run: &Run, index: u32, work: &Work) -> Result<ClientFrame, String> {
    let peer = run.names.peer(index);
    let watched = if matches!(work, Work::Watch) { run.roster.watched() } else { 0..0 };
    let open = Open {
        version: PROTOCOL_VERSION,
        app: "".into(),
        device: Some(DeviceId::new(peer.as_str()).map_err(|error| error.to_string())?),
        peer,
        flag: DeviceFlag::App,
        instance: fastrand::u64(1..),
        client: concat!("loadtest/", env!("CARGO_PKG_VERSION")).into(),
        epoch: 0,
        cursor: MessageId::NONE,
        watch: watched.map(|index| run.names.peer(index)).collect(),
        signature: None,
    };
    Ok(open.into())
}

/// Every watched peer must be online when a watcher opens.
fn check_online(run: &Run, opened: &Opened) -> Result<(), String> {
    let watched = run.roster.watched();
    let online: BTreeSet<u32> =
        opened.online.iter().filter_map(|peer| run.names.index(peer.as_str().as_bytes())).collect();
    if online.iter().copied().eq(watched.clone()) && opened.online.len() == online.len() {
        return Ok(());
    }
    let (online, watched) = (opened.online.len(), watched.len());
    Err(format!("a watcher was told that {online} of {watched} peers are online that all are"))
}

async fn read_opened(recv: &mut RecvStream, decoder: &mut Decoder) -> Result<Opened, String> {
    loop {
        let chunk = recv.read_chunk(usize::MAX, true).await;
        let chunk = chunk.map_err(|error| format!("cannot open a session: {error}"))?;
        decoder.push(chunk.ok_or("the server ended a stream before Opened")?.bytes);
        let Some(frame) = decoder.next_frame().map_err(|error| error.to_string())? else {
            continue;
        };
        return match ServerFrame::decode(frame).map_err(|error| error.to_string())? {
            ServerFrame::Opened(opened) => Ok(opened),
            ServerFrame::Error(error) => Err(format!("a session was refused: {}", error.text)),
            other => Err(format!("Opened was expected, not {other:?}")),
        };
    }
}
