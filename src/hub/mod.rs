//! Who is connected, and who gets what. The hub decides; it holds no socket.
//!
//! A request of a session becomes an entry of the log; when that is durable, the dispatcher puts
//! the answer and the deliveries into the outboxes, and only then wakes their writers.
//!
//! # Invariants
//!
//! * Nobody is handed a message that the disk does not have, nor is its sender told of it.
//! * One commit wakes each writer once, however much it brings.
//! * A message is encoded once for all its recipients.
//!
//! Lock order: that of `presence.rs`; an outbox's lock is the last. None is held while anything is
//! awaited.

mod app;
mod backend;
mod dispatch;
mod frames;
mod grouping;
mod lane;
mod looking;
mod open_groups;
mod outbox;
mod posting;
mod presence;
mod router;
mod sending;
mod session;
mod signing;
mod vetting;
mod watching;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::TryFutureExt;
use tokio::sync::oneshot;

pub use backend::SessionStatus;
pub use outbox::{Next, Outbox, Pushed};
pub use posting::{Audience, Post, Posted, PostedMessage, Reach, Recipient};
pub use router::Router;
pub use session::{About, Caller, Datagrams, Session};
pub use vetting::Veto;

use crate::id::{DeviceId, MessageId, PeerId};
use crate::limits::{
    FEED_MESSAGES_MAX, PRESENCE_GRACE, PRESENCE_RESTART_GRACE, RECONNECT_JITTER, SYSTEM_PEER,
};
use crate::metrics::Metrics;
use crate::presend::PreSend;
use crate::reason::Reason;
use crate::signature::{Keys, Signatures};
use crate::store::{self, Journal, Loss, Opening, ReadError, Request, Store};
use crate::wire::{ClientFrame, Dropped, GoAway, Open, Pong, ServerFrame};
use dispatch::Dispatcher;
use frames::{How, encode_item};
use open_groups::OpenGroups;
use outbox::Acked;
use presence::Presence;
use session::{Asks, Done, Fed, Who};

/// What can be set about the hub.
#[derive(Clone, Debug)]
pub struct Options {
    /// The app that is served; empty for whichever a client names.
    pub app_id: String,
    /// The peer that the app's back end speaks as when it names none; nobody opens it.
    pub system: PeerId,
    /// Whether a client may bind an alias to its device.
    pub client_aliases: bool,
    /// Shards of the router, a power of two.
    pub shards: usize,
    /// Whether signatures are asked for.
    pub signatures: Signatures,
    /// What signatures are checked with; there unless they are off.
    pub keys: Option<Arc<Keys>>,
    /// Whether a peer must watch those it sends to, where signatures are enforced.
    pub watch_before_send: bool,
    /// How long a peer that lost its last session still counts as online.
    pub presence_grace: Duration,
    /// How long after a start those who were online before it still count as online.
    pub presence_restart_grace: Duration,
    /// Whom to ask before a message of a client is sent.
    pub pre_send: Option<Arc<dyn PreSend>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            app_id: String::new(),
            system: PeerId::new(SYSTEM_PEER).expect("a short word without a colon is an id"),
            client_aliases: true,
            shards: 16,
            signatures: Signatures::Off,
            keys: None,
            watch_before_send: true,
            presence_grace: PRESENCE_GRACE,
            presence_restart_grace: PRESENCE_RESTART_GRACE,
            pre_send: None,
        }
    }
}

/// What becomes of a session after a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It logs out: answer what is open, then end.
    Close,
}

/// The handle that every edge holds.
pub struct Hub {
    store: Arc<Store<Caller>>,
    router: Arc<Router>,
    presence: Arc<Presence>,
    options: Options,
    metrics: Arc<Metrics>,
    open_groups: Arc<OpenGroups>,
    /// The last position of the log that has been dispatched.
    head: Arc<AtomicI64>,
    is_draining: AtomicBool,
}

