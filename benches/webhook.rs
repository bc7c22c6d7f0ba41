//! How long does it take to tell of a message of 256 bytes, in each dialect, and to sign a request?
//!
//! Share of the whole, by `perf` at `webhook --rate 10000`: 3 percent of the server's CPU, base64
//! with it; TLS and the sockets are not measured here.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use tidings::id::{ConversationId, DeviceId, MessageId, PeerId};
use tidings::store::{Absent, Entry, Message, Origin, Placed};
use tidings::webhook::dialect::{Dialect, Style};
use tidings::webhook::event::events;
use tidings::webhook::sign::{Secret, headers};

const AT_MS: i64 = 1_767_225_600_000;
const ID: MessageId = MessageId(0x0123_4567_89ab_cdef);
/// Events in one request.
const BATCH: usize = 500;

fn peer(text: &str) -> PeerId {
    PeerId::new(text).expect("a valid id")
}

fn body() -> Bytes {
    format!(r#"{{"type":"txt","msg":"{}","own":7}}"#, "a text of words ".repeat(14)).into()
}

/// A message, and the peers that are away.
fn message(absent: Vec<Absent>) -> Placed {
    let (from, to) = (peer("peer-000007"), peer("peer-000042"));
    let message = Message {
        id: ID,
        sequence: 4_711,
        at_ms: AT_MS,
        expires_ms: 0,
        conversation: ConversationId::of_peers([&from, &to]),
        from,
        to: vec![to],
        devices: Vec::new(),
        receipt: false,
        client_msg_no: Bytes::new(),
        body: body(),
    };
    let origin = Origin::Backend { repeat: None, system: false };
    let (message, push) = (Arc::new(message), Bytes::new());
    let entry = Entry::Message { message, origin, hash: 0, push, absent };
    Placed { id: ID, at_ms: AT_MS, entry }
}

fn delivered() -> Placed {
    let entry = Entry::Delivered {
        to: peer("peer-000007"),
        by: peer("peer-000042"),
        device: DeviceId::new("0123456789abcdef0123456789abcdef").expect("a valid id"),
        conversation: ConversationId::of_peers([&peer("peer-000007"), &peer("peer-000042")]),
        sequence: 4_711,
        messages: vec![ID],
    };
    Placed { id: ID, at_ms: AT_MS, entry }
}

fn style(dialect: Dialect) -> Style {
    Style {
        dialect,
        app_id: "acme".into(),
        push_text: "A new message".into(),
        secret: b"secret".to_vec(),
        ..Style::default()
    }
}

fn telling(c: &mut Criterion) {
    let mut group = c.benchmark_group("telling of");
    group.throughput(Throughput::Elements(1));
    let absent = vec![Absent { peer: peer("peer-000042"), waiting: 3 }];
    for dialect in Dialect::ALL {
        let style = style(dialect);
        let tell = |placed: &Placed| {
            let events = events(black_box(placed), &[]);
            events.iter().flat_map(|event| style.fragments(event)).count()
        };
        let (sent, offline, delivered) =
            (message(Vec::new()), message(absent.clone()), delivered());
        if dialect == Dialect::Getui {
            group.bench_function("a delivery/getui", |b| b.iter(|| tell(&delivered)));
            continue;
        }
        group.bench_function(format!("a message/{dialect}"), |b| b.iter(|| tell(&sent)));
        let name = format!("a message that waits/{dialect}");
        group.bench_function(name, |b| b.iter(|| tell(&offline)));
    }
    group.finish();
}

fn sending(c: &mut Criterion) {
    let mut group = c.benchmark_group("a request");
    group.throughput(Throughput::Elements(BATCH as u64));
    let style = style(Dialect::Tidings);
    let event = events(&message(Vec::new()), &[]).remove(0);
    let fragments: Vec<_> = (0..BATCH).flat_map(|_| style.fragments(&event)).collect();
    group.bench_function("a body of 500 events", |b| b.iter(|| style.body(black_box(&fragments))));
    let outgoing = style.body(&fragments);
    let secret: Secret = "a secret of some length".parse().expect("a valid secret");
    group.bench_function("its signatures", |b| {
        b.iter(|| headers(std::slice::from_ref(&secret), "id", 7, black_box(&outgoing.body)));
    });
    group.finish();
}

criterion_group!(benches, telling, sending);
criterion_main!(benches);
