//! What holds for every frame and for any bytes.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use tidings::limits::FRAME_BYTES_MAX;
use tidings::reason::Reason;
use tidings::wire::{
    ClientFrame, Decoder, RawFrame, ServerFrame, datagram_stream, put_datagram_stream, request_of,
};

use crate::strategies::{any_frame, any_varint};
use crate::{Frame, first_frame, golden_kinds};

/// Every frame that comes out of the stream when it arrives in these chunks.
fn read_all(chunks: impl IntoIterator<Item = Bytes>) -> Vec<RawFrame> {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(frame) = decoder.next_frame().unwrap() {
            frames.push(frame);
        }
    }
    frames
}

/// The varint that `bytes` begin with, read by the letter of RFC 9000, section 16.
fn read_varint(bytes: &[u8]) -> u64 {
    let len = [1, 2, 4, 8][usize::from(bytes[0] >> 6)];
    let mut whole = [0; 8];
    whole[8 - len..].copy_from_slice(&bytes[..len]);
    whole[8 - len] &= 0x3f;
    u64::from_be_bytes(whole)
}

fn decode_as_both(raw: RawFrame) {
    let _ = ClientFrame::decode(raw.clone());
    let _ = ServerFrame::decode(raw);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_frame_cut_at_any_place_comes_out_as_it_went_in(frame in any_frame()) {
        let bytes = frame.encode();
        for cut in 0..=bytes.len() {
            let raws = read_all([bytes.slice(..cut), bytes.slice(cut..)]);
            prop_assert_eq!(raws.len(), 1, "cut at {}", cut);
            prop_assert_eq!(&frame.decode_like(raws[0].clone()), &frame, "cut at {}", cut);
        }
    }

    #[test]
    fn a_stream_in_chunks_of_any_size_has_the_same_frames(
        frames in vec(any_frame(), 1..8),
        sizes in vec(1..200usize, 1..40),
    ) {
        let mut stream = Bytes::from(frames.iter().flat_map(Frame::encode).collect::<Vec<u8>>());
        let mut sizes = sizes.iter().cycle();
        let mut chunks = Vec::new();
        while !stream.is_empty() {
            chunks.push(stream.split_to(stream.len().min(*sizes.next().unwrap())));
        }
        let raws = read_all(chunks);
        prop_assert_eq!(raws.len(), frames.len());
        for (raw, frame) in raws.into_iter().zip(&frames) {
            prop_assert_eq!(&frame.decode_like(raw), frame);
        }
    }

    #[test]
    fn bytes_of_any_kind_never_panic_in_the_decoder(
        chunks in vec(vec(any::<u8>(), 0..100), 0..20),
    ) {
        let mut decoder = Decoder::new(FRAME_BYTES_MAX);
        'stream: for chunk in chunks {
            decoder.push(chunk.into());
            loop {
                match decoder.next_frame() {
                    Ok(Some(raw)) => decode_as_both(raw),
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }

    #[test]
    fn fields_of_any_kind_never_panic(
        known in prop_oneof![any::<u8>(), prop::sample::select(golden_kinds())],
        fields in vec(any::<u8>(), 0..300),
    ) {
        decode_as_both(RawFrame { kind: known, fields: fields.into() });
    }

    #[test]
    fn a_frame_with_a_few_bytes_changed_never_panics(
        frame in any_frame(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        kept in any::<prop::sample::Index>(),
    ) {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        let mut fields = fields.to_vec();
        for (index, byte) in changes {
            let index = index.index(fields.len());
            fields[index] = byte;
        }
        fields.truncate(kept.index(fields.len()) + 1);
        let raw = RawFrame { kind, fields: fields.into() };
        decode_as_both(raw);
    }

    #[test]
    fn fields_behind_the_known_ones_are_skipped(
        frame in any_frame(),
        more in vec(any::<u8>(), 1..50),
    ) {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        // A text for a push service that is missing is empty when fields follow it.
        let is_missing = match &frame {
            Frame::Client(ClientFrame::Send(send)) => send.push.as_bytes().is_empty(),
            _ => false,
        };
        let push: &[u8] = if is_missing { &[0] } else { &[] };
        let fields = [&fields[..], push, &more].concat().into();
        prop_assert_eq!(frame.decode_like(RawFrame { kind, fields }), frame);
    }

    #[test]
    fn a_frame_that_ends_early_is_a_bad_frame(frame in any_frame()) {
        let RawFrame { kind, fields } = first_frame(frame.encode());
        // The text for a push service may be missing.
        let push = match &frame {
            Frame::Client(ClientFrame::Send(send)) => send.push.as_bytes().len(),
            _ => 0,
        };
        let whole = (push > 0).then(|| fields.len() - push - if push < 64 { 1 } else { 2 });
        for len in (0..fields.len()).filter(|len| Some(*len) != whole) {
            let raw = RawFrame { kind, fields: fields.slice(..len) };
            let error = match frame {
                Frame::Client(_) => ClientFrame::decode(raw).err(),
                Frame::Server(_) => ServerFrame::decode(raw).err(),
            };
            prop_assert_eq!(error.map(|e| e.reason), Some(Reason::BadFrame), "{} bytes", len);
        }
    }

    #[test]
    fn the_request_of_a_frame_is_known_though_the_rest_of_it_is_not(frame in any_frame()) {
        let Frame::Client(client) = &frame else { return Ok(()) };
        let raw = first_frame(frame.encode());
        let asked = match client {
            ClientFrame::Open(_) | ClientFrame::Ack(_) => 0,
            // What the answer to a frame of any other kind carries back is its first field.
            _ => read_varint(&raw.fields),
        };
        prop_assert_eq!(request_of(&raw), asked);
        let nothing = RawFrame { kind: raw.kind, fields: Bytes::new() };
        prop_assert_eq!(request_of(&nothing), 0);
    }

    #[test]
    fn a_datagram_says_which_stream_it_is_of(stream in any_varint(), frame in any_frame()) {
        let mut out = BytesMut::new();
        put_datagram_stream(&mut out, stream);
        out.put(frame.encode());
        let mut datagram = out.freeze();
        prop_assert_eq!(datagram_stream(&mut datagram), Ok(stream));
        prop_assert_eq!(frame.decode_like(first_frame(datagram)), frame);
    }
}
