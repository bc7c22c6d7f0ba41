//! What an app may choose: for a connection, for a session, for a message.
//!
//! # Invariants
//!
//! * Options are plain values; they are checked where they are used.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::client::signer::Signing;
use crate::client::{Cursor, Signer, Trust};
use crate::id::{DeviceFlag, DeviceId, GroupId, PeerId};
use crate::limits::{CLIENT_OPEN_TIMEOUT, CLIENT_SEND_TIMEOUT};
use crate::wire::{Target, Text};

/// How to reach and trust a server.
///
/// ```
/// use tidings::client::{ConnectOptions, Trust};
///
/// let options = ConnectOptions::new("chat.example.org:7400")
///     .trust(Trust::System)
///     .client("my-app/1.0");
/// ```
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub(super) server: String,
    pub(super) server_name: Option<String>,
    pub(super) trust: Trust,
    pub(super) app: String,
    pub(super) client: String,
    pub(super) early_data: bool,
}

impl ConnectOptions {
    /// Connects to `server`, which is `host:port`; the host is a name or an address (an IPv6
    /// address stands in brackets). A name is looked up again for each connection.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            server_name: None,
            trust: Trust::System,
            app: String::new(),
            client: concat!("tidings-rust/", env!("CARGO_PKG_VERSION")).into(),
            early_data: true,
        }
    }

    /// The name that the server's certificate must bear; the host of the address if not given.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Which server certificates to trust; those that the system trusts if not given.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// The app that the server serves: one that names its app refuses who names another, or none.
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = app.into();
        self
    }

    /// The name and version by which people who look at the server see this client.
    pub fn client(mut self, name: impl Into<String>) -> Self {
        self.client = name.into();
        self
    }

    /// Whether a connection that is made again speaks in its first packets (QUIC's 0-RTT), which
    /// saves a round trip; it does if not given.
    ///
    /// Somebody on the way can record these packets and send them again, though he can neither
    /// read nor change them. The server takes each ticket once, stores a send once, and opens no
    /// session before it has heard the client itself.
    pub fn early_data(mut self, wanted: bool) -> Self {
        self.early_data = wanted;
        self
    }
}

/// Who opens a session, and how.
///
/// ```
/// use tidings::client::OpenOptions;
/// use tidings::id::{DeviceFlag, DeviceId};
///
/// # fn main() -> Result<(), tidings::id::IdError> {
/// let options = OpenOptions::new("ann".parse()?)
///     .device(DeviceId::new("ann's laptop")?)
///     .flag(DeviceFlag::Pc);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct OpenOptions {
    pub(super) peer: PeerId,
    pub(super) device: Option<DeviceId>,
    pub(super) flag: DeviceFlag,
    pub(super) manual_ack: bool,
    pub(super) cursor: Cursor,
    pub(super) watch: Vec<PeerId>,
    pub(super) signing: Signing,
    pub(super) send_events: bool,
    pub(super) send_timeout: Duration,
    pub(super) open_timeout: Duration,
}

impl OpenOptions {
    /// Opens a session of `peer` on a new device, with a random id.
    pub fn new(peer: PeerId) -> Self {
        Self {
            peer,
            device: None,
            flag: DeviceFlag::default(),
            manual_ack: false,
            cursor: Cursor::default(),
            watch: Vec::new(),
            signing: Signing::default(),
            send_events: false,
            send_timeout: CLIENT_SEND_TIMEOUT,
            open_timeout: CLIENT_OPEN_TIMEOUT,
        }
    }

    /// The device's id: the one that [`Session::device`](super::Session::device) told the last
    /// time.
    pub fn device(mut self, device: DeviceId) -> Self {
        self.device = Some(device);
        self
    }

    /// What the device is.
    pub fn flag(mut self, flag: DeviceFlag) -> Self {
        self.flag = flag;
        self
    }

    /// Acknowledges nothing by itself: the app calls [`Session::ack`](super::Session::ack).
    ///
    /// Otherwise a message counts as had when the app asks
    /// [`Incoming::next`](super::Incoming::next) for the one after it.
    pub fn manual_ack(mut self, manual: bool) -> Self {
        self.manual_ack = manual;
        self
    }

