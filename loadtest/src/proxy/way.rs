//! The way of one client to the server and back.
//!
//! # Invariants
//!
//! * The server's answers come in over the socket that it sees, and over no earlier one.
//! * What arrives at once is sent by the task that took it; the rest by one task for all ways.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::fate::{Direction, Fate, Lane};
use super::{DATAGRAM_BYTES_MAX, Network, bind};

/// The way of one client.
#[derive(Debug)]
pub(super) struct Way {
    client: SocketAddr,
    up: Mutex<Lane>,
    down: Mutex<Lane>,
    back: Mutex<Option<Back>>,
}

/// How the server reaches a way.
#[derive(Debug)]
struct Back {
    socket: Arc<UdpSocket>,
    listening: JoinHandle<()>,
}

impl Drop for Back {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// A datagram that arrives later; the greatest is the next.
#[derive(Debug)]
pub(super) struct Late {
    at: Instant,
    number: u64,
    way: Arc<Way>,
    direction: Direction,
    bytes: Vec<u8>,
}

impl Ord for Late {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Late {}

impl Way {
    /// The way of a client that speaks for the first time.
    ///
    /// # Errors
    ///
    /// When the system gives no socket.
    pub(super) async fn open(network: &Arc<Network>, client: SocketAddr) -> io::Result<Arc<Self>> {
        let number = network.ways.lock().len() as u64;
        let lane = |direction| Mutex::new(Lane::new(network.seed, number, direction));
        let (up, down) = (lane(Direction::Up), lane(Direction::Down));
        let way = Arc::new(Self { client, up, down, back: Mutex::default() });
        way.rebind(network).await?;
        network.ways.lock().insert(client.port(), way.clone());
        Ok(way)
    }

    /// Gives the way another socket towards the server; says which port it has.
    ///
    /// # Errors
    ///
    /// When the system gives none; the old one stays in use then.
    pub(super) async fn rebind(self: &Arc<Self>, network: &Arc<Network>) -> io::Result<u16> {
        let socket = Arc::new(bind().await?);
        socket.connect(network.server).await?;
        let port = socket.local_addr()?.port();
        let (way, network) = (Arc::downgrade(self), Arc::downgrade(network));
        let listening = tokio::spawn(listen(socket.clone(), way, network));
        *self.back.lock() = Some(Back { socket, listening });
        Ok(port)
    }

    /// Loses all that goes in a direction for so long.
    pub(super) fn cut(&self, direction: Direction, time: Duration) {
        self.lane(direction).lock().cut(Instant::now() + time);
    }

    fn lane(&self, direction: Direction) -> &Mutex<Lane> {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// Lets a datagram have its fate.
    pub(super) async fn carry(self: &Arc<Self>, network: &Network, to: Direction, bytes: &[u8]) {
        let (now, faults) = (Instant::now(), *network.faults.lock());
        let fate = self.lane(to).lock().draw(&faults, now, bytes.len());
        let tally = &network.tally;
        let number = tally.came.fetch_add(1, Relaxed);
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Relaxed);
        };
        let (at, again) = match fate {
            Fate::Lost => return count(&tally.lost),
            Fate::TooLong => return count(&tally.too_long),
            Fate::Queued => return count(&tally.queued),
            Fate::Cut => return count(&tally.cut),
            Fate::Arrives { at, again, is_held } => {
                tally.held.fetch_add(u64::from(is_held), Relaxed);
                tally.doubled.fetch_add(u64::from(again.is_some()), Relaxed);
                (at, again)
            }
        };
        let later =
            |at| Late { at, number, way: self.clone(), direction: to, bytes: bytes.to_vec() };
        match at > now {
            true => queue(network, later(at)),
            false => self.send(network, to, bytes).await,
        }
        if let Some(again) = again {
            queue(network, later(again));
        }
    }

    async fn send(&self, network: &Network, direction: Direction, bytes: &[u8]) {
        // What the system does not take is lost, as on any network.
        let _ = match direction {
            Direction::Down => network.front.send_to(bytes, self.client).await,
            Direction::Up => {
                let back = self.back.lock().as_ref().map(|back| back.socket.clone());
                let Some(socket) = back else { return };
                socket.send(bytes).await
            }
        };
    }
}

fn queue(network: &Network, late: Late) {
    if network.late.try_send(late).is_err() {
        network.tally.queued.fetch_add(1, Relaxed);
    }
}

/// Carries what the server says to the socket of a way.
async fn listen(socket: Arc<UdpSocket>, way: Weak<Way>, network: Weak<Network>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // A server that is gone is told of by an error, and comes back.
        let received = socket.recv(&mut buffer).await;
        let (Some(way), Some(network)) = (way.upgrade(), network.upgrade()) else { return };
        if let Ok(bytes) = received {
            way.carry(&network, Direction::Down, &buffer[..bytes]).await;
        }
    }
}

/// Sends what arrives later, when it does.
pub(super) async fn hold_back(network: Weak<Network>, mut coming: mpsc::Receiver<Late>) {
    let mut held = BinaryHeap::new();
    loop {
        let next_at = held.peek().map(|late: &Late| late.at);
        let came = match next_at {
            None => coming.recv().await,
            Some(at) => match tokio::time::timeout_at(at.into(), coming.recv()).await {
                Ok(came) => came,
                Err(_) => {
                    let (Some(network), Some(late)) = (network.upgrade(), held.pop()) else {
                        return;
                    };
                    late.way.send(&network, late.direction, &late.bytes).await;
                    continue;
                }
            },
        };
        match came {
            Some(late) => held.push(late),
            None => return,
        }
    }
}
