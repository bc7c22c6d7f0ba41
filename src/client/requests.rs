//! Requests that await their answers.
//!
//! # Invariants
//!
//! * At most [`CLIENT_REQUESTS_MAX`](crate::limits::CLIENT_REQUESTS_MAX) requests of the app are
//!   unanswered; the next one waits.
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

    /// Whether the session is about to leave a group.
    pub(super) fn leaves(&self, group: GroupId) -> bool {
        self.entries.iter().any(|entry| entry.effect == Effect::Leave(group))
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
        ServerFrame::AliasBound(frame) => frame.request,
        ServerFrame::AliasUnbound(frame) => frame.request,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::task::{JoinHandle, yield_now};

    use super::*;
    use crate::client::OpenOptions;
    use crate::client::state::Told;
    use crate::client::tests::{opened, peer};
    use crate::limits::CLIENT_REQUESTS_MAX;
    use crate::wire;

    fn shared() -> Arc<Shared> {
        let shared = Shared::new(&OpenOptions::new(peer("ann")));
        shared.opened(&opened(7, 1), Told::default(), None);
        Arc::new(shared)
    }

    fn ask(shared: &Arc<Shared>, effect: Effect) -> JoinHandle<Answered> {
        let shared = Arc::clone(shared);
        let frame = |request| wire::Devices { request }.into();
        tokio::spawn(async move { shared.ask(effect, frame).await })
    }

    fn under_way(shared: &Shared) -> Vec<u64> {
        shared.lock().requests.entries.iter().map(|entry| entry.request).collect()
    }

    async fn wait_for(shared: &Shared, count: usize) {
        while under_way(shared).len() != count {
            yield_now().await;
        }
    }

    fn answer(shared: &Shared, request: u64) {
        shared.take(wire::DeviceList { request, devices: vec![] }.into());
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_over_the_bound_waits_for_an_answer() {
        let shared = shared();
        let mut asks: Vec<_> =
            (0..CLIENT_REQUESTS_MAX).map(|_| ask(&shared, Effect::None)).collect();
        wait_for(&shared, CLIENT_REQUESTS_MAX).await;
        asks.push(ask(&shared, Effect::None));
        for _ in 0..10 {
            yield_now().await;
        }
        let first = under_way(&shared);
        assert_eq!(first.len(), CLIENT_REQUESTS_MAX);
        answer(&shared, first[0]);
        wait_for(&shared, CLIENT_REQUESTS_MAX - 1).await;
        wait_for(&shared, CLIENT_REQUESTS_MAX).await;
        under_way(&shared).into_iter().for_each(|request| answer(&shared, request));
        for ask in asks {
            assert!(matches!(ask.await.unwrap(), Ok(ServerFrame::DeviceList(_))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_without_an_answer_fails_in_time_and_leaves_nothing() {
        let shared = shared();
        let started = tokio::time::Instant::now();
        let asked = ask(&shared, Effect::None).await.unwrap();
        assert_eq!(asked, Err(RequestError::TimedOut));
        assert_eq!(started.elapsed(), CLIENT_ANSWER_TIMEOUT);
        assert!(under_way(&shared).is_empty());
        assert_eq!(shared.slots.available_permits(), CLIENT_REQUESTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_answer_changes_is_changed_though_nobody_waits() {
        let shared = shared();
        let asked = ask(&shared, Effect::Watch(vec![peer("bob"), peer("cat")]));
        wait_for(&shared, 1).await;
        asked.abort();
        assert!(asked.await.unwrap_err().is_cancelled());
        let request = under_way(&shared)[0];
        assert_eq!(shared.slots.available_permits(), CLIENT_REQUESTS_MAX - 1);
        shared.lock().requests.unwatch(&[peer("cat")]);
        let online = vec![peer("bob"), peer("cat")];
        shared.take(wire::Watched { request, online }.into());
        assert_eq!(shared.lock().watching.all(), [peer("bob")]);
        assert_eq!(shared.slots.available_permits(), CLIENT_REQUESTS_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_being_left_when_the_stream_is_lost_is_left() {
        let (shared, group) = (shared(), GroupId([7; 12]));
        let asked = ask(&shared, Effect::Leave(group));
        wait_for(&shared, 1).await;
        // The answer to an earlier request to join it.
        let (version, rules) = (crate::id::MessageId::NONE, crate::group::Rules::default());
        let (request, count, metadata) = (99, 1, bytes::Bytes::new());
        let joined = wire::Joined { request, group, open: true, version, count, rules, metadata };
        shared.take(joined.into());
        assert_eq!(shared.lock().open_group, Some(group));
        shared.paused(crate::client::Pause::Lost);
        assert_eq!(shared.lock().open_group, None);
        assert_eq!(asked.await.unwrap(), Err(RequestError::Paused));
    }

    #[tokio::test(start_paused = true)]
    async fn the_loss_of_the_stream_and_the_end_settle_every_request() {
        let shared = shared();
        let asked = ask(&shared, Effect::None);
        wait_for(&shared, 1).await;
        shared.paused(crate::client::Pause::Lost);
        assert_eq!(asked.await.unwrap(), Err(RequestError::Paused));
        assert_eq!(ask(&shared, Effect::None).await.unwrap(), Err(RequestError::Paused));
        shared.finish(None);
        assert_eq!(ask(&shared, Effect::None).await.unwrap(), Err(RequestError::Ended));
    }
}
