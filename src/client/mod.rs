//! The client library: peers that talk over one connection to one server.
//!
//! A [`Client`] is one QUIC connection that comes back by itself. A [`Session`] is one peer
//! opened on one device; a connection carries up to 16. What the peer is sent arrives at the
//! session's [`Incoming`].
//!
//! ```no_run
//! use tidings::client::{Client, ConnectOptions, Event, OpenOptions, Outgoing};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(ConnectOptions::new("chat.example.org:7400")).await?;
//! let (session, mut incoming) = client.open(OpenOptions::new("ann".parse()?)).await?;
//!
//! let sent = session.send(Outgoing::to("bob".parse::<tidings::id::PeerId>()?, "hello")).await?;
//! println!("on the server's disk as {}, number {}", sent.id, sent.sequence);
//!
//! while let Some(event) = incoming.next().await {
//!     if let Event::Message(message) = event {
//!         println!("{}: {:?}", message.from, message.body);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! * A send that returned [`Sent`] is on the server's stable storage. One that was not answered
//!   is sent again over each new connection, and stored once.
//! * Every message comes out of [`Incoming`] once, in the order of its conversation. Repeats are
//!   dropped here, and [counted](Session::counts).
//! * A lost connection is no error: [`Event::Paused`], then [`Event::Resumed`]. Between them the
//!   client tries again with growing, random waits. The session comes back with its watch list,
//!   its open group, and a fresh signature of its [`Signer`].
//! * A change of a [watched](Session::watch) peer is told once, as [`Event::Online`] or
//!   [`Event::Offline`]; one that happened meanwhile is told when the session resumes.
//! * What was recalled, and what happened in the peer's groups, comes out once and in order among
//!   the messages. Marks ([`Event::Delivered`], [`Event::Read`]) may come again, and a later one
//!   stands for those before it.
//! * Every other request ([`Session::history`], [`Session::join`] and so on) is asked once. It
//!   fails with [`RequestError::Paused`] without a connection, also if that is lost before the
//!   answer came, and with [`RequestError::TimedOut`] after 10 s; a signer has 10 s of its own
//!   before that. At most 64 are under way; the next one waits for its turn. [`Session::watch`]
//!   and [`Session::unwatch`] change the session's own list and outlive a lost connection.
//! * Every async method says whether it may be cancelled. Handles are cheap to clone and serve
//!   any number of tasks.
//! * A message is acknowledged when the app asks for the next one, together with other frames
//!   where that is possible. What the app had not had comes again after a restart; an app that
//!   keeps its [`Cursor`] with what it made of the messages has them exactly once.
//!
//! # What messages say
//!
//! The library carries any bytes. [`Body`] and [`Content`] are for apps that want the usual:
//! text, pictures, sounds, videos, files, places and commands as JSON. The server stores no files;
//! media go by URL.
//!
//! # Who allows it
//!
//! Where the server asks for signatures, a session has a [`Signer`], which asks the app's back end
//! before each opening, watch, join, invitation and kick. Programs that have the app's key use a
//! [`KeySigner`].
//!
//! # The app's back end
//!
//! The back end pushes to a device by its id ([`Session::device`], the CID), or by an alias that
//! either side binds to it ([`Session::bind_alias`]). [`Session::send_upstream`] is the way back: a
//! message to the back end itself, as durable as a send; [`Event::UpstreamDone`] tells what has
//! become of it.
//!
//! # How it ends
//!
//! The server may end a session for good: [`Event::Ended`] says why, with the back end's own words
//! after a kick or a block. The library does not open it again then.
//!
//! [`Session::close`] logs the device out: it gets nothing more. [`Session::end`], and dropping
//! the last handle of a session, end it without that, and what comes meanwhile waits for the
//! device. All tasks end with the last handle.
//!
//! # How it works
//!
//! A session is one task with two futures, a reader and a writer, over a state that its handles
//! share. Handles put frames into the state; the writer takes all there are into one write.
//! There is no task for the connection: a session that needs one makes it, and the others of the
//! client wait for that.

mod app;
mod body;
mod connection;
mod content;
mod device_file;
mod driver;
mod error;
mod event;
mod groups;
mod history;
mod incoming;
mod inward;
mod key_signer;
mod options;
mod outward;
mod pace;
mod presence;
mod queue;
mod requests;
mod session;
mod signer;
mod state;
mod stream;
mod trust;
mod window;

