//! The frames that open a session.
//!
//! # Invariants
//!
//! * The version is read before any other field of an Open: the fields of another version are not
//!   known.

use bytes::{BufMut, BytesMut};

use crate::id::{DeviceFlag, DeviceId, MessageId, PeerId, SessionId};
use crate::limits::{
    APP_ID_BYTES_MAX, CLIENT_NAME_BYTES_MAX, NONCE_BYTES_MAX, PROTOCOL_VERSION,
    SIGNATURE_BYTES_MAX, WATCHED_MAX,
};
use crate::reason::Reason;
use crate::wire::DecodeError;
use crate::wire::coding::{Reader, Text, Write};

/// Proof that the app's back end allows a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    /// A text used once.
    pub nonce: Text,
    /// When it was signed: seconds or milliseconds since 1970.
    pub timestamp: u64,
    /// Lower-case hexadecimal digits.
    pub signature: Text,
}

impl Signature {
    pub(super) fn encode(signature: Option<&Self>, out: &mut BytesMut) {
        let Some(signature) = signature else { return out.put_u8(0) };
        out.put_u8(1);
        out.put_run(signature.nonce.as_bytes());
        out.put_u64(signature.timestamp);
        out.put_run(signature.signature.as_bytes());
    }

    pub(super) fn decode(fields: &mut Reader) -> Result<Option<Self>, DecodeError> {
        match fields.u8()? {
            0 => Ok(None),
            1 => Ok(Some(Self {
                nonce: fields.text(NONCE_BYTES_MAX)?,
                timestamp: fields.u64()?,
                signature: fields.text(SIGNATURE_BYTES_MAX)?,
            })),
            _ => Err(DecodeError::new(Reason::BadFrame, "unknown kind of signature")),
        }
    }
}

/// Opens a session. The first frame of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Open {
    /// Version of the protocol that the client speaks.
    pub version: u16,
    /// The app it belongs to. A server that names its app refuses others, and who names none.
    pub app: Text,
    /// Who opens.
    pub peer: PeerId,
    /// On which device; `None` asks for a random id.
    pub device: Option<DeviceId>,
    /// What the device is.
    pub flag: DeviceFlag,
    /// A random number drawn when the client's process started; send numbers belong to it.
    pub instance: u64,
    /// The client's name and version, for people who look at the server.
    pub client: Text,
    /// The log that `cursor` belongs to; 0 for none.
    pub epoch: u64,
    /// The last message that the app has had; `NONE` for none.
    pub cursor: MessageId,
    /// Peers to be watched.
    pub watch: Vec<PeerId>,
    /// Proof that the app allows it.
    pub signature: Option<Signature>,
}

impl Open {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u16(self.version);
        out.put_run(self.app.as_bytes());
        out.put_run(self.peer.as_str().as_bytes());
        out.put_run(self.device.as_ref().map_or("", DeviceId::as_str).as_bytes());
        out.put_u8(self.flag as u8);
        out.put_u64(self.instance);
        out.put_run(self.client.as_bytes());
        out.put_u64(self.epoch);
        out.put_u64(self.cursor.0 as u64);
        out.put_peers(&self.watch);
        Signature::encode(self.signature.as_ref(), out);
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        let version = fields.u16()?;
        if version != PROTOCOL_VERSION {
            return Err(DecodeError::new(Reason::BadVersion, "this server speaks version 1"));
        }
        Ok(Self {
            version,
            app: fields.text(APP_ID_BYTES_MAX)?,
            peer: fields.peer()?,
            device: fields.device()?,
            flag: DeviceFlag::from_number(fields.u8()?)
                .ok_or(DecodeError::new(Reason::BadFrame, "unknown device flag"))?,
            instance: fields.u64()?,
            client: fields.text(CLIENT_NAME_BYTES_MAX)?,
            epoch: fields.u64()?,
            cursor: fields.message_id()?,
            watch: fields.peers(WATCHED_MAX, Reason::TooManyWatched)?,
            signature: Signature::decode(&mut fields)?,
        })
    }
}

/// The session is open.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Opened {
    /// The session, unlike every other of this server.
    pub session: SessionId,
    /// The log that ids and cursors belong to.
    pub epoch: u64,
    /// The device's id, which the client keeps.
    pub device: DeviceId,
    /// The number that the next Send of this instance has.
    pub next_number: u64,
    /// Messages that wait for this device.
    pub waiting: u64,
    /// Messages that the window gave up; a Dropped frame follows if there are any.
    pub dropped: u64,
    /// The server's time.
    pub at_ms: u64,
    /// Which of the watched peers are online.
    pub online: Vec<PeerId>,
    /// Bytes of a frame.
    pub frame_bytes_max: u64,
    /// Bytes of a message body.
    pub body_bytes_max: u64,
    /// Recipients of one Send.
    pub recipients_max: u64,
    /// Sends that may be unanswered.
    pub sends_max: u64,
}

impl Opened {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.session.0 as u64);
        out.put_u64(self.epoch);
        out.put_run(self.device.as_str().as_bytes());
        out.put_varint(self.next_number);
        out.put_varint(self.waiting);
        out.put_varint(self.dropped);
        out.put_u64(self.at_ms);
        out.put_peers(&self.online);
        out.put_varint(self.frame_bytes_max);
        out.put_varint(self.body_bytes_max);
        out.put_varint(self.recipients_max);
        out.put_varint(self.sends_max);
    }

    pub(super) fn decode(mut fields: Reader) -> Result<Self, DecodeError> {
        Ok(Self {
            session: SessionId(fields.message_id()?.0),
            epoch: fields.u64()?,
            device: fields
                .device()?
                .ok_or(DecodeError::new(Reason::BadFrame, "the device has no id"))?,
            next_number: fields.varint()?,
            waiting: fields.varint()?,
            dropped: fields.varint()?,
            at_ms: fields.u64()?,
            online: fields.peers(WATCHED_MAX, Reason::BadFrame)?,
            frame_bytes_max: fields.varint()?,
            body_bytes_max: fields.varint()?,
            recipients_max: fields.varint()?,
            sends_max: fields.varint()?,
        })
    }
}
