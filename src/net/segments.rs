//! How many datagrams a connection hands to the system at once.
//!
//! quinn makes the packets of a connection in a buffer that it keeps, and makes that as large as
//! the most that may be handed over at once as soon as two datagrams leave together, as they do in
//! every handshake: 14 KB for each connection, whatever it says afterwards. Most never have more to
//! say than a packet or two. So each begins with one datagram at a time, and may hand over as many
//! as the system takes once it has had much to say.
//!
//! # Invariants
//!
//! * Only the number of datagrams differs from quinn's own socket and tasks.

use std::cell::Cell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};

/// Datagrams one after another, in one go, that are much to say.
const MANY: usize = 3;

tokio::task_local! {
    /// What the connection has sent whose task runs.
    static SENT: Sent;
}

/// What a connection has sent.
#[derive(Debug, Default)]
struct Sent {
    /// Datagrams since its task ran last.
    in_one_go: Cell<usize>,
    /// It has once had much to say.
    many: Cell<bool>,
}

impl Sent {
    /// The connection is about to send; says how many datagrams at once, `all` at the most.
    fn begin(&self, all: usize) -> usize {
        self.in_one_go.set(0);
        if self.many.get() { all } else { 1 }
    }

    fn add_one(&self) {
        self.in_one_go.set(self.in_one_go.get() + 1);
        if self.in_one_go.get() >= MANY {
            self.many.set(true);
        }
    }
}

/// quinn's runtime, whose connections begin with one datagram at a time.
#[derive(Debug)]
pub(super) struct Sparing;

impl Runtime for Sparing {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(Box::pin(SENT.scope(Sent::default(), future)));
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket(TokioRuntime.wrap_udp_socket(socket)?)))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

/// quinn's socket.
#[derive(Debug)]
struct Socket(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)?;
        // Whoever refuses a connection has no task of its own.
        let _ = SENT.try_with(Sent::add_one);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, received)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// quinn asks whenever a connection is about to send, in the connection's task.
    fn max_transmit_segments(&self) -> usize {
        let all = self.0.max_transmit_segments();
        SENT.try_with(|sent| sent.begin(all)).unwrap_or(all)
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_hands_over_many_datagrams_only_after_it_has_had_many_to_send_in_one_go() {
        let sent = Sent::default();
        for _ in 0..10 {
            assert_eq!(sent.begin(10), 1, "a few packets now and then are not many");
            (1..MANY).for_each(|_| sent.add_one());
        }
        sent.add_one();
        assert_eq!(sent.begin(10), 10);
        assert_eq!(sent.begin(10), 10, "and from then on");
    }
}
