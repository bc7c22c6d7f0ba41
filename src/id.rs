//! The names of things: peers, devices, groups, conversations, messages, sessions.
//!
//! # Invariants
//!
//! * A value of these types is valid: it is checked once, when it is made.
//! * Cloning an id never copies its text.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use md5::{Digest, Md5};
use ring::rand::{SecureRandom, SystemRandom};

use crate::limits::{
    ALIAS_BYTES_MAX, DEVICE_ID_BYTES_MAX, ENDPOINT_ID_BYTES_MAX, PEER_ID_BYTES_MAX,
};

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdError {
    /// The id has no characters.
    #[error("an id must not be empty")]
    Empty,
    /// The id is longer than its limit.
    #[error("an id of {bytes} bytes exceeds {bytes_max}")]
    TooLong {
        /// Bytes of the refused text.
        bytes: usize,
        /// Bytes an id of this kind may have.
        bytes_max: usize,
    },
    /// The id holds a control character, or a colon where none may be.
    #[error("an id must not contain {0:?}")]
    Forbidden(char),
    /// The id is not the hexadecimal text it should be.
    #[error("not a hexadecimal id of {digits} digits")]
    NotHex {
        /// Digits an id of this kind has.
        digits: usize,
    },
}

fn check(text: &str, bytes_max: usize, colon_allowed: bool) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > bytes_max {
        return Err(IdError::TooLong { bytes: text.len(), bytes_max });
    }
    match text.chars().find(|c| c.is_control() || (*c == ':' && !colon_allowed)) {
        Some(c) => Err(IdError::Forbidden(c)),
        None => Ok(()),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $bytes_max:expr, colon_allowed: $colon:expr) => {
        $(#[$doc])*
        #[derive(Clone, Eq, PartialEq, Hash, Ord, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps a copy of it.
            ///
            /// # Errors
            ///
            /// [`IdError`] says which rule the text breaks.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check(text, $bytes_max, $colon)?;
                Ok(Self(text.into()))
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

text_id! {
    /// A user of the app: 1 to 64 bytes of UTF-8, no control characters, no `:`.
    PeerId, PEER_ID_BYTES_MAX, colon_allowed: false
}

text_id! {
    /// A name that an app binds to devices: 1 to 160 bytes of UTF-8, no control characters.
    Alias, ALIAS_BYTES_MAX, colon_allowed: true
}

text_id! {
    /// One installation of the app: 1 to 64 bytes of UTF-8, no control characters.
    DeviceId, DEVICE_ID_BYTES_MAX, colon_allowed: true
}

text_id! {
    /// A webhook endpoint: 1 to 64 bytes of UTF-8, no control characters, no `:`.
    EndpointId, ENDPOINT_ID_BYTES_MAX, colon_allowed: false
}

impl DeviceId {
    /// A fresh random device id (a CID): 32 lower-case hexadecimal digits.
    pub fn random() -> Self {
        Self(unguessable_text().into())
    }
}

/// A group: 12 bytes, written as 24 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct GroupId(pub [u8; 12]);

impl GroupId {
    /// A fresh random group id, which nobody can guess: whoever knows one may join.
    pub fn random() -> Self {
        let mut id: [u8; 12] = unguessable();
        // All zeroes asks for a new group.
        id[0] |= u8::from(id == [0; 12]);
        Self(id)
    }
}

/// Random bytes of the system, which do not follow from those given out before.
fn unguessable<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.expect("a system without random bytes has no TLS either");
    bytes
}

/// 32 lower-case hexadecimal digits that nobody can guess, nor draw again.
pub(crate) fn unguessable_text() -> String {
    format!("{:032x}", u128::from_be_bytes(unguessable()))
}

/// What has an order: the messages among one set of peers, or those of one group.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub enum ConversationId {
    /// MD5 of the participants' ids, sorted and joined with `:`, as AVOS Cloud defines it.
    Peers([u8; 16]),
    /// The id of the group.
    Group(GroupId),
}

