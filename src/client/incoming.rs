//! Where messages and events come out.

use crate::client::Event;

/// The messages and events of a session.
///
/// The app should keep asking: at 256 waiting messages the session stops reading, and the
/// server keeps the rest. An app that only sends drops this; what comes for the peer then waits
/// for a session that takes it.
#[derive(Debug)]
pub struct Incoming {}

impl Incoming {
    /// The next message or event; `None` when the session has ended and nothing is left.
    ///
    /// With automatic acknowledgement, asking says that the app has had what it got before.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Event> {
        todo!()
    }

    /// The next message or event if one is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        todo!()
    }
}
