//! The dispatcher: hands out what a commit brought, in log order.
//!
//! # Invariants
//!
//! * All of a commit is in the outboxes before the first writer is woken, so that each writes all
//!   it has in as few packets as can be.

use std::iter;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use tokio::sync::oneshot;

use crate::group::GroupChange;
use crate::hub::frames::{How, encode_message, encode_notice, joined_frame, mark_frame};
use crate::hub::open_groups::OpenGroups;
use crate::hub::outbox::Pushed;
use crate::hub::presence::Presence;
use crate::hub::router::Router;
use crate::hub::session::{Asking, Asks, Caller, Done, GroupAct, Session, Who};
use crate::id::{MessageId, PeerId, SessionId};
use crate::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, RECIPIENTS_MAX, SENDS_UNANSWERED};
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::store::{self, Group, Mark, Message, News, Outcome, Told};
use crate::wire::{
    AliasBound, AliasUnbound, Closed, Edited, Invited, Kicked, Left, Opened, ReadNoted, RecallDone,
    Sent, ServerFrame, UpstreamStored,
};

/// The dispatcher's own state.
pub(super) struct Dispatcher {
    router: Arc<Router>,
    presence: Arc<Presence>,
    open_groups: Arc<OpenGroups>,
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
        presence: Arc<Presence>,
        open_groups: Arc<OpenGroups>,
        metrics: Arc<Metrics>,
        epoch: Arc<OnceLock<u64>>,
    ) -> Self {
        let (frame, woken) = (BytesMut::new(), Vec::new());
        Self { router, presence, open_groups, metrics, epoch, frame, woken }
    }

    pub(super) fn dispatch(&mut self, outcomes: Vec<Outcome<Caller>>) {
        let mut deliveries = 0;
        for outcome in outcomes {
            deliveries += self.hand_out(outcome);
        }
        self.metrics.deliveries.inc_by(deliveries);
        for session in self.woken.drain(..) {
            session.outbox().wake();
        }
    }

    /// Hands out one outcome; says how many deliveries it was.
    fn hand_out(&mut self, outcome: Outcome<Caller>) -> u64 {
        match outcome {
            Outcome::Stored { caller, message, members } => {
                let mut deliveries = self.deliver(&message, members.as_deref());
                // Who sends to itself has had it now.
                if members.is_some() || !message.to.contains(&message.from) {
                    deliveries += self.echo(&message, caller.as_ref());
                }
                if let Some(caller) = caller {
                    let Message { id, sequence, at_ms, .. } = *message;
                    let repeated = false;
                    self.answer_stored(caller, Done::Stored { id, sequence, at_ms, repeated });
                }
                return deliveries;
            }
            Outcome::Repeated { caller, id, sequence, at_ms } => {
                let repeated = true;
                self.answer_stored(caller, Done::Stored { id, sequence, at_ms, repeated });
            }
            Outcome::Refused { caller, reason } => self.refuse(caller, reason),
            Outcome::Overflowed { peer, id, devices } => self.router.visit(&peer, |session| {
                let is_for_it = devices.is_empty() || devices.contains(session.device());
                if is_for_it && session.outbox().acked() < id {
                    session.end(Reason::TooSlow);
                }
            }),
            Outcome::Opened { caller, opened } => self.open(caller, opened),
            Outcome::Closed { caller } => self.closed(&caller),
            Outcome::Noted { caller } => self.answer_noted(Some(caller)),
            Outcome::Marked { caller, mark, to } => self.mark(caller, mark, &to),
            Outcome::Grouped { caller, group, told } => {
                if group.open && told.as_ref().is_some_and(is_deletion) {
                    self.open_groups.close(group.id);
                }
                let deliveries = self.tell(told);
                if let Some(caller) = caller {
                    self.answer_group(caller, &group);
                }
                return deliveries;
            }
            Outcome::Told { caller, told } => {
                let deliveries = self.tell(told);
                self.answer_noted(caller);
                return deliveries;
            }
            Outcome::Blocked { caller, peer, blocked } => {
                if blocked {
                    self.router.visit(&peer, |session| session.end(Reason::Blocked));
                }
                self.answer_noted(caller);
            }
            Outcome::UpstreamStored { caller, id, at_ms } => {
                if let Some(caller) = caller {
                    let (sequence, repeated) = (0, false);
                    self.answer_stored(caller, Done::Stored { id, sequence, at_ms, repeated });
                }
            }
        }
        0
    }

    /// Puts a message to those for whom it is: the members of a group but its sender, if it is
    /// for one.
    fn deliver(&mut self, message: &Message, members: Option<&[PeerId]>) -> u64 {
        self.frame.clear();
        let to = members.unwrap_or(&message.to);
        let to = to.iter().filter(|peer| members.is_none() || **peer != message.from);
        let is_for = |session: &Session| message.is_for(session.device());
        self.put(message.id, to, is_for, |frame| encode_message(message, How::Live, frame))
    }

    /// Tells of what has happened.
    fn tell(&mut self, told: Option<Told>) -> u64 {
        let Some(Told { notice, to }) = told else { return 0 };
        self.frame.clear();
        let encode = |frame: &mut BytesMut| encode_notice(&notice, How::Live, frame);
        self.put(notice.id, to.iter(), |_| true, encode)
    }

    /// Puts one frame, which is encoded for the first that is there, to all sessions of `to` that
    /// it is for.
    fn put<'a>(
        &mut self,
        id: MessageId,
        to: impl Iterator<Item = &'a PeerId>,
        is_for: impl Fn(&Session) -> bool,
        encode: impl Fn(&mut BytesMut),
    ) -> u64 {
        let Self { router, frame, woken, .. } = self;
        let mut deliveries = 0;
        for peer in to {
            router.visit(peer, |session| {
                if !is_for(session) {
                    return;
                }
                if frame.is_empty() {
                    encode(frame);
                }
                match session.outbox().deliver(id, frame) {
                    Pushed::Wake => woken.push(session.clone()),
                    Pushed::Quiet => {}
                    Pushed::Passed => return,
                }
                deliveries += 1;
            });
        }
        deliveries
    }

    /// Puts a message to the other devices of who sent it.
    fn echo(&mut self, message: &Message, caller: Option<&Caller>) -> u64 {
        let Self { router, frame, woken, .. } = self;
        let mut echoes = 0;
        frame.clear();
        router.visit(&message.from, |session| {
            let sender = caller.and_then(Caller::asking);
            if sender.is_some_and(|sender| Arc::ptr_eq(&sender.session, session)) {
                return;
            }
            if frame.is_empty() {
                encode_message(message, How::Own, frame);
            }
            match session.outbox().echo(message.id, frame) {
                Pushed::Wake => woken.push(session.clone()),
                Pushed::Quiet => {}
                Pushed::Passed => return,
            }
            echoes += 1;
        });
        echoes
    }

    /// Answers that something with an id is on stable storage.
    fn answer_stored(&mut self, caller: Caller, done: Done) {
        let Asking { session, request, asks } = match caller.0 {
            Who::Session(asking) => asking,
            Who::Waits(waits) => return tell_done(waits, Ok(done)),
        };
        let Done::Stored { id, sequence, at_ms, .. } = done else { return };
        let at_ms = at_ms as u64;
        let answer: ServerFrame = match asks {
            Asks::Upstream => UpstreamStored { request, id, at_ms }.into(),
            _ => Sent { request, id, sequence, at_ms }.into(),
        };
        let pushed = session.outbox().push(true, |out| answer.encode(out));
        session.outbox().wake_room();
        if pushed == Pushed::Wake {
            self.woken.push(session);
        }
    }

    /// Answers that what was asked is on stable storage.
    fn answer_noted(&self, caller: Option<Caller>) {
        let Some(caller) = caller else { return };
        let Asking { session, request, asks } = match caller.0 {
            Who::Session(asking) => asking,
            Who::Waits(waits) => return tell_done(waits, Ok(Done::Noted)),
        };
        let answer: ServerFrame = match asks {
            Asks::Alias { bound: true } => AliasBound { request }.into(),
            Asks::Alias { bound: false } => AliasUnbound { request }.into(),
            Asks::Recall => RecallDone { request }.into(),
            _ => return,
        };
        session.tell(true, &answer);
    }

    fn refuse(&self, caller: Caller, reason: Reason) {
        match caller.0 {
            // Who waits refuses the request.
            Who::Waits(waits) => tell_done(waits, Err(reason)),
            // It is told at its end.
            Who::Session(Asking { session, asks: Asks::Open { .. }, .. }) => {
                session.turn_away(reason);
            }
            Who::Session(Asking { session, request, asks }) => {
                self.metrics.refuse(reason);
                match asks {
                    Asks::Vetoed(text) if reason == Reason::Vetoed => {
                        session.refuse_with(request, reason, text);
                    }
                    _ => session.refuse(request, reason),
                }
            }
        }
    }

    fn answer_group(&self, caller: Caller, group: &Arc<Group>) {
        let Asking { session, request, asks } = match caller.0 {
            Who::Session(asking) => asking,
            Who::Waits(waits) => return tell_done(waits, Ok(Done::Group(group.clone()))),
        };
        let Asks::Group(act) = asks else { return };
        let version = group.version;
        let answer: ServerFrame = match act {
            GroupAct::Join => joined_frame(request, group, group.count()).into(),
            GroupAct::Leave => Left { request }.into(),
            GroupAct::Invite => Invited { request, version }.into(),
            GroupAct::Kick => Kicked { request, version }.into(),
            GroupAct::Edit => Edited { request, version }.into(),
        };
        session.tell(true, &answer);
    }

    /// Tells how far somebody has come, but not to the session that said so.
    fn mark(&mut self, caller: Option<Caller>, mark: Option<Mark>, to: &[PeerId]) {
        let Self { router, woken, .. } = self;
        for peer in to {
            router.visit(peer, |session| {
                let said_so = caller.as_ref().and_then(Caller::asking);
                if said_so.is_some_and(|said_so| Arc::ptr_eq(&said_so.session, session)) {
                    return;
                }
                let pushed = mark.clone().map(|mark| session.outbox().mark(mark));
                if pushed == Some(Pushed::Wake) {
                    woken.push(session.clone());
                }
            });
        }
        if let Some(Caller(Who::Session(Asking { session, request, .. }))) = caller {
            session.tell(true, &ReadNoted { request }.into());
        }
    }

    fn open(&mut self, caller: Caller, opened: store::Opened) {
        // Nobody opens a session but for itself.
        let Who::Session(Asking { session, asks, .. }) = caller.0 else { return };
        let online = match asks {
            // The list of one frame is not too long.
            Asks::Open { watch, were_online } => {
                self.presence.watch(&session, &watch, &were_online).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let frame = Opened {
            session: opened.session,
            epoch: self.epoch.wait().to_owned(),
            device: opened.device.clone(),
            next_number: opened.next_number,
            waiting: opened.waiting as u64,
            dropped: opened.loss.count,
            at_ms: opened.at_ms as u64,
            online,
            frame_bytes_max: FRAME_BYTES_MAX as u64,
            body_bytes_max: BODY_BYTES_MAX as u64,
            recipients_max: RECIPIENTS_MAX as u64,
            sends_max: SENDS_UNANSWERED as u64,
        };
        // Nobody is woken before the session is attached: the writer of one that was heard early
        // runs already.
        for frame in iter::once(frame.into()).chain(opened.marks.iter().map(mark_frame)) {
            let _ = session.outbox().push(false, |out| frame.encode(out));
        }
        session.outbox().release_presence();
        self.presence.attach(&session);
        session.open(&opened);
        session.outbox().wake();
        // Only now, so that the peer is online all the time.
        if let Some(replaced) = opened.replaced {
            self.replace(&session, replaced);
        }
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
            self.presence.detach(&older, false);
            older.end(Reason::Replaced);
        }
    }

    fn closed(&self, caller: &Caller) {
        let Some(Asking { session, request, .. }) = caller.asking() else { return };
        // What comes behind this in the log is not for it any more.
        self.presence.detach(session, true);
        session.tell(true, &Closed { request: *request }.into());
    }
}

fn is_deletion(told: &Told) -> bool {
    matches!(told.notice.news, News::Group(GroupChange::Deleted, _))
}

fn tell_done(waits: oneshot::Sender<Result<Done, Reason>>, done: Result<Done, Reason>) {
    // Who asked may have gone.
    let _ = waits.send(done);
}
