//! What can go wrong, one small error for each operation.
//!
//! # Invariants
//!
//! * A lost connection is not an error of a session: it pauses and comes back by itself.
//! * Every error says by [`is_retryable`](SendError::is_retryable) whether the same call may
//!   succeed later.

use std::fmt;

use crate::client::SignError;
use crate::reason::Reason;
use crate::wire;

/// What the server said when it refused a request or ended a session.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The reason's number, which may be newer than this library.
    pub number: u16,
    /// More about it, for people: in a [`Reason::Kicked`] or [`Reason::Blocked`] the words of the
    /// app's back end, if it gave any, and in a [`Reason::Vetoed`] its code; otherwise often empty,
    /// or what the reason says anyway. It has 200 bytes at the most, which may be anything that is
    /// UTF-8: control characters too.
    pub text: wire::Text,
}

impl Refusal {
    /// The reason, if this version knows its number.
    pub fn reason(&self) -> Option<Reason> {
        Reason::from_number(self.number)
    }

    /// Whether the same request may be granted later.
    pub fn is_retryable(&self) -> bool {
        use Reason::{Busy, Internal, OpenTimeout, Restarting, StorageFull, TooSlow, Unasked};
        use Reason::{TooManyConnections, TooManyNonces, TooManySessions, TooManyUpstream};
        match self.reason() {
            None | Some(Unasked) => true,
            Some(Restarting | TooSlow | Busy | StorageFull | Internal | OpenTimeout) => true,
            Some(TooManySessions | TooManyConnections | TooManyNonces | TooManyUpstream) => true,
            Some(_) => false,
        }
    }

    /// Whether a fresh signature may help.
    pub(super) fn is_about_signature(&self) -> bool {
        use Reason::{BadSignature, NonceUsed, StaleSignature};
        self.reason()
            .is_some_and(|reason| matches!(reason, BadSignature | StaleSignature | NonceUsed))
    }

    /// Whether opening the session again makes no sense.
    pub(super) fn is_final(&self) -> bool {
        use Reason::{BadId, BadSignature, BadVersion, Blocked, Kicked, NonceUsed, Normal};
        use Reason::{Replaced, Reserved, SignatureMissing, StaleSignature, Unsupported, WrongApp};
        self.reason().is_some_and(|reason| {
            matches!(
                reason,
                Normal
                    | Replaced
                    | Kicked
                    | Blocked
                    | BadVersion
                    | WrongApp
                    | BadId
                    | Reserved
                    | SignatureMissing
                    | BadSignature
                    | StaleSignature
                    | NonceUsed
                    | Unsupported
            )
        })
    }
}