impl Hub {
    /// Opens the store and starts dispatching. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Those of [`Store::open`].
    pub fn open(
        options: Options,
        store: store::Options,
        metrics: Arc<Metrics>,
    ) -> Result<Self, store::OpenError> {
        let store = store::Options { restart_grace: options.presence_restart_grace, ..store };
        let router = Arc::new(Router::new(options.shards));
        let head = Arc::new(AtomicI64::new(0));
        let epoch = Arc::new(std::sync::OnceLock::new());
        let (grace, restart_grace) = (options.presence_grace, options.presence_restart_grace);
        let presence = Arc::new(Presence::new(router.clone(), grace, restart_grace));
        let open_groups = Arc::new(OpenGroups::default());
        let mut dispatcher = Dispatcher::new(
            router.clone(),
            presence.clone(),
            open_groups.clone(),
            metrics.clone(),
            epoch.clone(),
        );
        let dispatched = head.clone();
        let store = Store::open(store, metrics.clone(), move |outcomes, last| {
            dispatcher.dispatch(outcomes);
            dispatched.store(last.0, Ordering::Release);
        })?;
        let store = Arc::new(store);
        let _ = epoch.set(store.epoch());
        head.fetch_max(store.report().head.0, Ordering::AcqRel);
        let is_draining = AtomicBool::new(false);
        Ok(Self { store, router, presence, options, metrics, open_groups, head, is_draining })
    }

    /// The store behind the hub.
    pub fn store(&self) -> &Store<Caller> {
        &self.store
    }

