//! How the fields of simple frames are written and read, so that a frame can be given as a list of
//! its fields.
//!
//! # Invariants
//!
//! * What `put_x` writes, `x` reads.

use bytes::{BufMut, BytesMut};

use crate::id::{ConversationId, GroupId, MessageId, PeerId};
use crate::limits::{GROUP_METADATA_BYTES_MAX, REASON_TEXT_BYTES_MAX, WATCHED_MAX};
use crate::reason::Reason;
use crate::wire::DecodeError;
use crate::wire::coding::{Reader, Text, Write};
use crate::wire::frame::{FLAG_WAITED, sequence};
use crate::wire::opening::Signature;

/// Gives frames their coding: a list of fields, each with the pair of functions for it.
macro_rules! small_frames {
    ($($name:ident { $($field:ident: $put:ident / $get:ident),* })*) => {
        $(impl $name {
            pub(super) fn encode(&self, out: &mut bytes::BytesMut) {
                $($crate::wire::field::$put(out, &self.$field);)*
            }

            pub(super) fn decode(
                mut fields: $crate::wire::coding::Reader,
            ) -> Result<Self, $crate::wire::DecodeError> {
                Ok(Self { $($field: $crate::wire::field::$get(&mut fields)?,)* })
            }
        })*
    };
}

pub(super) use small_frames;

type Read<T> = Result<T, DecodeError>;

pub(super) fn put_varint(out: &mut BytesMut, value: &u64) {
    Write::put_varint(out, *value);
}

pub(super) fn varint(fields: &mut Reader) -> Read<u64> {
    Ok(fields.varint()?)
}

pub(super) fn put_u32(out: &mut BytesMut, value: &u32) {
    Write::put_varint(out, u64::from(*value));
}

pub(super) fn u32(fields: &mut Reader) -> Read<u32> {
    sequence(fields)
}

pub(super) fn put_u16(out: &mut BytesMut, value: &u16) {
    out.put_u16(*value);
}

pub(super) fn u16(fields: &mut Reader) -> Read<u16> {
    Ok(fields.u16()?)
}

pub(super) fn put_u64(out: &mut BytesMut, value: &u64) {
    out.put_u64(*value);
}

pub(super) fn u64(fields: &mut Reader) -> Read<u64> {
    Ok(fields.u64()?)
}

pub(super) fn put_id(out: &mut BytesMut, value: &MessageId) {
    out.put_u64(value.0 as u64);
}

pub(super) fn id(fields: &mut Reader) -> Read<MessageId> {
    fields.message_id()
}

pub(super) fn put_reason(out: &mut BytesMut, value: &Reason) {
    out.put_u16(*value as u16);
}

pub(super) fn reason(fields: &mut Reader) -> Read<Reason> {
    Ok(Reason::from_number(fields.u16()?).unwrap_or(Reason::Restarting))
}

pub(super) fn put_text(out: &mut BytesMut, value: &Text) {
    out.put_run(value.as_bytes());
}

pub(super) fn text(fields: &mut Reader) -> Read<Text> {
    fields.text(REASON_TEXT_BYTES_MAX)
}

pub(super) fn put_peers(out: &mut BytesMut, value: &[PeerId]) {
    Write::put_peers(out, value);
}

pub(super) fn watched(fields: &mut Reader) -> Read<Vec<PeerId>> {
    fields.peers(WATCHED_MAX, Reason::TooManyWatched)
}

/// Those of a watch list that a server names.
pub(super) fn of_watched(fields: &mut Reader) -> Read<Vec<PeerId>> {
    fields.peers(WATCHED_MAX, Reason::BadFrame)
}

pub(super) fn put_peer(out: &mut BytesMut, value: &PeerId) {
    out.put_run(value.as_str().as_bytes());
}

pub(super) fn peer(fields: &mut Reader) -> Read<PeerId> {
    fields.peer()
}

/// An empty text is nobody.
pub(super) fn put_maybe_peer(out: &mut BytesMut, value: &Option<PeerId>) {
    out.put_run(value.as_ref().map_or("", PeerId::as_str).as_bytes());
}

pub(super) fn maybe_peer(fields: &mut Reader) -> Read<Option<PeerId>> {
    fields.maybe_peer()
}

pub(super) fn put_group(out: &mut BytesMut, value: &GroupId) {
    out.put_slice(&value.0);
}

pub(super) fn group(fields: &mut Reader) -> Read<GroupId> {
    Ok(GroupId(fields.array()?))
}

pub(super) fn put_conversation(out: &mut BytesMut, value: &ConversationId) {
    Write::put_conversation(out, value);
}

pub(super) fn conversation(fields: &mut Reader) -> Read<ConversationId> {
    fields.conversation()
}

pub(super) fn put_signature(out: &mut BytesMut, value: &Option<Signature>) {
    Signature::encode(value.as_ref(), out);
}

pub(super) fn signature(fields: &mut Reader) -> Read<Option<Signature>> {
    Signature::decode(fields)
}

pub(super) fn put_metadata(out: &mut BytesMut, value: &[u8]) {
    out.put_run(value);
}

pub(super) fn metadata(fields: &mut Reader) -> Read<bytes::Bytes> {
    fields.bytes(GROUP_METADATA_BYTES_MAX, Reason::BadMetadata)
}

pub(super) fn put_flag(out: &mut BytesMut, value: &bool) {
    out.put_u8(u8::from(*value));
}

pub(super) fn flag(fields: &mut Reader) -> Read<bool> {
    Ok(fields.u8()? != 0)
}

pub(super) use crate::wire::app::{alias, put_alias};
pub(super) use crate::wire::group::{
    change, invited, members, of_invited, put_change, put_rules, rules,
};

/// The byte of flags in front of what may have waited.
pub(super) fn put_waited(out: &mut BytesMut, value: &bool) {
    out.put_u8(if *value { FLAG_WAITED } else { 0 });
}

pub(super) fn waited(fields: &mut Reader) -> Read<bool> {
    Ok(fields.u8()? & FLAG_WAITED != 0)
}
