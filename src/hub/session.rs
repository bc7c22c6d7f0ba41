//! One peer open on one device, as the hub sees it: what it asks for, and what is put to it.
//!
//! # Invariants
//!
//! * A request takes a place in the outbox for its answer before it is read further: who does not
//!   read answers is not read from.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::hub::outbox::{Outbox, Pushed};
use crate::hub::presence::Watched;
use crate::id::{DeviceFlag, DeviceId, GroupId, MessageId, PeerId, SessionId};
use crate::reason::Reason;
use crate::store;
use crate::wire::{Dropped, Error, ServerFrame, Text};

/// Sends datagrams to the client of one session.
pub trait Datagrams: Send + Sync {
    /// Sends a frame by datagram if it fits and the client takes datagrams; says whether it did.
    fn send(&self, frame: &[u8]) -> bool;
}

/// What a client says of itself, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct About {
    /// What the device is.
    pub flag: DeviceFlag,
    /// The client's name and version.
    pub client: Text,
    /// Where it connected from first.
    pub address: SocketAddr,
}

/// A session.
pub struct Session {
    peer: PeerId,
    device: DeviceId,
    instance: u64,
    about: About,
    outbox: Outbox,
    /// Its id, and when it opened, in milliseconds since 1970.
    id: OnceLock<(SessionId, i64)>,
    /// Why it may not open.
    turned_away: OnceLock<Reason>,
    opened: Notify,
    datagrams: Box<dyn Datagrams>,
    /// The open group that it is in.
    open_group: Mutex<Option<GroupId>>,
    watched: Mutex<Watched>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).field("id", &self.id).finish()
    }
}

/// Whom an outcome of the store is for.
#[derive(Debug)]
pub struct Caller(pub(super) Who);

#[derive(Debug)]
pub(super) enum Who {
    /// A session, which is answered.
    Session(Asking),
    /// Somebody who goes on only then: the app's back end, or what a session asked for.
    Waits(oneshot::Sender<Result<Done, Reason>>),
}

/// A session that has asked for something.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) session: Arc<Session>,
    pub(super) request: u64,
    pub(super) asks: Asks,
}

/// What those hear who wait.
#[derive(Debug)]
pub(super) enum Done {
    /// It is on stable storage.
    Noted,
    /// So is the message, if it had not been before.
    Stored { id: MessageId, sequence: u32, at_ms: i64, repeated: bool },
    /// The group is like this now.
    Group(Arc<store::Group>),
}

impl Caller {
    /// A session asks.
    pub(super) fn session(session: &Arc<Session>, request: u64, asks: Asks) -> Self {
        Self(Who::Session(Asking { session: session.clone(), request, asks }))
    }

    /// The session that is to be answered, if it is one.
    pub(super) fn asking(&self) -> Option<&Asking> {
        match &self.0 {
            Who::Session(asking) => Some(asking),
            Who::Waits(_) => None,
        }
    }
}

/// What a caller has asked for, and so how it is answered.
#[derive(Debug)]
pub(super) enum Asks {
    /// To store a message.
    Send,
    /// To hear whether a message was stored that is not to be, and else this.
    Vetoed(Text),
    /// To open the session, which watches these peers; the second are those of them that were
    /// online before the server started.
    Open { watch: Vec<PeerId>, were_online: Vec<PeerId> },
    /// To log out.
    Close,
    /// To note how far the peer has read.
    Read,
    /// To take a message back.
    Recall,
    /// To change a group.
    Group(GroupAct),
    /// To bind an alias to its device, or to take it away.
    Alias { bound: bool },
    /// To store a message to the app's back end.
    Upstream,
}

/// What is done with a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum GroupAct {
    /// It is created or joined.
    Join,
    /// It is left.
    Leave,
    /// Peers are invited.
    Invite,
    /// Peers are kicked.
    Kick,
    /// It is edited.
    Edit,
}

impl Session {
    /// A session that is not open yet.
    pub fn new(
        peer: PeerId,
        device: DeviceId,
        instance: u64,
        about: About,
        datagrams: Box<dyn Datagrams>,
    ) -> Self {
        Self {
            peer,
            device,
            instance,
            about,
            outbox: Outbox::default(),
            id: OnceLock::new(),
            turned_away: OnceLock::new(),
            opened: Notify::new(),
            datagrams,
            open_group: Mutex::new(None),
            watched: Mutex::default(),
        }
    }

