//! A network between clients and a server: it takes time, changes addresses, holds back, can be
//! cut, and remembers what was said.
//!
//! # Invariants
//!
//! * Each client has a socket of its own towards the server, as behind a NAT.
//! * What passes keeps its order.

#![allow(dead_code, reason = "those who use it need not use all of it")]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Datagrams on the way in one direction; what is above is lost.
const ON_THE_WAY_MAX: usize = 4096;
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// A datagram, and when it arrives.
type Late = (Instant, Vec<u8>);

pub(crate) struct Proxy {
    network: Arc<Network>,
    _task: JoinSet<()>,
}

struct Network {
    front: UdpSocket,
    /// One way.
    delay: Duration,
    server: Mutex<SocketAddr>,
    ways: Mutex<HashMap<SocketAddr, Way>>,
    /// Whether nothing gets through.
    is_cut: AtomicBool,
    /// Whether what the server says gets through.
    answers: watch::Sender<bool>,
    /// What clients have said, while it is recorded.
    record: Mutex<Option<Vec<Vec<u8>>>>,
}

/// The way of one client to the server and back, until it is dropped.
struct Way {
    to_server: mpsc::Sender<Late>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// A way to `server` that takes `delay` in each direction.
    pub(crate) async fn start(server: SocketAddr, delay: Duration) -> Self {
        let network = Arc::new(Network {
            front: socket().await,
            delay,
            server: Mutex::new(server),
            ways: Mutex::default(),
            is_cut: AtomicBool::new(false),
            answers: watch::Sender::new(true),
            record: Mutex::default(),
        });
        let mut task = JoinSet::new();
        task.spawn(carry(network.clone()));
        Self { network, _task: task }
    }

    /// Where clients find the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.network.front.local_addr().unwrap()
    }

    /// Each client has another address from now on, and what is on its way is lost.
    pub(crate) fn change_addresses(&self) {
        self.network.ways.lock().unwrap().clear();
    }

    /// Leads clients to another server.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        *self.network.server.lock().unwrap() = server;
        self.change_addresses();
    }

    /// Loses all that is said from now on, both ways.
    pub(crate) fn cut(&self) {
        self.network.is_cut.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub(crate) fn mend(&self) {
        self.network.is_cut.store(false, Ordering::SeqCst);
    }

    /// Holds back what the server says, in its order.
    pub(crate) fn hold_answers(&self) {
        self.network.answers.send_replace(false);
    }

    pub(crate) fn let_answers_pass(&self) {
        self.network.answers.send_replace(true);
    }

    pub(crate) fn record(&self) {
        *self.network.record.lock().unwrap() = Some(Vec::new());
    }

    /// What clients have said since [`Self::record`].
    pub(crate) fn recorded(&self) -> Vec<Vec<u8>> {
        self.network.record.lock().unwrap().take().unwrap_or_default()
    }
}

async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// Carries what clients say.
async fn carry(network: Arc<Network>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let Ok((len, client)) = network.front.recv_from(&mut buffer).await else { continue };
        if network.is_cut.load(Ordering::SeqCst) {
            continue;
        }
        let datagram = buffer[..len].to_vec();
        if let Some(record) = &mut *network.record.lock().unwrap() {
            record.push(datagram.clone());
        }
        let known = network.ways.lock().unwrap().get(&client).map(|way| way.to_server.clone());
        let to_server = match known {
            Some(to_server) => to_server,
            None => {
                let way = Way::of(&network, client).await;
                let to_server = way.to_server.clone();
                network.ways.lock().unwrap().insert(client, way);
                to_server
            }
        };
        let _ = to_server.try_send((Instant::now() + network.delay, datagram));
    }
}

impl Way {
    async fn of(network: &Arc<Network>, client: SocketAddr) -> Self {
        let back = Arc::new(socket().await);
        let server = *network.server.lock().unwrap();
        let (to_server, mut from_client) = mpsc::channel::<Late>(ON_THE_WAY_MAX);
        let (to_client, mut from_server) = mpsc::channel::<Late>(ON_THE_WAY_MAX);
        let mut tasks = JoinSet::new();
        let socket = back.clone();
        tasks.spawn(async move {
            while let Some((at, datagram)) = from_client.recv().await {
                tokio::time::sleep_until(at).await;
                let _ = socket.send_to(&datagram, server).await;
            }
        });
        let delay = network.delay;
        tasks.spawn(async move {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let Ok((len, _)) = back.recv_from(&mut buffer).await else { continue };
                let _ = to_client.try_send((Instant::now() + delay, buffer[..len].to_vec()));
            }
        });
        let (network, mut answers) = (network.clone(), network.answers.subscribe());
        tasks.spawn(async move {
            while let Some((at, datagram)) = from_server.recv().await {
                tokio::time::sleep_until(at).await;
                let _ = answers.wait_for(|pass| *pass).await;
                if !network.is_cut.load(Ordering::SeqCst) {
                    let _ = network.front.send_to(&datagram, client).await;
                }
            }
        });
        Self { to_server, _tasks: tasks }
    }
}

/// What a server says that has forgotten all its connections: resets, with the keys in `keys_dir`.
pub(crate) fn forgetful(keys_dir: &Path) -> quinn::Endpoint {
    let secret = std::fs::read(keys_dir.join("secret")).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret[..32]);
    let of_ids = u64::from_le_bytes(secret[32..40].try_into().unwrap());
    let mut config = quinn::EndpointConfig::new(Arc::new(key));
    config.cid_generator(move || {
        Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(of_ids))
    });
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    quinn::Endpoint::new(config, None, socket, Arc::new(quinn::TokioRuntime)).unwrap()
}
