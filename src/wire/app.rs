//! The frames by which a device is found by the app's back end, and speaks to it.
//!
//! # Invariants
//!
//! * An Upstream has a number of the same row as a Send's, so that a repeat is the same message.

use bytes::{Bytes, BytesMut};

use crate::id::{Alias, MessageId};
use crate::limits::BODY_BYTES_MAX;
use crate::reason::Reason;
use crate::wire::DecodeError;
use crate::wire::coding::{Reader, Write};
use crate::wire::field::small_frames;

/// Binds an alias to the session's device, in place of the one that it has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BindAlias {
    /// The request number.
    pub request: u64,
    /// The alias.
    pub alias: Alias,
}

/// The alias is bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AliasBound {
    /// The request it answers.
    pub request: u64,
}

/// Takes an alias away from the session's device, or from all devices that have it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnbindAlias {
    /// The request number.
    pub request: u64,
    /// The alias, which the device must have.
    pub alias: Alias,
    /// From all its devices.
    pub all: bool,
}

/// The alias is unbound.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AliasUnbound {
    /// The request it answers.
    pub request: u64,
}

/// Sends a message to the app's back end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    /// The request number.
    pub request: u64,
    /// The sender's number for it; rises by one, together with those of Sends.
    pub number: u64,
    /// All numbers below this have been answered.
    pub answered: u64,
    /// What it says.
    pub body: Bytes,
}

impl Upstream {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_varint(self.request);
        out.put_varint(self.number);
        out.put_varint(self.answered);
        out.put_run(&self.body);
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            request: fields.varint()?,
            number: fields.varint()?,
            answered: fields.varint()?,
            body: fields.bytes(BODY_BYTES_MAX, Reason::BodyTooLong)?,
        })
    }
}

/// The message to the back end is on stable storage.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpstreamStored {
    /// The request it answers.
    pub request: u64,
    /// The message's id.
    pub id: MessageId,
    /// The server's time.
    pub at_ms: u64,
}

/// What has become of a message to the back end; waits like a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UpstreamDone {
    /// It waited for this session.
    pub waited: bool,
    /// Its own id, to acknowledge it by.
    pub id: MessageId,
    /// The message to the back end.
    pub upstream: MessageId,
    /// The back end has accepted it; otherwise it has refused it, or never took it.
    pub accepted: bool,
    /// When.
    pub at_ms: u64,
}

pub(super) fn put_alias(out: &mut BytesMut, value: &Alias) {
    out.put_run(value.as_str().as_bytes());
}

pub(super) fn alias(fields: &mut Reader) -> Result<Alias, DecodeError> {
    fields.alias()
}

small_frames! {
    BindAlias { request: put_varint/varint, alias: put_alias/alias }
    AliasBound { request: put_varint/varint }
    UnbindAlias { request: put_varint/varint, alias: put_alias/alias, all: put_flag/flag }
    AliasUnbound { request: put_varint/varint }
    UpstreamStored { request: put_varint/varint, id: put_id/id, at_ms: put_u64/u64 }
    UpstreamDone {
        waited: put_waited/waited, id: put_id/id, upstream: put_id/id,
        accepted: put_flag/flag, at_ms: put_u64/u64
    }
}
