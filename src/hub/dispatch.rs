//! The dispatcher: hands out what a commit brought, in log order.
//!
//! # Invariants
//!
//! * All of a commit is in the outboxes before the first writer is woken, so that each writes all
//!   it has in as few packets as can be.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;

use crate::hub::outbox::Pushed;
use crate::hub::router::Router;
use crate::hub::session::{Caller, Session, encode_deliver};
use crate::id::{MessageId, SessionId};
use crate::limits::{BODY_BYTES_MAX, CLIENT_SENDS_MAX, FRAME_BYTES_MAX, RECIPIENTS_MAX};
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::store::{self, Message, Outcome};
use crate::wire::{Closed, Opened, Sent, ServerFrame};

/// The dispatcher's own state.
pub(super) struct Dispatcher {
    router: Arc<Router>,
    metrics: Arc<Metrics>,
    epoch: Arc<OnceLock<u64>>,
    /// The frame being handed out.
    frame: BytesMut,
    /// Sessions whose writers are to be woken.
    woken: Vec<Arc<Session>>,
}

impl Dispatcher {
    pub(super) fn new(
        router: Arc<Router>,
        metrics: Arc<Metrics>,
        epoch: Arc<OnceLock<u64>>,
    ) -> Self {
        Self { router, metrics, epoch, frame: BytesMut::new(), woken: Vec::new() }
    }

    pub(super) fn dispatch(&mut self, outcomes: Vec<Outcome<Caller>>) {
        let mut deliveries = 0;
        for outcome in outcomes {
            match outcome {
                Outcome::Stored { caller, message } => {
                    deliveries += self.deliver(&message);
                    if let Some(caller) = caller {
                        let Message { id, sequence, at_ms, .. } = *message;
                        self.answer_sent(caller, id, sequence, at_ms);
                    }
                }
                Outcome::Repeated { caller, id, sequence, at_ms } => {
                    self.answer_sent(caller, id, sequence, at_ms);
                }
                Outcome::Refused { caller, reason } => {
                    self.metrics.refuse(reason);
                    caller.session.refuse(caller.request, reason);
                }
                Outcome::Overflowed { peer, id } => self.router.visit(&peer, |session| {
                    if session.outbox().acked() < id {
                        session.end(Reason::TooSlow);
                    }
                }),
                Outcome::Opened { caller, opened } => self.open(&caller.session, opened),
                Outcome::Ended { caller } => {
                    // What comes behind this in the log is not for it any more.
                    self.router.detach(&caller.session);
                    let closed = Closed { request: caller.request };
                    caller.session.tell(true, &closed.into());
                }
            }
        }
        self.metrics.deliveries.inc_by(deliveries);
        for session in self.woken.drain(..) {
            session.outbox().wake();
        }
    }

    fn deliver(&mut self, message: &Message) -> u64 {
        let Self { router, frame, woken, .. } = self;
        let mut deliveries = 0;
        frame.clear();
        for peer in &message.to {
            router.visit(peer, |session| {
                if frame.is_empty() {
                    encode_deliver(message, false, frame);
                }
                match session.outbox().deliver(message.id, frame) {
                    Pushed::Wake => woken.push(session.clone()),
                    Pushed::Quiet => {}
                    Pushed::Passed => return,
                }
                deliveries += 1;
            });
        }
        deliveries
    }

    fn answer_sent(&mut self, caller: Caller, id: MessageId, sequence: u32, at_ms: i64) {
        let Caller { session, request } = caller;
        let sent = ServerFrame::Sent(Sent { request, id, sequence, at_ms: at_ms as u64 });
        let pushed = session.outbox().push(true, |out| sent.encode(out));
        session.outbox().wake_room();
        if pushed == Pushed::Wake {
            self.woken.push(session);
        }
    }

    fn open(&mut self, session: &Arc<Session>, opened: store::Opened) {
        if let Some(replaced) = opened.replaced {
            self.replace(session, replaced);
        }
        let frame = Opened {
            session: opened.session,
            epoch: self.epoch.wait().to_owned(),
            device: opened.device.clone(),
            next_number: opened.next_number,
            waiting: opened.waiting as u64,
            dropped: opened.loss.count,
            at_ms: opened.at_ms as u64,
            online: Vec::new(),
            frame_bytes_max: FRAME_BYTES_MAX as u64,
            body_bytes_max: BODY_BYTES_MAX as u64,
            recipients_max: RECIPIENTS_MAX as u64,
            sends_max: CLIENT_SENDS_MAX as u64,
        };
        session.tell(false, &frame.into());
        self.router.attach(session);
        session.open(&opened);
        session.outbox().wake();
    }

    /// Ends the session that a device had until now.
    fn replace(&self, session: &Session, replaced: SessionId) {
        let mut older = None;
        self.router.visit(session.peer(), |other| {
            if other.id() == Some(replaced) {
                older = Some(other.clone());
            }
        });
        if let Some(older) = older {
            self.router.detach(&older);
            older.end(Reason::Replaced);
        }
    }
}