    /// Goes on behind the last message that the app has had, as
    /// [`Session::cursor`](super::Session::cursor) told the last time.
    pub fn resume(mut self, cursor: Cursor) -> Self {
        self.cursor = cursor;
        self
    }

    /// Peers to be watched from the beginning, 1,000 at the most;
    /// [`Opening::online`](super::Opening::online) tells which are online.
    /// [`Session::watch`](super::Session::watch) adds to them later.
    pub fn watch(mut self, peers: impl Into<Vec<PeerId>>) -> Self {
        self.watch = peers.into();
        self
    }

    /// Who signs what the app's back end must allow, where the server wants that.
    pub fn signer(mut self, signer: impl Signer + 'static) -> Self {
        self.signing = Signing(Some(Arc::new(signer)));
        self
    }

    /// Tells by [`Event::Sent`](super::Event::Sent) and
    /// [`Event::Failed`](super::Event::Failed) how each send went, beside its future.
    ///
    /// Such an app must take its events: a send whose event waits counts as under way, and at 128
    /// of those the next send waits for its turn.
    pub fn send_events(mut self, wanted: bool) -> Self {
        self.send_events = wanted;
        self
    }

    /// How long a send is tried, over any number of connections, before it fails.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// How long the first opening is tried before it fails. A session that was open once tries
    /// for as long as it is kept.
    pub fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }
}

impl fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenOptions")
            .field("peer", &self.peer)
            .field("device", &self.device)
            .field("flag", &self.flag)
            .field("manual_ack", &self.manual_ack)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

/// Whom a message is for. Made from one peer, several peers, or a group.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Recipients(pub(super) Target);

impl From<PeerId> for Recipients {
    fn from(peer: PeerId) -> Self {
        Self(Target::Peers(vec![peer]))
    }
}

impl From<&PeerId> for Recipients {
    fn from(peer: &PeerId) -> Self {
        peer.clone().into()
    }
}

impl From<Vec<PeerId>> for Recipients {
    fn from(peers: Vec<PeerId>) -> Self {
        Self(Target::Peers(peers))
    }
}

impl<const N: usize> From<[PeerId; N]> for Recipients {
    fn from(peers: [PeerId; N]) -> Self {
        Self(Target::Peers(peers.into()))
    }
}

impl From<GroupId> for Recipients {
    fn from(group: GroupId) -> Self {
        Self(Target::Group(group))
    }
}

/// A message to be sent.
///
/// ```
/// use std::time::Duration;
/// use tidings::client::Outgoing;
/// use tidings::id::PeerId;
///
/// # fn main() -> Result<(), tidings::id::IdError> {
/// let bob: PeerId = "bob".parse()?;
/// let message = Outgoing::to(bob, "lunch?").ttl(Duration::from_secs(3600)).receipt();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    pub(super) target: Target,
    pub(super) body: Bytes,
    pub(super) receipt: bool,
    pub(super) ttl_ms: u64,
    pub(super) client_msg_no: Text,
    pub(super) push_text: Text,
}

impl Outgoing {
    /// A message that says `body` to a peer, to several, or to a group.
    pub fn to(recipients: impl Into<Recipients>, body: impl Into<Bytes>) -> Self {
        Self {
            target: recipients.into().0,
            body: body.into(),
            receipt: false,
            ttl_ms: 0,
            client_msg_no: Text::default(),
            push_text: Text::default(),
        }
    }

    /// Asks to hear of its delivery.
    pub fn receipt(mut self) -> Self {
        self.receipt = true;
        self
    }

    /// How long it is worth delivering, in whole milliseconds and at least one; for ever if not
    /// given.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        self.ttl_ms = ttl_ms.clamp(1, crate::wire::VARINT_MAX);
        self
    }

    /// The app's own number for it, which its recipients and the app's back end see.
    pub fn client_msg_no(mut self, number: impl Into<Text>) -> Self {
        self.client_msg_no = number.into();
        self
    }

    /// What a push service is to show for it to those who have no session, up to 256 bytes; what
    /// the server is set to if not given. A transient message shows nothing.
    pub fn push_text(mut self, text: impl Into<Text>) -> Self {
        self.push_text = text.into();
        self
    }
}
