//! Frames, as a client makes them and as no client should.

use bytes::{BufMut, Bytes, BytesMut};

use tidings::id::{DeviceFlag, DeviceId, MessageId, PeerId};
use tidings::limits::PROTOCOL_VERSION;
use tidings::wire::{ClientFrame, Open, Send, Target};

pub(crate) fn peer(name: &str) -> PeerId {
    name.parse().unwrap()
}

/// An Open of a peer on a device of the same name.
pub(crate) fn open(name: &str) -> Open {
    open_on(name, name)
}

pub(crate) fn open_on(name: &str, device: &str) -> Open {
    Open {
        version: PROTOCOL_VERSION,
        app: "".into(),
        peer: peer(name),
        device: Some(DeviceId::new(device).unwrap()),
        flag: DeviceFlag::App,
        instance: 7,
        client: "it/1".into(),
        epoch: 0,
        cursor: MessageId::NONE,
        watch: Vec::new(),
        signature: None,
    }
}

/// A persistent Send; the request has the number of the send.
pub(crate) fn send(number: u64, to: &[&str], body: impl Into<Bytes>) -> Send {
    Send {
        request: number,
        transient: false,
        receipt: false,
        number,
        answered: 0,
        ttl_ms: 0,
        client_msg_no: "".into(),
        target: Target::Peers(to.iter().map(|name| peer(name)).collect()),
        body: body.into(),
        push: "".into(),
    }
}

/// A frame with any fields, also none of the protocol's.
pub(crate) fn raw_frame(kind: u8, fields: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32((fields.len() as u32 + 1) | 0x8000_0000);
    out.put_u8(kind);
    out.put_slice(fields);
    out.freeze()
}

pub(crate) fn encoded(frame: impl Into<ClientFrame>) -> Bytes {
    let mut out = BytesMut::new();
    frame.into().encode(&mut out);
    out.freeze()
}
