//! Requests that await their answers.
//!
//! # Invariants
//!
//! * At most [`CLIENT_REQUESTS_MAX`] requests of the app are unanswered; the next one waits.
//! * Every request is settled once: by its answer, by its time, by the loss of the stream, or by
//!   the end.
//! * What an answer changes in the session is changed also if nobody waits for it any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::client::state::{Shared, State};
use crate::client::{Event, GroupNotice, Refusal, RequestError};
use crate::id::{GroupId, PeerId};
use crate::limits::{CLIENT_ANSWER_TIMEOUT, CLIENT_CONTROL_BYTES_MAX, CLIENT_SIGN_TIMEOUT};
use crate::wire::{ClientFrame, ServerFrame};

pub(super) type Answered = Result<ServerFrame, RequestError>;

/// What the answer to a request changes in the session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    None,
    /// These are watched.
    Watch(Vec<PeerId>),
    /// The session is not in this group any more.
    Leave(GroupId),
    /// The session is in its open group again; if refused, it has left it.
    Rejoin(GroupId),
}

#[derive(Debug)]
pub(super) struct Entry {
    request: u64,
    effect: Effect,
    reply: Option<oneshot::Sender<Answered>>,
    /// Its place among those that may be unanswered, until it is gone.
    _slot: Option<OwnedSemaphorePermit>,
}

/// The requests written or about to be written on the current stream.
#[derive(Debug, Default)]
pub(super) struct Requests {
    entries: Vec<Entry>,
}

impl Requests {
    /// A request of the session itself.
    pub(super) fn push_own(&mut self, request: u64, effect: Effect) {
        self.entries.push(Entry { request, effect, reply: None, _slot: None });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn take(&mut self, request: u64) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.request == request)?;
        Some(self.entries.swap_remove(index))
    }

    /// Nobody waits for the answer any more.
    fn abandon(&mut self, request: u64) {
        self.entries.retain(|entry| entry.request != request || entry.effect != Effect::None);
    }

    /// Settles everything without an answer.
    pub(super) fn fail(&mut self, error: &RequestError) {
        for reply in self.entries.drain(..).filter_map(|entry| entry.reply) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Who will be watched when all is answered.
    pub(super) fn asked_to_watch(&self) -> impl Iterator<Item = &PeerId> {
        self.entries.iter().flat_map(|entry| match &entry.effect {
            Effect::Watch(peers) => peers.as_slice(),
            _ => &[],
        })
    }

    /// These are not to be watched, whatever is answered to an earlier request.
    pub(super) fn unwatch(&mut self, unwatched: &[PeerId]) {
        for entry in &mut self.entries {
            if let Effect::Watch(peers) = &mut entry.effect {
                peers.retain(|peer| !unwatched.contains(peer));
            }
        }
    }
}

impl Shared {
    /// Asks the server, and waits for its turn and for the answer: for a bounded time together.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the request may have been written or not.
    pub(super) async fn ask(
        &self,
        effect: Effect,
        frame: impl FnOnce(u64) -> ClientFrame,
    ) -> Answered {
        let answered = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let slot = slot.map_err(|_| RequestError::Ended)?;
            let mut asked = self.push_request(slot, effect, frame)?;
            (&mut asked.answer).await.unwrap_or(Err(RequestError::Ended))
        };
        let answered = tokio::time::timeout(CLIENT_ANSWER_TIMEOUT, answered).await;
        answered.unwrap_or(Err(RequestError::TimedOut))
    }

    /// How long a request that may wait for a connection or a signature takes at the most.
    pub(super) fn request_time_max(&self) -> Duration {
        let signing = if self.signing.is_on() { CLIENT_SIGN_TIMEOUT } else { Duration::ZERO };
        CLIENT_ANSWER_TIMEOUT + signing
    }

    fn push_request(
        &self,
        slot: OwnedSemaphorePermit,
        effect: Effect,
        frame: impl FnOnce(u64) -> ClientFrame,
    ) -> Result<Asked<'_>, RequestError> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.is_over() {
            return Err(RequestError::Ended);
        }
        if !state.open {
            return Err(RequestError::Paused);
        }
        if state.control.len() > CLIENT_CONTROL_BYTES_MAX {
            return Err(RequestError::Full);
        }
        let request = state.request();
        let entry = Entry { request, effect, reply: Some(reply), _slot: Some(slot) };
        state.requests.entries.push(entry);
        frame(request).encode(&mut state.control);
        // An app that waits for an answer need not take messages meanwhile.
        let stalled = state.stalled;
        drop(state);
        self.writer.notify_one();
        if stalled {
            self.room.notify_one();
        }
        Ok(Asked { shared: self, request, answer })
    }
}

impl State {
    /// Takes the answer to a request.
    pub(super) fn take_answered(&mut self, request: u64, frame: ServerFrame) {
        if let ServerFrame::Joined(joined) = &frame
            && joined.open
        {
            self.open_group = Some(joined.group);
        }
        let Some(entry) = self.requests.take(request) else { return };
        match (entry.effect, &frame) {
            (Effect::Watch(peers), ServerFrame::Watched(answer)) => {
                self.watching.watched(peers, &answer.online);
            }
            (Effect::Leave(group), ServerFrame::Left(_)) if self.open_group == Some(group) => {
                self.open_group = None;
            }
            _ => {}
        }
        if let Some(reply) = entry.reply {
            let _ = reply.send(Ok(frame));
        }
    }

    /// Takes the refusal of a request. Says whether the app hears of it by an event.
    pub(super) fn take_refused(&mut self, request: u64, refusal: Refusal) -> bool {
        let Some(entry) = self.requests.take(request) else { return false };
        if let Some(reply) = entry.reply {
            let _ = reply.send(Err(RequestError::Refused(refusal)));
        }
        match entry.effect {
            Effect::Rejoin(group) => self.not_rejoined(group),
            _ => false,
        }
    }

    /// The session did not get back into its open group.
    pub(super) fn not_rejoined(&mut self, group: GroupId) -> bool {
        let was_in = self.open_group == Some(group);
        if was_in {
            self.open_group = None;
            let notice = GroupNotice::not_rejoined(group, self.peer.clone());
            self.queue_own(Event::Left(notice));
        }
        was_in
    }
}

/// A request that somebody waits for.
struct Asked<'a> {
    shared: &'a Shared,
    request: u64,
    answer: oneshot::Receiver<Answered>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shared.lock().requests.abandon(self.request);
    }
}

/// The request that a frame answers, if it is one of those above.
pub(super) fn answered_request(frame: &ServerFrame) -> Option<u64> {
    Some(match frame {
        ServerFrame::Pong(frame) => frame.request,
        ServerFrame::Watched(frame) => frame.request,
        ServerFrame::Unwatched(frame) => frame.request,
        ServerFrame::Statuses(frame) => frame.request,
        ServerFrame::ReadNoted(frame) => frame.request,
        ServerFrame::RecallDone(frame) => frame.request,
        ServerFrame::HistoryPage(frame) => frame.request,
        ServerFrame::ConversationPage(frame) => frame.request,
        ServerFrame::DeviceList(frame) => frame.request,
        ServerFrame::Joined(frame) => frame.request,
        ServerFrame::Left(frame) => frame.request,
        ServerFrame::Invited(frame) => frame.request,
        ServerFrame::Kicked(frame) => frame.request,
        ServerFrame::MemberPage(frame) => frame.request,
        ServerFrame::Edited(frame) => frame.request,
        _ => return None,
    })
}
