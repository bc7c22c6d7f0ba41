//! Fast paths for the three frames that a load test is made of: Send, Sent and Deliver.
//!
//! # Invariants
//!
//! * What is written here is byte for byte what `tidings::wire` writes, and what is read here is
//!   what it reads: tests compare them. All other frames go through `tidings::wire`.
//! * Reading never panics.

use bytes::{BufMut, BytesMut};
use tidings::wire::kind;

use crate::names::NAME_BYTES;
use crate::stamp::Stamp;

/// Bytes of a group's id.
pub(crate) const GROUP_BYTES: usize = 12;

const FLAG_TRANSIENT: u8 = 1;

/// Whom a Send is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To<'a> {
    /// The peer of this name.
    Peer([u8; NAME_BYTES]),
    /// The peers of these names, fewer than 64.
    Peers(&'a [[u8; NAME_BYTES]]),
    /// The group with this id.
    Group([u8; GROUP_BYTES]),
}

/// Appends a Send of a body of `payload` bytes.
///
/// The request number is the send number.
pub(crate) fn put_send(
    out: &mut BytesMut,
    stamp: &Stamp,
    answered: u64,
    to: &To<'_>,
    payload: usize,
) {
    let start = out.len();
    out.reserve(payload + NAME_BYTES + 48);
    out.put_slice(&[0, 0, kind::SEND]);
    put_varint(out, stamp.number);
    out.put_u8(0); // flags
    put_varint(out, stamp.number);
    put_varint(out, answered);
    out.put_slice(&[0, 0]); // ttl, client_msg_no
    match to {
        To::Peer(name) => {
            out.put_slice(&[0, 1, NAME_BYTES as u8]); // peers: one, its length
            out.put_slice(name);
        }
        To::Peers(names) => {
            out.put_slice(&[0, names.len() as u8]);
            for name in *names {
                out.put_u8(NAME_BYTES as u8);
                out.put_slice(name);
            }
        }
        To::Group(group) => {
            out.put_u8(1);
            out.put_slice(group);
        }
    }
    put_varint(out, payload as u64);
    stamp.put(out, payload);
    put_len(out, start);
}

/// Appends a Sent.
pub(crate) fn put_sent(out: &mut BytesMut, request: u64, id: u64, sequence: u64, at_ms: u64) {
    let start = out.len();
    out.reserve(48);
    out.put_slice(&[0, 0, kind::SENT]);
    put_varint(out, request);
    out.put_u64(id);
    put_varint(out, sequence);
    out.put_u64(at_ms);
    put_len(out, start);
}

/// Appends a Deliver of a message between two peers.
pub(crate) fn put_deliver(
    out: &mut BytesMut,
    id: u64,
    sequence: u64,
    at_ms: u64,
    from: &[u8],
    send: &SendView<'_>,
) {
    let start = out.len();
    out.reserve(send.body.len() + from.len() + send.to.len() + 64);
    out.put_slice(&[0, 0, kind::DELIVER, 0]);
    out.put_u64(id);
    put_varint(out, sequence);
    out.put_u64(at_ms);
    out.put_bytes(0, 17); // A conversation of peers: a relay does not work out which.
    put_varint(out, from.len() as u64);
    out.put_slice(from);
    out.put_u8(1);
    put_varint(out, send.to.len() as u64);
    out.put_slice(send.to);
    out.put_u8(0); // client_msg_no
    put_varint(out, send.body.len() as u64);
    out.put_slice(send.body);
    put_len(out, start);
}

fn put_len(out: &mut BytesMut, start: usize) {
    let len = (out.len() - start - 2) as u16 | 0x4000;
    out[start..start + 2].copy_from_slice(&len.to_be_bytes());
}

fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..=0x3f => out.put_u8(value as u8),
        0x40..=0x3fff => out.put_u16(value as u16 | 0x4000),
        0x4000..=0x3fff_ffff => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

