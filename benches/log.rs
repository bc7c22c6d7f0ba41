//! What does one commit cost, alone and with the company of a hundred messages? And how fast is
//! the log read behind a cursor, where it is written and where it is closed?
//!
//! A commit is measured from handing over the first message to having the last outcome, with the
//! sync of a real folder below the build folder. The log that is read has ten messages of 256 bytes
//! in a record, as 10,000 a second make it.
//!
//! Share of the whole, by `perf`: the store has 10 percent of the server's CPU at `chat --sessions
//! 200 --window 16`, with sled, checksums and rkyv 14; 8 at `--sessions 1000 --window 1` and 4 at
//! `rate` 1,000/s. What the kernel does for it, the writes and the syncs, comes on top.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tidings::id::{ConversationId, DeviceId, MessageId, PeerId};
use tidings::metrics::Metrics;
use tidings::store::{Journal, NewMessage, Options, Origin, Outcome, Request, SendNumber, Store};
use tokio::runtime::Runtime;

/// Peers that the messages go to, so that no inbox is longer than a window.
const PEERS: u64 = 1_000;

/// Messages in the log that is read, and in one of its records.
const READ: usize = 20_000;
const READ_TOGETHER: usize = 10;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 * 1024;

/// A store, and how many outcomes each commit handed out.
struct Bench {
    store: Store<u64>,
    outcomes: Receiver<usize>,
    runtime: Runtime,
    sent: u64,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::open(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder"), 0)
    }

    /// The same log in another run, in which it is closed.
    fn restart(self) -> Self {
        self.store.close();
        let (folder, sent) = (self.folder, self.sent);
        drop(self.store);
        let bench = Self::open(folder, sent);
        let log = bench.folder.path().join("data/log");
        while !std::fs::read_dir(&log)
            .expect("a log")
            .flatten()
            .any(|file| file.path().extension().is_some_and(|extension| extension == "segment"))
        {
            std::thread::yield_now();
        }
        bench
    }

    fn open(folder: TempDir, sent: u64) -> Self {
        let options = Options::new(folder.path().join("data"));
        let (outcomes_tx, outcomes) = channel();
        let hand_out = move |outcomes: Vec<Outcome<u64>>, _| {
            // The bench may be over.
            let _ = outcomes_tx.send(outcomes.len());
        };
        let store = Store::open(options, Arc::new(Metrics::new()), hand_out).expect("a store");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { store, outcomes, runtime, sent, folder }
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

/// Reads all of a log; says how many entries it has.
fn read_all(bench: &Bench) -> usize {
    let (mut after, mut count) = (MessageId::NONE, 0);
    while after < bench.store.head() {
        let read = bench.store.read(after, READ_BYTES);
        let read = bench.runtime.block_on(read).expect("a log that can be read");
        (after, count) = (read.through, count + read.entries.len());
    }
    count
}

fn read(criterion: &mut Criterion) {
    let body = Bytes::from(vec![7; 256]);
    let mut group = criterion.benchmark_group("log");
    group.sample_size(20);
    let mut bench = Bench::new();
    for _ in 0..READ / READ_TOGETHER {
        bench.send(READ_TOGETHER, &body);
    }
    for name in ["read where it is written", "read where it is closed"] {
        let count = read_all(&bench);
        assert!(count >= READ, "{count} entries");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |b| b.iter(|| read_all(&bench)));
        bench = bench.restart();
    }
    group.finish();
}

criterion_group!(benches, log, read);
criterion_main!(benches);
