//! The numbered reasons that a peer may be told.
//!
//! # Invariants
//!
//! * A number means one thing for ever. A gap is retired, not free.
//! * The same number stands in an Error frame, in a GoAway and in the code that closes a
//!   connection.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// Why a request was refused, a session ended or a connection was closed.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
        #[repr(u16)]
        pub enum Reason {
            $(#[doc = $text] $(#[$doc])* $name = $number,)*
        }

        impl Reason {
            /// Every reason there is, by rising number.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason with this number, if this version knows it.
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// What the number means, in a few words.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    Normal = 0, "closed on request";
    Restarting = 1, "the server is going down; come back";
    Replaced = 2, "this device opened a newer session";
    TooSlow = 3, "the session reads slower than it is written to";
    Kicked = 4, "closed by the app";
    Blocked = 5, "blocked by the app";
    BadVersion = 10, "the server does not speak this protocol version";
    WrongApp = 11, "the server serves another app";
    BadFrame = 12, "malformed frame";
    FrameTooLong = 13, "frame exceeds the length limit";
    UnknownKind = 14, "unknown frame kind";
    NotOpen = 15, "the first frame of a session must be Open";
    OpenTimeout = 16, "the session was not opened in time";
    AlreadyOpen = 17, "the session is already open";
    BadId = 18, "not a valid id";
    BodyTooLong = 20, "the body exceeds the length limit";
    TooManyRecipients = 21, "too many recipients";
    NoRecipient = 22, "no recipient";
    AckOfFuture = 23, "acknowledged a message that was not delivered to this session";
    TooOld = 24, "this send number has been forgotten; it may have been stored";
    NumberReused = 25, "this send number was used for another message";
    StorageFull = 26, "the log is full";
    Busy = 27, "the server has too much to do";
    NotMember = 28, "not a member of the group";
    NoSuchGroup = 29, "no such group";
    SignatureMissing = 30, "a signature is required";
    BadSignature = 31, "the signature is wrong";
    StaleSignature = 32, "the signature's timestamp is too far off";
    NonceUsed = 33, "the signature's nonce was used before";
    NotWatched = 34, "watch the peer before sending to it";
    NotAllowed = 35, "the group does not allow it";
    GroupFull = 36, "the group has as many members as it may have";
    TooManyGroups = 37, "too many groups";
    BadMetadata = 38, "the metadata is not JSON or exceeds the length limit";
    NoSuchMessage = 39, "no such message, or not yours";
    TooManySessions = 40, "too many sessions";
    TooManyConnections = 41, "too many connections";
    TooLate = 42, "too late to recall the message";
    NotInOpenGroup = 43, "not possible in an open group, which has transient messages only";
    TooManyWatched = 44, "too many peers watched";
    TooManyNonces = 45, "too many signatures within their time; try again later";
    AliasFull = 46, "the alias has as many devices as it may have";
    TooManyAliases = 47, "too many aliases";
    NoSuchAlias = 48, "no such alias, or not one of this device";
    TooManyUpstream = 49, "too many messages wait for the app's back end";
    Unsupported = 50, "not supported by this server";
    VersionChanged = 51, "the group has another version by now";
    TooManyBlocked = 52, "too many peers are blocked";
    NoSuchDevice = 53, "no such device";
    Reserved = 54, "the id is reserved for the app's back end";
    Vetoed = 55, "refused by the app";
    Unasked = 56, "the app could not be asked";
    Internal = 60, "the server failed";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (reason {})", self.text(), *self as u16)
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_means_one_thing_for_ever() {
        let numbers: Vec<u16> = Reason::ALL.iter().map(|reason| *reason as u16).collect();
        assert_eq!(
            numbers,
            [
                0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 21, 22, 23, 24, 25, 26,
                27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47,
                48, 49, 50, 51, 52, 53, 54, 55, 56, 60
            ]
        );
        for reason in Reason::ALL {
            assert_eq!(Reason::from_number(*reason as u16), Some(*reason));
        }
        assert_eq!(Reason::from_number(6), None);
    }
}