/// What a relay needs of a Send to one peer.
#[derive(Debug)]
pub(crate) struct SendView<'a> {
    pub(crate) request: u64,
    pub(crate) to: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl<'a> SendView<'a> {
    /// Reads the fields of a persistent Send to one peer.
    pub(crate) fn read(fields: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(fields);
        let request = fields.varint()?;
        let flags = fields.u8()?;
        let (_number, _answered, _ttl) = (fields.varint()?, fields.varint()?, fields.varint()?);
        let _client_msg_no = fields.run()?;
        let one_peer = fields.u8()? == 0 && fields.varint()? == 1;
        let view = Self { request, to: fields.run()?, body: fields.run()? };
        (one_peer && flags & FLAG_TRANSIENT == 0).then_some(view)
    }
}

/// What the generator needs of a Sent.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct SentView {
    pub(crate) request: u64,
    pub(crate) id: u64,
    pub(crate) sequence: u64,
}

impl SentView {
    /// Reads the fields of a Sent.
    pub(crate) fn read(fields: &[u8]) -> Option<Self> {
        let mut fields = Fields(fields);
        let (request, id) = (fields.varint()?, fields.u64()?);
        Some(Self { request, id, sequence: fields.varint()? })
    }
}

/// What the generator needs of a Deliver.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct DeliverView<'a> {
    pub(crate) id: u64,
    pub(crate) sequence: u64,
    /// The group it was sent to; `None` if it was sent to a peer.
    pub(crate) group: Option<&'a [u8]>,
    pub(crate) from: &'a [u8],
    /// The peer it was sent to; of several, the first; empty in a group.
    pub(crate) to: &'a [u8],
    /// The other peers it was sent to, each behind its length.
    others: &'a [u8],
    /// Peers it was sent to.
    pub(crate) to_count: u64,
    pub(crate) body: &'a [u8],
}

impl<'a> DeliverView<'a> {
    /// Reads the fields of a Deliver of a message to peers or to a group.
    pub(crate) fn read(fields: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(fields);
        let _flags = fields.u8()?;
        let id = fields.u64()?;
        let sequence = fields.varint()?;
        let _at_ms = fields.u64()?;
        let group = match fields.u8()? {
            0 => fields.take(16).map(|_| None)?,
            _ => Some(fields.take(GROUP_BYTES)?),
        };
        let from = fields.run()?;
        let to_count = fields.varint()?;
        let to: &[u8] = match (to_count, group) {
            (0, Some(_)) => &[],
            (1.., None) => fields.run()?,
            _ => return None,
        };
        let others = fields.runs(to_count.saturating_sub(1))?;
        let _client_msg_no = fields.run()?;
        Some(Self { id, sequence, group, from, to, others, to_count, body: fields.run()? })
    }

    /// Whether it was sent to the peer of this name.
    pub(crate) fn is_to(&self, name: &[u8]) -> bool {
        let mut others = Fields(self.others);
        self.to == name || std::iter::from_fn(|| others.run()).any(|other| other == name)
    }
}

