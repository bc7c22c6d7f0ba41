//! Frames of either direction, out of a stream of any bytes.
//!
//! The first byte of an input says in what chunks the rest arrives.
//!
//! # Invariants
//!
//! * However the stream is cut, the same frames come out, or the same error.
//! * What is decoded and encoded again is decoded as the same, is no longer than it was, and stays
//!   the same bytes from then on.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use tidings::limits::FRAME_BYTES_MAX;
use tidings::reason::Reason;
use tidings::wire::{
    ClientFrame, Decoder, RawFrame, ServerFrame, datagram_stream, put_datagram_stream, request_of,
};

fuzz_target!(|input: &[u8]| {
    let Some((cut, stream)) = input.split_first() else { return };
    let stream = Bytes::copy_from_slice(stream);
    let (frames, end) = read(std::iter::once(stream.clone()));
    let size = usize::from(*cut).max(1);
    let in_chunks = read(stream.chunks(size).map(|chunk| stream.slice_ref(chunk)));
    assert_eq!(in_chunks, (frames.clone(), end));
    for raw in frames {
        assert!(raw.fields.len() < FRAME_BYTES_MAX);
        check_client(raw.clone());
        check_server(raw);
    }
    check_datagram(stream);
});

/// All frames of a stream in chunks, and why it cannot be read further.
fn read(chunks: impl Iterator<Item = Bytes>) -> (Vec<RawFrame>, Option<Reason>) {
    let (mut decoder, mut frames) = (Decoder::new(FRAME_BYTES_MAX), Vec::new());
    for chunk in chunks {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error.reason)),
            }
        }
    }
    (frames, None)
}

/// The only frame of some bytes.
fn only(encoded: &BytesMut) -> RawFrame {
    let (mut frames, end) = read(std::iter::once(encoded.clone().freeze()));
    assert_eq!((frames.len(), end), (1, None));
    frames.remove(0)
}

fn check_client(raw: RawFrame) {
    let request = request_of(&raw);
    let Ok(frame) = ClientFrame::decode(raw.clone()) else { return };
    let (mut out, mut again) = (BytesMut::new(), BytesMut::new());
    frame.encode(&mut out);
    let shortest = only(&out);
    assert!(shortest.fields.len() <= raw.fields.len(), "{frame:?}");
    assert_eq!((request_of(&shortest), frame.request()), (request, request), "{frame:?}");
    let decoded = ClientFrame::decode(shortest).unwrap();
    assert_eq!(decoded, frame);
    decoded.encode(&mut again);
    assert_eq!(again, out);
}

fn check_server(raw: RawFrame) {
    let Ok(frame) = ServerFrame::decode(raw.clone()) else { return };
    let (mut out, mut again) = (BytesMut::new(), BytesMut::new());
    frame.encode(&mut out);
    let shortest = only(&out);
    assert!(shortest.fields.len() <= raw.fields.len(), "{frame:?}");
    let decoded = ServerFrame::decode(shortest).unwrap();
    assert_eq!(decoded, frame);
    decoded.encode(&mut again);
    assert_eq!(again, out);
}

fn check_datagram(mut datagram: Bytes) {
    let whole = datagram.clone();
    let Ok(stream) = datagram_stream(&mut datagram) else { return };
    let mut out = BytesMut::new();
    put_datagram_stream(&mut out, stream);
    out.extend_from_slice(&datagram);
    assert!(out.len() <= whole.len());
    let mut again = out.freeze();
    assert_eq!((datagram_stream(&mut again), &again), (Ok(stream), &datagram));
}
