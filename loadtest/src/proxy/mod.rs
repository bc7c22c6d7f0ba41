//! A bad network between clients and a server: a UDP proxy whose faults are drawn from one seed.
//!
//! | fault | unit | what becomes of a datagram |
//! |---|---|---|
//! | loss | percent of the datagrams of each direction | it never arrives |
//! | reorder | percent | it is held back for up to 25 ms, and later ones overtake it |
//! | duplicate | percent | it arrives twice, the second time up to 25 ms later |
//! | delay | milliseconds, one way | it arrives so much later |
//! | bandwidth | bits a second of each client and direction | it waits for those before it; behind 250 ms of them it is lost |
//! | MTU | bytes of a datagram, without the headers of IP and UDP | it is lost if it is longer |
//! | rebind | an event of one client | the server sees the client at a new port from then on, and what the server had sent to the old one is lost |
//! | cut | an event of one client: a direction, a time | everything in this direction is lost for so long; the other one works |
//!
//! ```text
//! proxy > way > fate
//! ```
//!
//! The tests of the server use it, too, so it uses nothing of the generator.
//!
//! # Invariants
//!
//! * Each client has a socket of its own towards the server, as behind a NAT. Clients are of this
//!   machine, and known by their ports.
//! * The fate of a datagram depends on the seed, on the number of its client (from 0, as they
//!   come), on its direction and on its place there, and on nothing else but the faults set.
//! * What passes without a delay keeps its order.

mod fate;
mod way;

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

pub(crate) use self::fate::{Direction, Faults};
use self::way::{Late, Way, hold_back};

/// The longest datagram.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that are on their way; what is above is lost.
const ON_THE_WAY_MAX: usize = 64 * 1024;

/// A proxy that runs until it is dropped.
pub(crate) struct Proxy {
    network: Arc<Network>,
    tasks: [JoinHandle<()>; 2],
}

/// What the ways of a proxy share.
#[derive(Debug)]
struct Network {
    /// Where clients find the server.
    front: UdpSocket,
    server: SocketAddr,
    seed: u64,
    faults: Mutex<Faults>,
    /// The ways of clients, by their ports.
    ways: Mutex<HashMap<u16, Arc<Way>>>,
    late: tokio::sync::mpsc::Sender<Late>,
    tally: Tally,
}

/// What became of the datagrams, counted as they go.
#[derive(Debug, Default)]
struct Tally {
    came: AtomicU64,
    lost: AtomicU64,
    held: AtomicU64,
    doubled: AtomicU64,
    too_long: AtomicU64,
    queued: AtomicU64,
    cut: AtomicU64,
    rebinds: AtomicU64,
}

/// What became of the datagrams of both directions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Carried {
    /// Datagrams that came to the proxy.
    pub(crate) came: u64,
    /// Of them, lost by chance.
    pub(crate) lost: u64,
    /// Held back, so that others overtook them.
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
    /// Lost as they were longer than the MTU.
    pub(crate) too_long: u64,
    /// Lost as the queue before a slow way was full.
    pub(crate) overflowed: u64,
    /// Lost as their direction was cut.
    pub(crate) cut: u64,
    /// Changes of a client's address.
    pub(crate) rebinds: u64,
}

impl Proxy {
    /// A way to `server`, without any fault yet.
    ///
    /// # Errors
    ///
    /// When the system gives no socket.
    pub(crate) async fn start(server: SocketAddr, seed: u64) -> Result<Self, String> {
        let front = bind().await.map_err(|error| format!("cannot start a proxy: {error}"))?;
        let (late, on_the_way) = tokio::sync::mpsc::channel(ON_THE_WAY_MAX);
        let network = Arc::new(Network {
            front,
            server,
            seed,
            faults: Mutex::default(),
            ways: Mutex::default(),
            late,
            tally: Tally::default(),
        });
        let held = tokio::spawn(hold_back(Arc::downgrade(&network), on_the_way));
        let carried = tokio::spawn(carry(network.clone()));
        Ok(Self { network, tasks: [held, carried] })
    }

    /// Where clients find the server.
    ///
    /// # Errors
    ///
    /// When the system does not tell it.
    pub(crate) fn address(&self) -> Result<SocketAddr, String> {
        self.network.front.local_addr().map_err(|error| error.to_string())
    }

    /// What is wrong from now on.
    pub(crate) fn set(&self, faults: Faults) {
        *self.network.faults.lock() = faults;
    }

    /// The client at a port has another address from now on; says which port the server sees.
    ///
    /// # Errors
    ///
    /// When nothing has come from there, or the system gives no socket.
    pub(crate) async fn rebind(&self, client: u16) -> Result<u16, String> {
        let port = self.way(client)?.rebind(&self.network).await;
        self.network.tally.rebinds.fetch_add(1, Ordering::Relaxed);
        port.map_err(|error| format!("cannot change an address: {error}"))
    }

    /// Loses all that the client at a port says, or is told, for so long.
    ///
    /// # Errors
    ///
    /// When nothing has come from there.
    pub(crate) fn cut(&self, client: u16, way: Direction, time: Duration) -> Result<(), String> {
        self.way(client).map(|found| found.cut(way, time))
    }

    /// What became of the datagrams so far.
    pub(crate) fn carried(&self) -> Carried {
        let tally = &self.network.tally;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Carried {
            came: count(&tally.came),
            lost: count(&tally.lost),
            reordered: count(&tally.held),
            duplicated: count(&tally.doubled),
            too_long: count(&tally.too_long),
            overflowed: count(&tally.queued),
            cut: count(&tally.cut),
            rebinds: count(&tally.rebinds),
        }
    }

    fn way(&self, client: u16) -> Result<Arc<Way>, String> {
        let way = self.network.ways.lock().get(&client).cloned();
        way.ok_or_else(|| format!("no client has come from port {client}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.network.ways.lock().clear();
    }
}

impl Carried {
    /// What a person reads.
    pub(crate) fn told(&self) -> String {
        format!(
            "{} datagrams: {} lost, {} reordered, {} duplicated, {} too long, {} over a full \
             queue, {} cut; {} changes of address",
            self.came,
            self.lost,
            self.reordered,
            self.duplicated,
            self.too_long,
            self.overflowed,
            self.cut,
            self.rebinds,
        )
    }
}

/// A socket with room for bursts, where the system grants it.
async fn bind() -> io::Result<UdpSocket> {
    const BUFFER_BYTES: usize = 4 * 1024 * 1024;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let buffers = socket2::SockRef::from(&socket);
    buffers.set_recv_buffer_size(BUFFER_BYTES)?;
    buffers.set_send_buffer_size(BUFFER_BYTES)?;
    Ok(socket)
}

/// Carries what clients say.
async fn carry(network: Arc<Network>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // A client that is gone is told of by an error that concerns nobody.
        let Ok((bytes, client)) = network.front.recv_from(&mut buffer).await else { continue };
        let known = network.ways.lock().get(&client.port()).cloned();
        let way = match known {
            Some(way) => way,
            None => match Way::open(&network, client).await {
                Ok(way) => way,
                // Without a socket it is as if it were lost.
                Err(_) => continue,
            },
        };
        way.carry(&network, Direction::Up, &buffer[..bytes]).await;
    }
}

#[cfg(test)]
mod tests;
