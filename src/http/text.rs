//! Ids as they stand in JSON, in paths and in queries: as texts.
//!
//! # Invariants
//!
//! * A value of these types is a valid id: what is none is refused before a route sees it.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::id::{
    Alias, ConversationId, DeviceId, EndpointId, GroupId, IdError, MessageId, PeerId, SessionId,
};

/// An id, as its text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Text<T>(pub(super) T);

/// A peer.
pub(super) type Peer = Text<PeerId>;
/// A device.
pub(super) type Device = Text<DeviceId>;
/// An alias.
pub(super) type AliasName = Text<Alias>;
/// A group.
pub(super) type Group = Text<GroupId>;
/// A message.
pub(super) type Message = Text<MessageId>;
/// A session.
pub(super) type Session = Text<SessionId>;
/// An endpoint of webhooks.
pub(super) type EndpointName = Text<EndpointId>;
/// A conversation.
pub(super) type Conversation = Text<ConversationId>;

/// What has a text in the API, and what the document says of it.
pub(super) trait Spoken: Display + Sized {
    /// What its schema is called.
    const NAME: &str;
    /// What it is.
    const MEANS: &str;
    /// Texts that it can be.
    const PATTERN: &str;
    /// What one looks like.
    const EXAMPLE: &str;

    /// What the text means.
    ///
    /// # Errors
    ///
    /// [`TextError`], if it means nothing.
    fn parse(text: &str) -> Result<Self, TextError>;
}

/// Why a text is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum TextError {
    /// It is no id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// It is no number of a message.
    #[error("not the id of a message, which is a number above 0 in decimal digits")]
    NotNumber,
    /// It is no place of a letter.
    #[error("not the place of a letter, such as 252174817923072000-0")]
    NotPlace,
    /// It is no conversation.
    #[error("not the id of a conversation, which has 32 hexadecimal digits, or a group's 24")]
    NotConversation,
}

macro_rules! spoken {
    ($(
        $id:ty = $name:literal, $means:literal, $pattern:literal, $example:literal, $parse:expr;
    )*) => {
        $(impl Spoken for $id {
            const NAME: &str = $name;
            const MEANS: &str = $means;
            const PATTERN: &str = $pattern;
            const EXAMPLE: &str = $example;

            fn parse(text: &str) -> Result<Self, TextError> {
                $parse(text)
            }
        })*
    };
}

spoken! {
    PeerId = "PeerId",
        "A user of the app: 1 to 64 bytes of UTF-8 that the app chooses, without `:` and control \
         characters.",
        r"^[^:\x00-\x1f\x7f-\x9f]{1,64}$", "ann", |text| Ok(Self::new(text)?);
    DeviceId = "DeviceId",
        "One installation of the app (Getui's CID): 1 to 64 bytes of UTF-8 without control \
         characters.",
        r"^[^\x00-\x1f\x7f-\x9f]{1,64}$", "6f1e0c8a7b5d4e3f9a2b1c0d8e7f6a5b",
        |text| Ok(Self::new(text)?);
    Alias = "Alias",
        "A name for devices: 1 to 160 bytes of UTF-8 without control characters.",
        r"^[^\x00-\x1f\x7f-\x9f]{1,160}$", "ann@example.org", |text| Ok(Self::new(text)?);
    EndpointId = "EndpointId",
        "An endpoint of webhooks: 1 to 64 bytes of UTF-8 without `:` and control characters.",
        r"^[^:\x00-\x1f\x7f-\x9f]{1,64}$", "orders", |text| Ok(Self::new(text)?);
    GroupId = "GroupId", "A group: 24 hexadecimal digits.",
        "^[0-9a-fA-F]{24}$", "5446eb9ce4b0f4e1d2b0c3a4", |text: &str| Ok(text.parse::<Self>()?);
    MessageId = "MessageId",
        "A message: its place in the log, as a text, for it exceeds what many programs can hold \
         in a number.",
        "^[1-9][0-9]{0,18}$", "252174817923072000", |text| number(text).map(Self);
    SessionId = "SessionId", "A session: a number as a text.",
        "^[1-9][0-9]{0,18}$", "252174817923072001", |text| number(text).map(Self);
    ConversationId = "ConversationId",
        "A conversation: the MD5 of its peers' ids, sorted and joined by `:`, in 32 hexadecimal \
         digits; or the id of a group.",
        "^([0-9a-fA-F]{32}|[0-9a-fA-F]{24})$", "bcd26a54e98687390b0abb4d83683d4b", conversation;
}

fn number(text: &str) -> Result<i64, TextError> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| *number > 0 && is_decimal);
    number.ok_or(TextError::NotNumber)
}

fn conversation(text: &str) -> Result<ConversationId, TextError> {
    if let Ok(group) = text.parse() {
        return Ok(ConversationId::Group(group));
    }
    let is_digest = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digest = u128::from_str_radix(text, 16).ok().filter(|_| is_digest);
    let digest = digest.ok_or(TextError::NotConversation)?;
    Ok(ConversationId::Peers(digest.to_be_bytes()))
}

impl<T: Spoken> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: Spoken> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Reading(PhantomData))
    }
}

struct Reading<T>(PhantomData<T>);

impl<T: Spoken> Visitor<'_> for Reading<T> {
    type Value = Text<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text ({})", T::NAME)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::parse(text).map(Text).map_err(E::custom)
    }
}

impl<T: Spoken> PartialSchema for Text<T> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(T::MEANS))
            .pattern(Some(T::PATTERN))
            .examples([T::EXAMPLE])
            .into()
    }
}

impl<T: Spoken> ToSchema for Text<T> {
    fn name() -> Cow<'static, str> {
        T::NAME.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Spoken>(text: &str) -> Option<String> {
        let json = serde_json::to_string(text).unwrap();
        let read = serde_json::from_str::<Text<T>>(&json).ok()?;
        Some(serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap())
    }

    #[test]
    fn an_id_reads_back_what_it_writes() {
        for text in ["a b/ü%", "a"] {
            assert_eq!(read::<PeerId>(text).as_deref(), Some(text));
        }
        assert_eq!(read::<PeerId>("a:b"), None);
        for text in ["1", "9223372036854775807"] {
            assert_eq!(read::<MessageId>(text).as_deref(), Some(text));
        }
        for text in ["", "0", "-1", "+1", " 1", "9223372036854775808", "1x"] {
            assert_eq!(read::<MessageId>(text), None, "{text:?}");
        }
        let group = "0123456789abcdef01234567";
        assert_eq!(read::<GroupId>(&group.to_uppercase()).as_deref(), Some(group));
        assert_eq!(read::<ConversationId>(group).as_deref(), Some(group));
        let digest = "bcd26a54e98687390b0abb4d83683d4b";
        assert_eq!(read::<ConversationId>(&digest.to_uppercase()).as_deref(), Some(digest));
        for text in ["", "ü", &digest[1..], "+cd26a54e98687390b0abb4d83683d4b"] {
            assert_eq!(read::<ConversationId>(text), None, "{text:?}");
        }
    }
}
