//! Whom a session watches, and what it knows of them.
//!
//! # Invariants
//!
//! * The list never holds more than [`WATCHED_MAX`] peers.
//! * A change of a watched peer is told once, also one that happened while the session was
//!   paused; what did not change is not told.
//! * The list is the session's, not the connection's: each Open brings it to the server again.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::requests::Effect;
use crate::client::state::Shared;
use crate::client::{RequestError, Session, SignAction};
use crate::id::PeerId;
use crate::limits::WATCHED_MAX;
use crate::wire::{self, ServerFrame};

/// What is known of one watched peer.
#[derive(Debug, Default)]
struct Known {
    online: bool,
    /// The open session watches it; otherwise the next one will.
    told: bool,
}

/// What has changed.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Changes {
    pub(super) online: Vec<PeerId>,
    pub(super) offline: Vec<PeerId>,
}

/// The watched peers of a session.
#[derive(Debug, Default)]
pub(super) struct Watching {
    peers: BTreeMap<PeerId, Known>,
}

impl Watching {
    /// A list for the first Open.
    pub(super) fn new(peers: &[PeerId]) -> Self {
        let known = |peer: &PeerId| (peer.clone(), Known::default());
        Self { peers: peers.iter().map(known).collect() }
    }

    pub(super) fn all(&self) -> Vec<PeerId> {
        self.peers.keys().cloned().collect()
    }

    fn online(&self) -> Vec<PeerId> {
        let online = self.peers.iter().filter(|(_, known)| known.online);
        online.map(|(peer, _)| peer.clone()).collect()
    }

    fn is_online(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|known| known.online)
    }

    /// Whether `peers` fit beside those on the list and the `asked`.
    fn check_room<'a>(
        &'a self,
        peers: &'a [PeerId],
        asked: impl Iterator<Item = &'a PeerId>,
    ) -> Result<(), RequestError> {
        let together: BTreeSet<&PeerId> = self.peers.keys().chain(peers).chain(asked).collect();
        check_count("watched peers", together.len(), WATCHED_MAX)
    }

    /// Puts peers on the list for the next Open.
    fn add_for_next(&mut self, peers: &[PeerId]) {
        for peer in peers {
            self.peers.entry(peer.clone()).or_default();
        }
    }

    /// The server watches these now, and those are online. Of who was watched before, changes are
    /// told as such.
    pub(super) fn watched(&mut self, peers: Vec<PeerId>, online: &[PeerId]) {
        let online: BTreeSet<&PeerId> = online.iter().collect();
        for peer in peers {
            let is_online = online.contains(&peer);
            let known = self.peers.entry(peer).or_default();
            if !known.told {
                *known = Known { online: is_online, told: true };
            }
        }
    }

    fn remove(&mut self, peers: &[PeerId]) {
        for peer in peers {
            self.peers.remove(peer);
        }
    }

    /// Those of `peers` that are online, if the open session watches all that are on the list.
    fn settled(&self, peers: &[PeerId]) -> Option<Vec<PeerId>> {
        let known = || peers.iter().filter_map(|peer| Some((peer, self.peers.get(peer)?)));
        let settled = known().all(|(_, known)| known.told);
        let online = known().filter(|(_, known)| known.online);
        settled.then(|| online.map(|(peer, _)| peer.clone()).collect())
    }

    /// The server says what has changed. Returns what is news.
    pub(super) fn changed(&mut self, frame: wire::Presence) -> Changes {
        let mut news = |mut peers: Vec<PeerId>, online: bool| {
            peers.retain(|peer| match self.peers.get_mut(peer) {
                Some(known) => std::mem::replace(&mut known.online, online) != online,
                None => false,
            });
            peers
        };
        let online = news(frame.online, true);
        Changes { online, offline: news(frame.offline, false) }
    }

    /// The stream is gone, and with it the list that the server had.
    pub(super) fn forgotten(&mut self) {
        self.peers.values_mut().for_each(|known| known.told = false);
    }

    /// A session is open. Its Open was to watch `asked`, of whom the signer left `told`, and these
    /// of them are `online`. Returns what has changed since the last one, and whom the server
    /// watches although the app has taken them off the list meanwhile.
    pub(super) fn opened(
        &mut self,
        asked: &[PeerId],
        told: &[PeerId],
        online: &[PeerId],
    ) -> (Changes, Vec<PeerId>) {
        let told: BTreeSet<&PeerId> = told.iter().collect();
        let online: BTreeSet<&PeerId> = online.iter().collect();
        let mut changes = Changes::default();
        for peer in asked.iter().filter(|peer| !told.contains(peer)) {
            let removed = self.peers.remove(peer);
            if removed.is_some_and(|known| known.online) {
                changes.offline.push(peer.clone());
            }
        }
        for (peer, known) in self.peers.iter_mut().filter(|(peer, _)| told.contains(peer)) {
            known.told = true;
            let now = online.contains(peer);
            if std::mem::replace(&mut known.online, now) != now {
                let changed = if now { &mut changes.online } else { &mut changes.offline };
                changed.push(peer.clone());
            }
        }
        let unwanted = told.into_iter().filter(|peer| !self.peers.contains_key(*peer));
        (changes, unwanted.cloned().collect())
    }
}

