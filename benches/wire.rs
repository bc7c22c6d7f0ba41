//! What does it cost to encode and to decode a Send and a Deliver of 256 bytes?
//!
//! Share of the whole, by `perf` of the server's own functions: 1.1 percent of its CPU at `chat
//! --sessions 200 --window 16`, 0.4 at `--sessions 1000 --window 1`, 0.5 at `rate` 1,000/s.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use tidings::id::{ConversationId, MessageId, PeerId};
use tidings::limits::FRAME_BYTES_MAX;
use tidings::wire::{ClientFrame, Decoder, Deliver, RawFrame, Send, ServerFrame, Target};

/// Frames that are read from one chunk of a stream: about 10 KiB of them.
const FRAMES_PER_CHUNK: usize = 32;

fn peer(text: &str) -> PeerId {
    PeerId::new(text).expect("a valid id")
}

fn send() -> ClientFrame {
    ClientFrame::Send(Send {
        request: 1_000,
        transient: false,
        receipt: false,
        number: 100_000,
        answered: 99_990,
        ttl_ms: 0,
        client_msg_no: "".into(),
        target: Target::Peers(vec![peer("peer-000042")]),
        body: Bytes::from(vec![7; 256]),
        push: "".into(),
    })
}

fn deliver() -> ServerFrame {
    let (from, to) = (peer("peer-000007"), peer("peer-000042"));
    ServerFrame::Deliver(Deliver {
        transient: false,
        receipt: false,
        waited: false,
        own: false,
        id: MessageId(0x0123_4567_89ab_cdef),
        sequence: 4_711,
        at_ms: 1_767_225_600_000,
        conversation: ConversationId::of_peers([&from, &to]),
        from,
        to: vec![to],
        client_msg_no: "".into(),
        body: Bytes::from(vec![7; 256]),
    })
}

fn chunk_of(encode: impl Fn(&mut BytesMut)) -> Bytes {
    let mut chunk = BytesMut::new();
    for _ in 0..FRAMES_PER_CHUNK {
        encode(&mut chunk);
    }
    chunk.freeze()
}

/// Cuts a chunk into frames and decodes each.
fn read<T>(chunk: &Bytes, decode: impl Fn(RawFrame) -> T) {
    let mut decoder = Decoder::new(FRAME_BYTES_MAX);
    decoder.push(chunk.clone());
    while let Some(raw) = decoder.next_frame().expect("whole frames") {
        black_box(decode(raw));
    }
}

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    group.throughput(Throughput::Elements(FRAMES_PER_CHUNK as u64));
    let (send, deliver) = (send(), deliver());
    let mut out = BytesMut::with_capacity(FRAMES_PER_CHUNK * 512);
    group.bench_function("encode 32 Sends", |b| {
        b.iter(|| {
            out.clear();
            (0..FRAMES_PER_CHUNK).for_each(|_| black_box(&send).encode(&mut out));
            black_box(&out);
        });
    });
    group.bench_function("encode 32 Delivers", |b| {
        b.iter(|| {
            out.clear();
            (0..FRAMES_PER_CHUNK).for_each(|_| black_box(&deliver).encode(&mut out));
            black_box(&out);
        });
    });
    let sends = chunk_of(|out| send.encode(out));
    group.bench_function("decode 32 Sends", |b| {
        b.iter(|| read(&sends, |raw| ClientFrame::decode(raw).expect("a Send")));
    });
    let delivers = chunk_of(|out| deliver.encode(out));
    group.bench_function("decode 32 Delivers", |b| {
        b.iter(|| read(&delivers, |raw| ServerFrame::decode(raw).expect("a Deliver")));
    });
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