    /// The log, as webhooks see it.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.store.clone()
    }

    /// Checks whether a session may be opened; nothing has happened yet.
    ///
    /// # Errors
    ///
    /// The reason that the client is told.
    pub async fn prepare(
        &self,
        open: Open,
        address: SocketAddr,
        datagrams: Box<dyn Datagrams>,
    ) -> Result<Prepared, Reason> {
        if self.is_draining.load(Ordering::Relaxed) {
            return Err(Reason::Restarting);
        }
        if open.peer == self.options.system {
            return Err(Reason::Reserved);
        }
        if !self.options.app_id.is_empty() && open.app.as_str() != self.options.app_id {
            return Err(Reason::WrongApp);
        }
        let device = open.device.unwrap_or_else(DeviceId::random);
        let is_ours = open.epoch == self.store.epoch();
        let head = MessageId(self.head.load(Ordering::Acquire));
        let cursor = if is_ours && open.cursor <= head { open.cursor } else { MessageId::NONE };
        // A copy: the text as it was read would keep the packet that it came in.
        let client = open.client.as_str().into();
        let about = About { flag: open.flag, client, address };
        let (peer, instance) = (open.peer.clone(), open.instance);
        let session = Session::new(peer, device.clone(), instance, about, datagrams);
        let session = Arc::new(session);
        self.check_open(&session, &open.watch, open.signature.as_ref()).await?;
        let opening = Opening {
            peer: open.peer,
            device,
            flag: open.flag,
            instance: open.instance,
            client: open.client.as_str().to_owned(),
            address: address.to_string(),
            cursor,
        };
        Ok(Prepared { session, opening, watch: open.watch })
    }

    /// Opens a session; returns when it is open.
    ///
    /// # Errors
    ///
    /// The reason that the client is told.
    pub async fn open_session(&self, prepared: Prepared) -> Result<Arc<Session>, Reason> {
        let Prepared { session, opening, watch } = prepared;
        let were_online = self.were_online(&watch).await?;
        let asks = Asks::Open { watch, were_online };
        let caller = Caller::session(&session, 0, asks);
        self.submit(Some(caller), Request::Open(opening)).await?;
        session.opened().await?;
        self.metrics.sessions.inc();
        Ok(session)
    }

    /// A session has ended, other than by a Close.
    pub async fn end_session(&self, session: &Arc<Session>) {
        self.metrics.sessions.dec();
        if let Some(reason) = session.outbox().ended() {
            self.metrics.end(reason);
        }
        self.leave_open_group(session);
        self.presence.leave(session);
        let was_attached = self.presence.detach(session, false);
        if was_attached && !self.is_draining.load(Ordering::Relaxed) {
            self.note_end(None, session, false).await;
        }
    }

    async fn note_end(&self, caller: Option<Caller>, session: &Session, closed: bool) {
        let Some(id) = session.id() else { return };
        let (peer, device) = (session.peer().clone(), session.device().clone());
        let end = Request::End { peer, device, session: id, closed };
        // It fails only while the server stops, which ends every session anyway.
        let _ = self.submit(caller, end).await;
    }

    /// Does what a frame asks for.
    ///
    /// Waits while the session does not read its answers, or the commit queue is full; meanwhile
    /// nothing more is read from the client. An idle session keeps the room that this takes, so
    /// what is rare takes its own while it is under way.
    ///
    /// # Errors
    ///
    /// The reason for which the session has to end.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
    pub fn handle(
        &self,
        session: &Arc<Session>,
        frame: ClientFrame,
    ) -> impl Future<Output = Result<Flow, Reason>> {
        async move {
            match frame {
                ClientFrame::Send(send) if send.transient => {
                    let request = send.request;
                    let sent = Box::pin(self.send_transient(session, send, false)).await;
                    if let (Err(Veto { reason, text }), 1..) = (sent, request) {
                        session.reserve_answer().await;
                        self.metrics.refuse(reason);
                        session.refuse_with(request, reason, text);
                    }
                }
                ClientFrame::Send(send) => self.send(session, send).await?,
                ClientFrame::Ack(ack) => match session.outbox().acknowledge(ack.id) {
                    Acked::New => {
                        let (peer, device) = (session.peer().clone(), session.device().clone());
                        self.submit(None, Request::Ack { peer, device, id: ack.id }).await?;
                    }
                    Acked::Repeated => {}
                    Acked::Future => return Err(Reason::AckOfFuture),
                },
                ClientFrame::Close(close) => {
                    session.reserve_answer().await;
                    let caller = Caller::session(session, close.request, Asks::Close);
                    Box::pin(self.note_end(Some(caller), session, true)).await;
                    return Ok(Flow::Close);
                }
                ClientFrame::Open(_) => return Err(Reason::AlreadyOpen),
                request => {
                    session.reserve_answer().await;
                    let number = request.request();
                    if let Err(reason) = Box::pin(self.request(session, request)).await {
                        self.refuse(session, number, reason);
                    }
                }
            }
            Ok(Flow::Continue)
        }
    }

    /// Does what a request asks for that has a place for its answer.
    ///
    /// # Errors
    ///
    /// The reason for which it is refused.
    async fn request(&self, session: &Arc<Session>, request: ClientFrame) -> Result<(), Reason> {
        match request {
            ClientFrame::Ping(ping) => {
                let at_ms = self.store.clock().now_ms() as u64;
                session.tell(true, &Pong { request: ping.request, at_ms }.into());
                Ok(())
            }
            ClientFrame::Watch(watch) => self.watch(session, watch).await,
            ClientFrame::Unwatch(unwatch) => {
                self.unwatch(session, &unwatch);
                Ok(())
            }
            ClientFrame::Status(status) => self.status(session, status).await,
            ClientFrame::ReadUpTo(read) => self.read_up_to(session, read).await,
            ClientFrame::Recall(recall) => self.recall(session, recall).await,
            ClientFrame::History(history) => self.history(session, history).await,
            ClientFrame::Conversations(ask) => self.conversations(session, ask).await,
            ClientFrame::Devices(ask) => self.devices(session, ask).await,
            ClientFrame::Join(join) => self.join(session, join).await,
            ClientFrame::Leave(leave) => self.leave(session, leave).await,
            ClientFrame::Invite(invite) => self.invite(session, invite).await,
            ClientFrame::Kick(kick) => self.kick(session, kick).await,
            ClientFrame::Members(members) => self.members(session, members).await,
            ClientFrame::Edit(edit) => self.edit(session, edit).await,
            ClientFrame::BindAlias(ask) => self.bind_alias(session, ask).await,
            ClientFrame::UnbindAlias(ask) => self.unbind_alias(session, ask).await,
            ClientFrame::Upstream(message) => self.upstream(session, message).await,
            // The others are no requests, and have been dealt with.
            _ => Err(Reason::UnknownKind),
        }
    }

    /// Hands a request to the store, and waits for what becomes of it.
    ///
    /// # Cancel safety
    ///
    /// Whoever stops to wait does not know whether it has happened.
    async fn ask(&self, request: Request) -> Result<Done, Reason> {
        let done = self.begin(request).await?;
        // It is dropped only when the store fails.
        done.await.unwrap_or(Err(Reason::Restarting))
    }

    /// Hands a request to the store; what becomes of it comes later.
    async fn begin(
        &self,
        request: Request,
    ) -> Result<oneshot::Receiver<Result<Done, Reason>>, Reason> {
        let (done_tx, done) = oneshot::channel();
        self.submit(Some(Caller(Who::Waits(done_tx))), request).await?;
        Ok(done)
    }

    fn submit(
        &self,
        caller: Option<Caller>,
        request: Request,
    ) -> impl Future<Output = Result<(), Reason>> {
        self.store.submit(caller, request).map_err(|_| Reason::Restarting)
    }

    /// Whether sessions should take turns: see [`Store::is_crowded`].
    pub fn is_crowded(&self) -> bool {
        self.store.is_crowded()
    }

    /// Tells that a request is refused.
    pub fn refuse(&self, session: &Session, request: u64, reason: Reason) {
        self.metrics.refuse(reason);
        session.refuse(request, reason);
    }

    /// Puts the next part of what waits for a session into its outbox.
    ///
    /// # Errors
    ///
    /// When the store is closed or cannot be read.
    pub async fn feed(&self, session: &Session, after: MessageId) -> Result<(), ReadError> {
        let (peer, device) = (session.peer(), Some(session.device()));
        let waiting = self.store.waiting(peer, device, after, FEED_MESSAGES_MAX).await?;
        let now_ms = self.store.clock().now_ms();
        let mut frames = BytesMut::new();
        let mut fed: Vec<Fed> = Vec::with_capacity(waiting.items.len());
        for item in &waiting.items {
            if item.expires_ms() == 0 || item.expires_ms() > now_ms {
                let start = frames.len();
                encode_item(item, How::Waited, &mut frames);
                fed.push((item.id(), start..frames.len()));
            }
        }
        self.metrics.deliveries.inc_by(fed.len() as u64);
        if waiting.loss.count > 0 {
            let start = frames.len();
            let Loss { count, id } = waiting.loss;
            ServerFrame::Dropped(Dropped { count, id }).encode(&mut frames);
            let behind = fed.partition_point(|(other, _)| *other < id);
            fed.insert(behind, (id, start..frames.len()));
        }
        let caught_up = waiting.is_all.then_some(waiting.head);
        let frames = fed.iter().map(|(id, range)| (*id, &frames[range.clone()]));
        session.outbox().feed(frames, waiting.last, caught_up);
        Ok(())
    }

    /// Asks every client to come back later, and opens no session any more.
    pub fn go_away(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.router.visit_all(|session| {
            let wait = Duration::from_secs_f64(RECONNECT_JITTER.as_secs_f64() * fastrand::f64());
            let go_away = GoAway {
                reason: Reason::Restarting,
                wait_ms: wait.as_millis() as u64,
                text: Reason::Restarting.text().into(),
            };
            session.tell(false, &go_away.into());
        });
    }
}

/// A session that may be opened.
#[derive(Debug)]
pub struct Prepared {
    session: Arc<Session>,
    opening: Opening,
    watch: Vec<PeerId>,
}

impl Prepared {
    /// The session, which is not open yet.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}
