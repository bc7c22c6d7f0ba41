//! Where messages and events come out.
//!
//! # Invariants
//!
//! * What the app got counts as had only when it asks for more.

use std::sync::Arc;

use crate::client::state::{EndGuard, Shared};
use crate::client::{Cursor, Event};

/// The messages and events of a session.
///
/// The app should keep asking: at 256 waiting messages and events the session stops reading (at
/// 8,192 while it has sends or requests under way, so that their answers get through), and the
/// server keeps the rest. While more than a few wait, marks and changes of presence take the place
/// of earlier ones. An app that only sends drops this; what comes for the peer then waits for a
/// session that takes it.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
    /// What the app got last.
    last: Option<Cursor>,
    _guard: Arc<EndGuard>,
}

impl Incoming {
    pub(super) fn new(shared: Arc<Shared>, guard: Arc<EndGuard>) -> Self {
        Self { shared, last: None, _guard: guard }
    }

    /// The next message or event; `None` when the session has ended and nothing is left.
    ///
    /// With automatic acknowledgement, asking says that the app has had what it got before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.shared.pop(self.last.take()) {
                Ok(Some(event)) => return Some(self.hand_out(event)),
                Ok(None) => self.shared.queued().await,
                Err(_) => return None,
            }
        }
    }

    /// The next message or event if one is there already; otherwise as [`Self::next`].
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.shared.pop(self.last.take()).ok().flatten()?;
        Some(self.hand_out(event))
    }

    /// How many messages and events wait for the app.
    pub fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    fn hand_out(&mut self, event: Event) -> Event {
        self.last = event.cursor();
        event
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.drop_incoming();
    }
}