pub(super) fn check_count(
    what: &'static str,
    count: usize,
    count_max: usize,
) -> Result<(), RequestError> {
    if count > count_max {
        return Err(RequestError::TooMany { what, count, count_max });
    }
    Ok(())
}

impl Session {
    /// Watches peers, beside those already watched: [`Event::Online`](super::Event::Online) and
    /// [`Event::Offline`](super::Event::Offline) tell how they come and go. Returns those of them
    /// that are online now.
    ///
    /// The list is kept over connections, and each opening brings it along. While there is no
    /// connection this puts the peers on the list and waits for the next one. A signer may leave
    /// peers out; they are not watched then.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`] above 1,000 watched peers; [`RequestError::Unsigned`] if the
    /// signer fails; otherwise [`RequestError`] says why there is no answer. After
    /// [`RequestError::TimedOut`] the peers may be on the list, and are then watched once the
    /// session is back.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the peers may be watched or not; watching them again does no
    /// harm.
    pub async fn watch(&self, peers: impl Into<Vec<PeerId>>) -> Result<Vec<PeerId>, RequestError> {
        let timeout = self.shared().request_time_max();
        let watched = self.shared().watch(peers.into());
        tokio::time::timeout(timeout, watched).await.unwrap_or(Err(RequestError::TimedOut))
    }

    /// Watches peers no longer. They are off the list at once, whatever the server says; while
    /// there is no connection, that is all.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`] for more than 1,000; otherwise [`RequestError`] says why there is
    /// no answer. A lost connection is none: the next one does not watch them.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the peers are off the list, even if the future is dropped.
    pub async fn unwatch(&self, peers: impl Into<Vec<PeerId>>) -> Result<(), RequestError> {
        self.shared().unwatch(peers.into()).await
    }

    /// Asks which of these peers are online, without watching them.
    ///
    /// # Errors
    ///
    /// [`RequestError::TooMany`] for more than 1,000; otherwise [`RequestError`] says why there is
    /// no answer.
    ///
    /// # Cancel safety
    ///
    /// Nothing but the answer is lost if the future is dropped.
    pub async fn status(&self, peers: impl Into<Vec<PeerId>>) -> Result<Vec<PeerId>, RequestError> {
        let peers = peers.into();
        check_count("peers", peers.len(), WATCHED_MAX)?;
        let frame = |request| wire::Status { request, peers }.into();
        match self.shared().ask(Effect::None, frame).await? {
            ServerFrame::Statuses(answer) => Ok(answer.online),
            _ => Err(RequestError::Unexpected),
        }
    }

    /// The watched peers, by the order of their ids.
    pub fn watching(&self) -> Vec<PeerId> {
        self.shared().lock().watching.all()
    }

    /// Those of the watched peers that are online, as far as the session knows: while it is
    /// paused, as it was before.
    pub fn online(&self) -> Vec<PeerId> {
        self.shared().lock().watching.online()
    }

    /// Whether a watched peer is online, as far as the session knows; `false` for others.
    pub fn is_online(&self, peer: &PeerId) -> bool {
        self.shared().lock().watching.is_online(peer)
    }
}

