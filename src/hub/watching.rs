//! Watch, Unwatch and Status: who is online, for those who ask.
//!
//! # Invariants
//!
//! * Between reading who is online and pushing the answer nothing is awaited, and no change is
//!   written: what is told after the answer is newer than the answer.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::hub::Hub;
use crate::hub::session::Session;
use crate::id::PeerId;
use crate::reason::Reason;
use crate::wire::{ServerFrame, Status, Statuses, Unwatch, Unwatched, Watch, Watched};

impl Hub {
    /// Tells watchers who goes on and off line, until it is stopped.
    pub async fn run_presence(&self, stopped: CancellationToken) {
        self.presence.run(stopped).await;
    }

    /// Adds to the peers that a session watches.
    pub(super) async fn watch(&self, session: &Arc<Session>, watch: Watch) -> Result<(), Reason> {
        let Watch { request, peers, signature } = watch;
        self.check_open(session, &peers, signature.as_ref()).await?;
        let were_online = self.were_online(&peers).await?;
        let online = self.presence.watch(session, &peers, &were_online)?;
        answer(session, &Watched { request, online }.into());
        Ok(())
    }

    /// Takes away from the peers that a session watches.
    pub(super) fn unwatch(&self, session: &Arc<Session>, unwatch: &Unwatch) {
        self.presence.unwatch(session, &unwatch.peers);
        session.tell(true, &Unwatched { request: unwatch.request }.into());
    }

    /// Tells which peers are online.
    pub(super) async fn status(&self, session: &Session, status: Status) -> Result<(), Reason> {
        let Status { request, peers } = status;
        let were_online = self.were_online(&peers).await?;
        session.outbox().hold_presence();
        let online = self.presence.status(&peers, &were_online);
        answer(session, &Statuses { request, online }.into());
        Ok(())
    }

    /// Those of `peers` that are online as watchers are told it, each once, by their ids.
    ///
    /// # Errors
    ///
    /// [`Reason::Restarting`] while the store stops.
    pub async fn online(&self, peers: &[PeerId]) -> Result<Vec<PeerId>, Reason> {
        let were_online = self.were_online(peers).await?;
        Ok(self.presence.status(peers, &were_online))
    }

    /// Those of `peers` that were online when the server stopped and have not come back since;
    /// nobody when that does not matter any more.
    pub(super) async fn were_online(&self, peers: &[PeerId]) -> Result<Vec<PeerId>, Reason> {
        let unknown = self.presence.unknown(peers);
        if unknown.is_empty() {
            return Ok(unknown);
        }
        // It fails only while the store stops.
        self.store.were_online(unknown).await.map_err(|_| Reason::Restarting)
    }
}

/// Answers, and lets the changes since be told.
fn answer(session: &Session, frame: &ServerFrame) {
    session.tell(true, frame);
    session.outbox().release_presence();
}