    /// Whose it is.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// The device it is on.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The client's instance.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// What its client says of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What it has to be told.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Its id, once it is open.
    pub fn id(&self) -> Option<SessionId> {
        self.id.get().map(|(id, _)| *id)
    }

    /// When it opened, in milliseconds since 1970; 0 before.
    pub fn opened_ms(&self) -> i64 {
        self.id.get().map_or(0, |(_, at_ms)| *at_ms)
    }

    /// The peers that it watches.
    pub(super) fn watched(&self) -> &Mutex<Watched> {
        &self.watched
    }

    /// The open group that it is in.
    pub(super) fn open_group(&self) -> Option<GroupId> {
        *self.open_group.lock()
    }

    /// It is in this open group from now on; gives the one it was in.
    pub(super) fn enter(&self, group: Option<GroupId>) -> Option<GroupId> {
        std::mem::replace(&mut *self.open_group.lock(), group)
    }

    /// It is not in this open group any more.
    pub(super) fn exit(&self, group: GroupId) {
        self.open_group.lock().take_if(|in_group| *in_group == group);
    }

    /// Waits until it is open.
    ///
    /// # Errors
    ///
    /// Why it may not open.
    pub(super) async fn opened(&self) -> Result<(), Reason> {
        while self.id().is_none() {
            if let Some(reason) = self.turned_away.get() {
                return Err(*reason);
            }
            self.opened.notified().await;
        }
        Ok(())
    }

    /// It may not open.
    pub(super) fn turn_away(&self, reason: Reason) {
        if self.turned_away.set(reason).is_ok() {
            self.opened.notify_one();
        }
    }

    pub(super) fn open(&self, opened: &store::Opened) {
        let store::Loss { count, id } = opened.loss;
        let dropped = (count > 0).then(|| {
            let mut frame = BytesMut::new();
            ServerFrame::Dropped(Dropped { count, id }).encode(&mut frame);
            (id, frame.freeze())
        });
        self.outbox.open(opened.cursor, dropped);
        if self.id.set((opened.session, opened.at_ms)).is_ok() {
            self.opened.notify_one();
        }
    }

    /// Ends it with a reason, which the client is told.
    pub fn end(&self, reason: Reason) {
        self.end_with(reason, reason.text().into());
    }

    /// Ends it with a reason and a text of its own, at most
    /// [`REASON_TEXT_BYTES_MAX`](crate::limits::REASON_TEXT_BYTES_MAX) bytes.
    pub fn end_with(&self, reason: Reason, text: Text) {
        self.tell(false, &Error { request: 0, reason: reason as u16, text }.into());
        self.outbox.end(reason);
    }

    /// Tells that a request, which has a place for its answer, is refused.
    pub fn refuse(&self, request: u64, reason: Reason) {
        self.refuse_with(request, reason, reason.text().into());
    }

    /// Tells that, with a text of its own of at most
    /// [`REASON_TEXT_BYTES_MAX`](crate::limits::REASON_TEXT_BYTES_MAX) bytes.
    pub(super) fn refuse_with(&self, request: u64, reason: Reason, text: Text) {
        self.tell(true, &Error { request, reason: reason as u16, text }.into());
    }

    /// Pushes a frame and wakes the writer.
    pub(super) fn tell(&self, is_answer: bool, frame: &ServerFrame) {
        if self.outbox.push(is_answer, |out| frame.encode(out)) == Pushed::Wake {
            self.outbox.wake();
        }
        if is_answer {
            self.outbox.wake_room();
        }
    }

    /// Puts a transient message to it; says whether there was room.
    pub(super) fn transient(&self, frame: &[u8], by_datagram: bool) -> bool {
        if self.id().is_none() {
            return false;
        }
        if by_datagram && self.datagrams.send(frame) {
            return true;
        }
        match self.outbox.transient(frame) {
            Pushed::Wake => self.outbox.wake(),
            Pushed::Quiet => {}
            Pushed::Passed => return false,
        }
        true
    }

    /// Waits for a place for the answer to a request.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has taken no place.
    pub async fn reserve_answer(&self) {
        while !self.outbox.reserve_answer() {
            self.outbox.room().await;
        }
    }
}

/// The last message of a page, for [`Outbox::feed`].
pub(super) type Fed = (MessageId, std::ops::Range<usize>);