impl Shared {
    async fn watch(&self, peers: Vec<PeerId>) -> Result<Vec<PeerId>, RequestError> {
        check_count("watched peers", peers.len(), WATCHED_MAX)?;
        loop {
            // Made before the look at the state, so that no resumption is missed.
            let resumed = self.resumed.notified();
            if self.watch_next(&peers)? {
                resumed.await;
                match self.watch_settled(&peers) {
                    Some(online) => return Ok(online),
                    None => continue,
                }
            }
            let signed = self.signing.sign(self.peer(), SignAction::Watch, peers.clone()).await;
            let (allowed, signature) = signed?;
            if allowed.is_empty() {
                return Ok(Vec::new());
            }
            let effect = Effect::Watch(allowed.clone());
            let frame = |request| wire::Watch { request, peers: allowed, signature }.into();
            match self.ask(effect, frame).await {
                Ok(ServerFrame::Watched(answer)) => return Ok(answer.online),
                Ok(_) => return Err(RequestError::Unexpected),
                Err(RequestError::Paused) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts peers on the list for the next Open. `false`, and nothing, while the session is open.
    fn watch_next(&self, peers: &[PeerId]) -> Result<bool, RequestError> {
        let mut state = self.lock();
        if state.is_over() {
            return Err(RequestError::Ended);
        }
        state.watching.check_room(peers, state.requests.asked_to_watch())?;
        if !state.open {
            state.watching.add_for_next(peers);
        }
        Ok(!state.open)
    }

    fn watch_settled(&self, peers: &[PeerId]) -> Option<Vec<PeerId>> {
        let state = self.lock();
        state.watching.settled(peers).filter(|_| state.open)
    }

    async fn unwatch(&self, peers: Vec<PeerId>) -> Result<(), RequestError> {
        check_count("peers", peers.len(), WATCHED_MAX)?;
        {
            let mut state = self.lock();
            if state.is_over() {
                return Err(RequestError::Ended);
            }
            state.watching.remove(&peers);
            state.requests.unwatch(&peers);
        }
        let frame = |request| wire::Unwatch { request, peers }.into();
        match self.ask(Effect::None, frame).await {
            Ok(ServerFrame::Unwatched(_)) | Err(RequestError::Paused) => Ok(()),
            Ok(_) => Err(RequestError::Unexpected),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(ids: &str) -> Vec<PeerId> {
        ids.split_whitespace().map(|id| id.parse().unwrap()).collect()
    }

    fn changes(online: &str, offline: &str) -> Changes {
        Changes { online: peers(online), offline: peers(offline) }
    }

    fn watching(told: &str, online: &str) -> Watching {
        let mut watching = Watching::new(&peers(told));
        watching.opened(&peers(told), &peers(told), &peers(online));
        watching
    }

    #[test]
    fn after_a_pause_only_what_changed_is_told() {
        let mut watching = watching("bob cat dan eve", "bob cat");
        watching.forgotten();
        let all = watching.all();
        let (told, unwanted) = watching.opened(&all, &all, &peers("bob dan"));
        assert_eq!((told, unwanted), (changes("dan", "cat"), vec![]));
        assert_eq!(watching.online(), peers("bob dan"));
        assert!(watching.is_online(&peers("dan")[0]) && !watching.is_online(&peers("cat")[0]));
    }

    #[test]
    fn a_change_is_news_once_and_only_of_who_is_watched() {
        let mut watching = watching("bob cat", "bob");
        let frame = wire::Presence { online: peers("bob cat dan"), offline: vec![] };
        assert_eq!(watching.changed(frame.clone()), changes("cat", ""));
        assert_eq!(watching.changed(frame), changes("", ""));
        let frame = wire::Presence { online: vec![], offline: peers("bob dan") };
        assert_eq!(watching.changed(frame), changes("", "bob"));
    }

    #[test]
    fn whom_the_signer_left_out_is_not_watched_any_more() {
        let mut watching = watching("bob cat dan", "bob cat");
        watching.forgotten();
        let (told, unwanted) = watching.opened(&peers("bob cat dan"), &peers("cat"), &peers("cat"));
        assert_eq!((told, unwanted), (changes("", "bob"), vec![]));
        assert_eq!(watching.all(), peers("cat"));
    }

    #[test]
    fn what_the_app_changed_while_an_open_was_under_way_is_not_lost() {
        let mut watching = watching("bob cat", "");
        watching.forgotten();
        let asked = watching.all();
        watching.remove(&peers("bob"));
        watching.add_for_next(&peers("dan"));
        let (told, unwanted) = watching.opened(&asked, &asked, &peers("bob cat"));
        assert_eq!((told, unwanted), (changes("cat", ""), peers("bob")));
        assert_eq!(watching.settled(&peers("cat dan")), None, "nobody watches dan yet");
        assert_eq!(watching.settled(&peers("cat bob")), Some(peers("cat")));
        watching.watched(peers("dan"), &peers("dan"));
        assert_eq!(watching.settled(&peers("cat dan")), Some(peers("cat dan")));
    }

    #[test]
    fn watching_again_does_not_hide_a_change() {
        let mut watching = watching("bob", "");
        watching.watched(peers("bob cat"), &peers("bob cat"));
        assert_eq!(watching.online(), peers("cat"));
        let frame = wire::Presence { online: peers("bob"), offline: vec![] };
        assert_eq!(watching.changed(frame), changes("bob", ""));
    }

    #[test]
    fn one_peer_over_the_limit_is_refused() {
        let many: Vec<PeerId> = (0..WATCHED_MAX).map(|n| format!("{n}").parse().unwrap()).collect();
        let watching = Watching::new(&many[1..]);
        assert_eq!(watching.check_room(&many, [].iter()), Ok(()));
        let more = peers("more");
        let refused = watching.check_room(&many, more.iter());
        let (count, count_max) = (WATCHED_MAX + 1, WATCHED_MAX);
        let what = "watched peers";
        assert_eq!(refused, Err(RequestError::TooMany { what, count, count_max }));
    }
}