/// Fields read off the front of a slice.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let rest = self.take((1 << (first >> 6)) - 1)?;
        Some(rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
    }

    /// So many runs, not looked into.
    fn runs(&mut self, count: u64) -> Option<&'a [u8]> {
        let before = self.0;
        (0..count).try_for_each(|_| self.run().map(drop))?;
        before.get(..before.len() - self.0.len())
    }

    fn run(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.take(usize::try_from(len).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidings::id::{ConversationId, GroupId, MessageId, PeerId};
    use tidings::wire::{ClientFrame, Decoder, Deliver, Send, Sent, ServerFrame, Target, Text};

    use super::*;
    use crate::names::{Names, index_in};
    use crate::stamp::STAMP_BYTES;

    fn peer(name: &[u8]) -> PeerId {
        PeerId::new(std::str::from_utf8(name).unwrap()).unwrap()
    }

    fn fields(frame: &BytesMut) -> Bytes {
        let mut decoder = Decoder::new(tidings::limits::FRAME_BYTES_MAX);
        decoder.push(frame.clone().freeze());
        decoder.next_frame().unwrap().unwrap().fields
    }

    fn sent_frame(number: u64, payload: usize) -> (BytesMut, ClientFrame) {
        let names = Names::tagged(0x0a_0b0c);
        let stamp = Stamp { sender: 3, number, intended_ns: 0x0102_0304_0506_0708 };
        let mut fast = BytesMut::new();
        let to = To::Peer(names.name(1_234_567));
        put_send(&mut fast, &stamp, number / 2, &to, payload);
        let mut body = vec![0, 0, 0, 3];
        body.extend_from_slice(&number.to_be_bytes());
        body.extend_from_slice(&stamp.intended_ns.to_be_bytes());
        body.resize(payload, 0);
        let frame = Send {
            request: number,
            transient: false,
            receipt: false,
            number,
            answered: number / 2,
            ttl_ms: 0,
            client_msg_no: Text::default(),
            target: Target::Peers(vec![peer(b"lt0a0b0c-1234567")]),
            body: body.into(),
            push: Text::default(),
        };
        (fast, frame.into())
    }

    #[test]
    fn a_send_is_what_the_wire_codec_writes() {
        for number in [1, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, 1 << 40] {
            for payload in [STAMP_BYTES, 63, 64, 256, 5 * 1024] {
                let (fast, frame) = sent_frame(number, payload);
                let mut slow = BytesMut::new();
                frame.encode(&mut slow);
                assert_eq!(fast, slow, "number {number}, payload {payload}");
            }
        }
    }

    #[test]
    fn a_send_to_several_peers_is_what_the_wire_codec_writes() {
        let stamp = Stamp { sender: 3, number: 70, intended_ns: 9 };
        let names = [*b"lt0a0b0c-0000004", *b"lt0a0b0c-0000005"];
        let mut fast = BytesMut::new();
        put_send(&mut fast, &stamp, 70, &To::Peers(&names), 300);
        let (_, single) = sent_frame(70, 300);
        let ClientFrame::Send(send) = single else { panic!("not a Send") };
        let mut body = send.body.to_vec();
        body[12..20].copy_from_slice(&9u64.to_be_bytes());
        let target = Target::Peers(names.iter().map(|name| peer(name)).collect());
        let mut slow = BytesMut::new();
        let send = Send { answered: 70, target, body: body.into(), ..send };
        ClientFrame::from(send).encode(&mut slow);
        assert_eq!(fast, slow);
    }

    #[test]
    fn a_send_to_a_group_is_what_the_wire_codec_writes() {
        let stamp = Stamp { sender: 3, number: 70, intended_ns: 9 };
        let mut fast = BytesMut::new();
        put_send(&mut fast, &stamp, 70, &To::Group([7; GROUP_BYTES]), 300);
        let (_, peers) = sent_frame(70, 300);
        let ClientFrame::Send(send) = peers else { panic!("not a Send") };
        let mut body = send.body.to_vec();
        body[12..20].copy_from_slice(&9u64.to_be_bytes());
        let target = Target::Group(GroupId([7; GROUP_BYTES]));
        let mut slow = BytesMut::new();
        let send = Send { answered: 70, target, body: body.into(), ..send };
        ClientFrame::from(send).encode(&mut slow);
        assert_eq!(fast, slow);
    }

    #[test]
    fn a_deliver_to_a_group_or_to_several_peers_is_read() {
        let frame = Deliver {
            transient: false,
            receipt: false,
            waited: false,
            own: false,
            id: MessageId(5),
            sequence: 6,
            at_ms: 7,
            conversation: ConversationId::Group(GroupId([7; GROUP_BYTES])),
            from: peer(b"lt0a0b0c-0000003"),
            to: Vec::new(),
            client_msg_no: Text::default(),
            body: Bytes::from_static(b"to all"),
        };
        let mut bytes = BytesMut::new();
        ServerFrame::from(frame.clone()).encode(&mut bytes);
        let read = fields(&bytes);
        let view = DeliverView::read(&read).unwrap();
        assert_eq!((view.id, view.sequence, index_in(view.from)), (5, 6, Some(3)));
        assert_eq!((view.group, view.to), (Some([7; GROUP_BYTES].as_slice()), b"".as_slice()));
        assert_eq!(view.body, b"to all");
        let names = [b"lt0a0b0c-0000001", b"lt0a0b0c-0000002", b"lt0a0b0c-0000004"];
        let to_several = Deliver {
            conversation: ConversationId::Peers([0; 16]),
            to: names.iter().map(|name| peer(*name)).collect(),
            ..frame.clone()
        };
        let mut bytes = BytesMut::new();
        ServerFrame::from(to_several).encode(&mut bytes);
        let read = fields(&bytes);
        let view = DeliverView::read(&read).unwrap();
        assert_eq!((view.to_count, view.body), (3, b"to all".as_slice()));
        assert!(names.iter().all(|name| view.is_to(*name)));
        assert!(!view.is_to(b"lt0a0b0c-0000003"));
        let to_peer = Deliver { to: vec![peer(b"lt0a0b0c-0000001")], ..frame };
        let mut bytes = BytesMut::new();
        ServerFrame::from(to_peer).encode(&mut bytes);
        assert!(DeliverView::read(&fields(&bytes)).is_none(), "a group has no list of peers");
    }

    #[test]
    fn a_relay_reads_what_a_client_sends() {
        let (fast, _) = sent_frame(77, 256);
        let fields = fields(&fast);
        let view = SendView::read(&fields).unwrap();
        assert_eq!((view.request, index_in(view.to), view.body.len()), (77, Some(1_234_567), 256));
        let stamp = Stamp::of(view.body).unwrap();
        assert_eq!((stamp.sender, stamp.number), (3, 77));
        for len in 0..fields.len() {
            assert!(SendView::read(&fields[..len]).is_none());
        }
    }

    #[test]
    fn a_sent_is_what_the_wire_codec_writes_and_reads() {
        let mut fast = BytesMut::new();
        put_sent(&mut fast, 300, 1 << 50, 70_000, 1_700_000_000_000);
        let sent = Sent {
            request: 300,
            id: MessageId(1 << 50),
            sequence: 70_000,
            at_ms: 1_700_000_000_000,
        };
        let mut slow = BytesMut::new();
        ServerFrame::from(sent).encode(&mut slow);
        assert_eq!(fast, slow);
        let view = SentView::read(&fields(&slow));
        assert_eq!(view, Some(SentView { request: 300, id: 1 << 50, sequence: 70_000 }));
    }

    #[test]
    fn a_deliver_is_what_the_wire_codec_writes_and_reads() {
        let (send, _) = sent_frame(9, 100);
        let send = fields(&send);
        let send = SendView::read(&send).unwrap();
        let mut fast = BytesMut::new();
        put_deliver(&mut fast, 5, 6, 7, b"lt0a0b0c-0000003", &send);
        let frame = Deliver {
            transient: false,
            receipt: false,
            waited: false,
            own: false,
            id: MessageId(5),
            sequence: 6,
            at_ms: 7,
            conversation: ConversationId::Peers([0; 16]),
            from: peer(b"lt0a0b0c-0000003"),
            to: vec![peer(b"lt0a0b0c-1234567")],
            client_msg_no: Text::default(),
            body: Bytes::copy_from_slice(send.body),
        };
        let mut slow = BytesMut::new();
        ServerFrame::from(frame).encode(&mut slow);
        assert_eq!(fast, slow);
        let fields = fields(&slow);
        let view = DeliverView::read(&fields).unwrap();
        assert_eq!((view.id, view.sequence, index_in(view.from)), (5, 6, Some(3)));
        assert_eq!((view.to, view.body), (send.to, send.body));
        for len in 0..fields.len() {
            assert!(DeliverView::read(&fields[..len]).is_none());
        }
    }
}