impl ConversationId {
    /// The kind and the id, as one key: ids of different kinds never meet.
    pub fn key(&self) -> [u8; 17] {
        let mut key = [0; 17];
        match self {
            Self::Peers(digest) => key[1..].copy_from_slice(digest),
            Self::Group(group) => {
                key[0] = 1;
                key[1..13].copy_from_slice(&group.0);
            }
        }
        key
    }

    /// The conversation with this key.
    pub fn from_key(key: &[u8; 17]) -> Self {
        let (mut digest, mut group) = ([0; 16], [0; 12]);
        digest.copy_from_slice(&key[1..]);
        group.copy_from_slice(&key[1..13]);
        if key[0] == 0 { Self::Peers(digest) } else { Self::Group(GroupId(group)) }
    }

    /// The conversation of a sender and its recipients.
    ///
    /// A peer named more than once counts once.
    pub fn of_peers<'a>(participants: impl IntoIterator<Item = &'a PeerId>) -> Self {
        let mut ids: Vec<&str> = participants.into_iter().map(PeerId::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut digest = Md5::new();
        for (index, id) in ids.iter().enumerate() {
            if index > 0 {
                digest.update(b":");
            }
            digest.update(id.as_bytes());
        }
        Self::Peers(digest.finalize().into())
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl std::str::FromStr for GroupId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut id = [0; 12];
        let digits = id.len() * 2;
        if text.len() != digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(IdError::NotHex { digits });
        }
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16).unwrap_or(0) as u8;
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Ok(Self(id))
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peers(digest) => write_hex(f, digest),
            Self::Group(group) => group.fmt(f),
        }
    }
}

/// A position in the log: positive, strictly rising, never used twice.
///
/// Its upper bits come from the clock so that ids of different runs do not meet, but nothing
/// derives a time from it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct MessageId(pub i64);

impl MessageId {
    /// Before every message.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One opening of a peer on a device. Rises with each; it is the position of its Open in the log.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash, Ord, PartialOrd)]
pub struct SessionId(pub i64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
#[repr(u8)]
pub enum DeviceFlag {
    /// A phone or tablet.
    #[default]
    App = 0,
    /// A browser.
    Web = 1,
    /// A computer.
    Pc = 2,
}

impl DeviceFlag {
    /// The flag with this number on the wire and on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::App),
            1 => Some(Self::Web),
            2 => Some(Self::Pc),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> PeerId {
        text.parse().unwrap()
    }

    #[test]
    fn a_conversation_id_is_the_one_avos_computes() {
        let id = ConversationId::of_peers([&peer("u1234"), &peer("u0988"), &peer("u1234")]);
        assert_eq!(id.to_string(), "bcd26a54e98687390b0abb4d83683d4b");
    }

    #[test]
    fn an_id_one_byte_too_long_is_refused() {
        assert!(PeerId::new(&"p".repeat(64)).is_ok());
        assert_eq!(
            PeerId::new(&"p".repeat(65)),
            Err(IdError::TooLong { bytes: 65, bytes_max: 64 })
        );
        assert!(DeviceId::new(&"d".repeat(64)).is_ok());
        assert!(DeviceId::new(&"d".repeat(65)).is_err());
    }

    #[test]
    fn an_id_with_a_colon_or_a_control_character_or_nothing_is_refused() {
        assert_eq!(PeerId::new("a:b"), Err(IdError::Forbidden(':')));
        assert_eq!(PeerId::new("a\n"), Err(IdError::Forbidden('\n')));
        assert_eq!(PeerId::new(""), Err(IdError::Empty));
        assert!(DeviceId::new("a:b").is_ok());
    }

    #[test]
    fn a_group_id_reads_back_what_it_writes() {
        let group = GroupId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xab, 0xff]);
        assert_eq!(group.to_string(), "00010203040506070809abff");
        assert_eq!("00010203040506070809abff".parse(), Ok(group));
        assert!("00010203040506070809abf".parse::<GroupId>().is_err());
    }
}
