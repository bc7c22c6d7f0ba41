//! Who writes to whom in tests of the store, and what.

use bytes::Bytes;
use tidings::id::{ConversationId, DeviceId, PeerId};
use tidings::store::{NewMessage, Origin, SendNumber};

pub(crate) fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub(crate) fn conversation(one: &str, other: &str) -> ConversationId {
    ConversationId::of_peers([&peer(one), &peer(other)])
}

/// A message from the device `d` of its sender.
pub(crate) fn new_message(from: &str, to: &str, number: u64, body: &[u8]) -> NewMessage {
    NewMessage {
        from: peer(from),
        origin: Origin::Client(send_number(number)),
        conversation: conversation(from, to),
        to: vec![peer(to)],
        devices: Vec::new(),
        receipt: false,
        ttl_ms: 0,
        client_msg_no: Bytes::new(),
        body: Bytes::copy_from_slice(body),
        push: Bytes::new(),
    }
}

/// A send of the device `d`.
pub(crate) fn send_number(number: u64) -> SendNumber {
    SendNumber { device: device("d"), instance: 1, number, answered: 0 }
}