impl From<wire::Error> for Refusal {
    fn from(frame: wire::Error) -> Self {
        Self { number: frame.reason, text: frame.text }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match reason {
            Some(reason) => fmt::Display::fmt(&reason, f)?,
            None => write!(f, "reason {}", self.number)?,
        }
        match self.text.as_str() {
            "" => Ok(()),
            // The server had no other words for it.
            text if reason.is_some_and(|reason| reason.text() == text) => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// A field is longer than it may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the {what} of {bytes} bytes exceeds {bytes_max}")]
pub struct TooLong {
    /// Which field.
    pub what: &'static str,
    /// Its length in bytes.
    pub bytes: usize,
    /// Bytes it may have.
    pub bytes_max: usize,
}

impl TooLong {
    /// Refuses a field that is too long.
    pub(super) fn check(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), Self> {
        if bytes > bytes_max { Err(Self { what, bytes, bytes_max }) } else { Ok(()) }
    }
}

/// Why there is no connection to the server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is not `host:port`, or the server's name is no name.
    #[error("not an address of the form host:port: {0:?}")]
    BadAddress(String),
    /// The client's name or the app's id is too long.
    #[error("{0}")]
    NameTooLong(#[from] TooLong),
    /// The certificates to be trusted cannot be read, or there are none.
    #[error("no certificates to trust: {0}")]
    BadTrust(String),
    /// The host's address is not known.
    #[error("cannot find the address of {host}")]
    Resolve {
        /// The host and port asked for.
        host: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No UDP socket could be opened.
    #[error("cannot open a UDP socket")]
    Socket(#[source] std::io::Error),
    /// The server shows a certificate that is not trusted.
    #[error("the server is not trusted")]
    Untrusted(#[source] quinn::ConnectionError),
    /// The server did not answer, or broke off the handshake.
    #[error("cannot reach the server")]
    Unreachable(#[source] quinn::ConnectionError),
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

impl ConnectError {
    /// Whether another try may succeed without any change on this side.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Resolve { .. } | Self::Socket(_) | Self::Unreachable(_))
    }
}

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The server refuses the session.
    #[error("the server refused the session: {0}")]
    Refused(#[source] Refusal),
    /// The session was not open within its time; the last failure is the source, if there was
    /// one.
    #[error("the session was not open in time")]
    TimedOut(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// This client has as many sessions as one connection may have.
    #[error("too many sessions on this connection")]
    TooManySessions,
    /// The list of peers to watch exceeds its limit.
    #[error("{count} peers to watch exceed {count_max}")]
    TooManyWatched {
        /// How many were given.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
    /// The signer gave no signature.
    #[error("the session is not signed: {0}")]
    Unsigned(#[source] SignError),
    /// The client was closed.
    #[error("the client was closed")]
    Closed,
}

impl OpenError {
    /// Whether another try may succeed without any change on this side.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::TimedOut(_) | Self::TooManySessions | Self::Unsigned(_) => true,
            Self::TooManyWatched { .. } | Self::Closed => false,
        }
    }
}

/// Why a message was not acknowledged.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The server refused the message; it is not stored.
    #[error("the server refused the message: {0}")]
    Refused(#[source] Refusal),
    /// No answer came in the send's time, or the session ended before. The message may be stored
    /// or not; sending it again may store it twice.
    #[error("no answer came; the message may have been stored")]
    MaybeStored,
    /// The message did not leave in the send's time. It is not stored.
    #[error("the message could not be sent in time")]
    TimedOut,
    /// The session has ended for good. The message is not stored.
    #[error("the session has ended")]
    Ended,
    /// A transient message cannot be sent while there is no connection.
    #[error("there is no connection at the moment")]
    Paused,
    /// Too many transient messages wait to be written.
    #[error("too many transient messages wait to be written")]
    Full,
    /// The message has no recipient.
    #[error("the message has no recipient")]
    NoRecipient,
    /// The message has more recipients than one send may have.
    #[error("{count} recipients exceed {count_max}")]
    TooManyRecipients {
        /// How many were given.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
    /// The body, or the app's own number of the message, is too long.
    #[error("{0}")]
    TooLong(#[from] TooLong),
}

impl SendError {
    /// Whether sending the message again may succeed and cannot store it twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::TimedOut | Self::Paused | Self::Full => true,
            _ => false,
        }
    }
}

/// Why a request was not granted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server refused it.
    #[error("the server refused the request: {0}")]
    Refused(#[source] Refusal),
    /// The signer gave no signature; nothing was sent.
    #[error("the request is not signed: {0}")]
    Unsigned(#[source] SignError),
    /// No answer came in time; the server may have done what was asked.
    #[error("no answer came in time")]
    TimedOut,
    /// There is no connection at the moment, or it was lost before the answer came: the server
    /// may have done what was asked.
    #[error("there is no connection at the moment")]
    Paused,
    /// Too much waits to be written; nothing was sent.
    #[error("too much waits to be written")]
    Full,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// The request names more things than it may; nothing was sent.
    #[error("{count} {what} exceed {count_max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many were given.
        count: usize,
        /// How many there may be.
        count_max: usize,
    },
    /// A field is too long; nothing was sent.
    #[error("{0}")]
    TooLong(#[from] TooLong),
    /// The server answered something else than was asked.
    #[error("the server answered something else than was asked")]
    Unexpected,
}

impl RequestError {
    /// Whether another try may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_retryable(),
            Self::Unsigned(_) | Self::TimedOut | Self::Paused | Self::Full => true,
            Self::Ended | Self::TooMany { .. } | Self::TooLong(_) | Self::Unexpected => false,
        }
    }
}

impl From<SignError> for RequestError {
    fn from(error: SignError) -> Self {
        Self::Unsigned(error)
    }
}
