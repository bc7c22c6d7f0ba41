//! What do shards buy: how long do a look-up and a fan-out to 20 peers take with 1 shard and with
//! 16, from two threads at once, and while one of them opens and ends sessions?
//!
//! Share of the whole, by `perf`: the hub, of which this is the half that looks up, has 4.3 percent
//! of the server's CPU at `chat --sessions 200 --window 16`, 2.4 at `--sessions 1000 --window 1`
//! and 1.3 at `rate` 1,000/s; the maps themselves about 1.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use tidings::hub::{About, Datagrams, Router, Session};
use tidings::id::{DeviceFlag, DeviceId, PeerId};
use tidings::wire::Text;

/// Peers with one session each.
const PEERS: usize = 10_000;
/// Recipients of one message at the most.
const FAN_OUT: usize = 20;
const SHARDS: [usize; 2] = [1, 16];
/// Steps from one peer to the next: no neighbour in memory, and every peer in turn.
const STRIDE: usize = 7_919;

struct NoDatagrams;

impl Datagrams for NoDatagrams {
    fn send(&self, _frame: &[u8]) -> bool {
        false
    }
}

fn peers() -> Vec<PeerId> {
    let peer = |index| PeerId::new(&format!("peer-{index:06}")).expect("a valid id");
    (0..PEERS).map(peer).collect()
}

fn session(peer: &PeerId) -> Arc<Session> {
    let device = DeviceId::new("device").expect("a valid id");
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let about = About { flag: DeviceFlag::App, client: Text::default(), address };
    Arc::new(Session::new(peer.clone(), device, 1, about, Box::new(NoDatagrams)))
}

fn router(shards: usize, peers: &[PeerId]) -> Router {
    let router = Router::new(shards);
    peers.iter().for_each(|peer| router.attach(&session(peer)));
    router
}

/// Looks `count` peers up, as one message to each of them does.
fn look_up(router: &Router, peers: &[PeerId], from: usize, count: usize) {
    for step in from..from + count {
        router.visit(&peers[step * STRIDE % PEERS], |session| {
            black_box(session);
        });
    }
}

/// Runs `work` with `iterations` in two threads; the time until both are done.
fn in_two_threads(iterations: u64, work: impl Fn(usize, usize) + Sync) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let work = &work;
            scope.spawn(move || work(thread, iterations as usize));
        }
    });
    start.elapsed()
}

fn routing(criterion: &mut Criterion) {
    let peers = peers();
    let mut group = criterion.benchmark_group("routing");
    for shards in SHARDS {
        let router = router(shards, &peers);
        group.bench_function(format!("look-up, {shards} shards, two threads"), |b| {
            b.iter_custom(|iterations| {
                in_two_threads(iterations, |thread, count| {
                    look_up(&router, &peers, thread * PEERS / 2, count);
                })
            });
        });
        group.bench_function(format!("fan-out to 20, {shards} shards, two threads"), |b| {
            b.iter_custom(|iterations| {
                in_two_threads(iterations, |thread, count| {
                    look_up(&router, &peers, thread * PEERS / 2, count * FAN_OUT);
                })
            });
        });
        group.bench_function(format!("look-up beside opening and ending, {shards} shards"), |b| {
            b.iter_custom(|iterations| {
                in_two_threads(iterations, |thread, count| match thread {
                    0 => look_up(&router, &peers, 0, count),
                    _ => come_and_go(&router, &peers, count),
                })
            });
        });
    }
    group.finish();
}

/// Opens and ends one further session of one peer after the other.
fn come_and_go(router: &Router, peers: &[PeerId], count: usize) {
    for step in 0..count {
        let session = session(&peers[step * STRIDE % PEERS]);
        router.attach(&session);
        router.detach(&session);
    }
}

criterion_group!(benches, routing);
criterion_main!(benches);