#[cfg(test)]
#[macro_use]
mod tests;
#[cfg(test)]
mod app_tests;
#[cfg(test)]
mod connection_tests;
#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod receiving_tests;
#[cfg(test)]
mod request_tests;
#[cfg(test)]
mod sending_tests;
#[cfg(test)]
mod signing_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod watching_tests;

pub use app::UpstreamSent;
pub use body::{Body, ContentError};
pub use content::{Attachment, Content, Size};
pub use device_file::{DeviceFile, DeviceState};
pub use error::{ConnectError, OpenError, Refusal, RequestError, SendError, TooLong};
pub use event::{
    Cursor, Event, GroupNotice, Mark, Message, Opening, Pause, Recalled, UpstreamDone,
};
pub use groups::{Group, GroupEdit, MemberPage, NewGroup};
pub use history::{ConversationPage, HistoryPage};
pub use incoming::Incoming;
pub use key_signer::KeySigner;
pub use options::{ConnectOptions, OpenOptions, Outgoing, Recipients};
pub use session::{Counts, Sending, Sent, Session};
pub use signer::{BoxFuture, SignAction, SignError, SignRequest, Signed, Signer};
pub use trust::{Fingerprint, FingerprintError, Trust};

pub use crate::group::{GroupChange, Rules, Who};
pub use crate::wire::{Conversation, Device, Past};

use std::sync::Arc;
use std::time::Duration;

use connection::Link;

/// One connection to one server, which comes back by itself. A cheap handle: clones are the same
/// connection.
#[derive(Clone, Debug)]
pub struct Client {
    link: Arc<Link>,
}

impl Client {
    /// Connects to a server.
    ///
    /// This first connection is tried once, so that a wrong address or certificate is noticed.
    /// Later ones are tried until they succeed.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says what is wrong, and whether trying again may help.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the connection.
    ///
    /// ```no_run
    /// use tidings::client::{Client, ConnectOptions, Trust};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let fingerprint = "d2b5…64 digits, as the server prints them…".parse()?;
    /// let options =
    ///     ConnectOptions::new("127.0.0.1:7400").trust(Trust::Fingerprint(fingerprint));
    /// let client = Client::connect(options).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        let link = Link::new(options)?;
        link.connected(None).await?;
        Ok(Self { link: Arc::new(link) })
    }

    /// Another connection to the same server with the same options, over the same UDP socket.
    ///
    /// For programs that hold many connections, such as gateways and load generators: a socket
    /// costs a task and its buffers.
    ///
    /// # Errors
    ///
    /// As for [`Self::connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the connection.
    pub async fn connect_beside(&self) -> Result<Self, ConnectError> {
        let link = self.link.beside();
        link.connected(None).await?;
        Ok(Self { link: Arc::new(link) })
    }

    /// Opens a session: a peer on a device.
    ///
    /// A lost connection or a restarting server while opening is not an error: the opening is
    /// tried again until the time set by [`OpenOptions::open_timeout`] is over.
    ///
    /// # Errors
    ///
    /// [`OpenError`] says why the session cannot be opened.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the session if it was opened.
    ///
    /// ```no_run
    /// # use tidings::client::{Client, OpenError, OpenOptions};
    /// # use tidings::id::PeerId;
    /// # async fn run(client: Client, ann: PeerId) -> Result<(), OpenError> {
    /// let (session, incoming) = client.open(OpenOptions::new(ann)).await?;
    /// println!("keep {} for the next time", session.device());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(&self, options: OpenOptions) -> Result<(Session, Incoming), OpenError> {
        driver::open(Arc::clone(&self.link), options).await
    }

    /// Goes on over a fresh UDP socket, for example after the network has changed. The
    /// connection survives; one that was lost is tried again at once.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Socket`] when the system gives no socket; the old one stays in use then.
    pub fn rebind(&self) -> Result<(), ConnectError> {
        self.link.rebind()
    }

    /// The local address of the UDP socket.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Socket`] when the system does not tell it.
    pub fn local_addr(&self) -> Result<std::net::SocketAddr, ConnectError> {
        self.link.local_addr()
    }

    /// The round trip time of the connection as QUIC estimates it; `None` without a connection.
    pub fn round_trip(&self) -> Option<Duration> {
        self.link.round_trip()
    }

    /// Closes the connection and all its sessions, without logging out, and waits until the
    /// server has been told.
    ///
    /// Sends that were not answered fail as [`SendError::MaybeStored`]. To let everything arrive
    /// first, [end](Session::end) the sessions.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the connection is closing, even if the future is dropped.
    pub async fn close(self) {
        self.link.close().await;
    }
}
