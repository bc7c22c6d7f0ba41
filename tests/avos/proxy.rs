//! A network between a client and the server that can be cut.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// Passes datagrams on, both ways, for one client socket.
pub(crate) struct Proxy {
    pub(crate) address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    is_over: AtomicBool,
}

impl Proxy {
    pub(crate) fn start(server: &str) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let far = UdpSocket::bind("127.0.0.1:0").unwrap();
        far.connect(server).unwrap();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(LOOK)).unwrap();
        }
        let address = near.local_addr().unwrap().to_string();
        let state = Arc::<State>::default();
        let client = Arc::new(std::sync::Mutex::new(None));
        let (near, far) = (Arc::new(near), Arc::new(far));
        let up = {
            let (near, far, client) = (near.clone(), far.clone(), client.clone());
            move |datagram: &mut [u8]| {
                let Ok((len, from)) = near.recv_from(datagram) else { return None };
                *client.lock().unwrap() = Some(from);
                let far = far.clone();
                Some((len, Box::new(move |bytes: &[u8]| far.send(bytes)) as Forward))
            }
        };
        let down = move |datagram: &mut [u8]| {
            let Ok(len) = far.recv(datagram) else { return None };
            let to: Option<SocketAddr> = *client.lock().unwrap();
            let near = near.clone();
            let forward = move |bytes: &[u8]| to.map_or(Ok(0), |to| near.send_to(bytes, to));
            Some((len, Box::new(forward) as Forward))
        };
        run(state.clone(), up);
        run(state.clone(), down);
        Self { address, state }
    }

    /// From now on nothing gets through.
    pub(crate) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
    }

    /// From now on everything gets through again.
    pub(crate) fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
    }
}

type Forward = Box<dyn FnOnce(&[u8]) -> std::io::Result<usize>>;

/// Passes on in one direction until it is over.
fn run(
    state: Arc<State>,
    mut receive: impl FnMut(&mut [u8]) -> Option<(usize, Forward)> + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut datagram = [0; 65_536];
        while !state.is_over.load(Ordering::SeqCst) {
            let Some((len, forward)) = receive(&mut datagram) else { continue };
            if !state.is_cut.load(Ordering::SeqCst) {
                // A datagram may be lost anyway.
                let _ = forward(&datagram[..len]);
            }
        }
    });
}
