//! What does one commit cost, alone and with the company of a hundred messages?
//!
//! Each is measured from handing over the first message to having the last outcome, with the sync
//! of a real folder below the build folder.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tidings::id::{ConversationId, DeviceId, PeerId};
use tidings::metrics::Metrics;
use tidings::store::{NewMessage, Options, Origin, Outcome, Request, SendNumber, Store};
use tokio::runtime::Runtime;

/// Peers that the messages go to, so that no inbox is longer than a window.
const PEERS: u64 = 1_000;

/// A store, and how many outcomes each commit handed out.
struct Bench {
    store: Store<u64>,
    outcomes: Receiver<usize>,
    runtime: Runtime,
    sent: u64,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let options = Options::new(folder.path().join("data"));
        let (outcomes_tx, outcomes) = channel();
        let hand_out = move |outcomes: Vec<Outcome<u64>>, _| {
            // The bench may be over.
            let _ = outcomes_tx.send(outcomes.len());
        };
        let store = Store::open(options, Arc::new(Metrics::new()), hand_out).expect("a store");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { store, outcomes, runtime, sent: 0, _folder: folder }
    }

    fn message(&mut self, body: &Bytes) -> Request {
        self.sent += 1;
        let from = PeerId::new("sender").expect("a valid id");
        let to = PeerId::new(&format!("peer-{}", self.sent % PEERS)).expect("a valid id");
        Request::Message(NewMessage {
            origin: Origin::Client(SendNumber {
                device: DeviceId::new("device").expect("a valid id"),
                instance: 1,
                number: self.sent,
                answered: self.sent,
            }),
            conversation: ConversationId::of_peers([&from, &to]),
            from,
            to: vec![to],
            devices: Vec::new(),
            receipt: false,
            ttl_ms: 0,
            client_msg_no: Bytes::new(),
            body: body.clone(),
            push: Bytes::new(),
        })
    }

    /// Sends so many messages together and waits for all their outcomes.
    fn send(&mut self, count: usize, body: &Bytes) {
        for caller in 0..count as u64 {
            let request = self.message(body);
            self.runtime.block_on(self.store.submit(Some(caller), request)).expect("an open store");
        }
        let mut left = count;
        while left > 0 {
            left -= self.outcomes.recv().expect("outcomes");
        }
    }
}

fn log(criterion: &mut Criterion) {
    let body = Bytes::from(vec![7; 256]);
    let mut group = criterion.benchmark_group("log");
    group.sample_size(30);
    for count in [1, 100] {
        let mut bench = Bench::new();
        group.throughput(Throughput::Elements(count as u64));
        let name = format!("store {count} of 256 bytes");
        group.bench_function(name, |b| b.iter(|| bench.send(count, &body)));
        bench.store.close();
    }
    group.finish();
}

criterion_group!(benches, log);
criterion_main!(benches);
