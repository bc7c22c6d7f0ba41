//! Who is let in: how many connections there are, and how many handshakes at once.
//!
//! # Invariants
//!
//! * What is over a bound costs an attacker more than the server.

use std::net::IpAddr;
use std::sync::Arc;

use quinn::{Connection, Incoming, ZeroRttAccepted};

use crate::limits::HANDSHAKE_TIMEOUT;
use crate::net::connection::{self, Handshake};
use crate::net::{Shared, code, roll};
use crate::reason::Reason;

/// Accepts connections until the endpoint is closed.
pub(super) async fn accept(endpoint: quinn::Endpoint, shared: Arc<Shared>) {
    while let Some(incoming) = endpoint.accept().await {
        if shared.quiesce.is_cancelled() {
            incoming.refuse();
            continue;
        }
        admit(incoming, &shared);
    }
}

/// Lets a connection in, asks it to prove its address, or turns it away.
fn admit(incoming: Incoming, shared: &Arc<Shared>) {
    let address = incoming.remote_address().ip().to_canonical();
    let of_address = shared.addresses.view(&address, |_, count| *count).unwrap_or(0);
    if shared.connections.len() > shared.connections_max
        || of_address >= shared.connections_per_address_max
    {
        shared.metrics.refuse(Reason::TooManyConnections);
        incoming.refuse();
        return;
    }
    let (free, is_proven) =
        (shared.handshakes.available_permits(), incoming.remote_address_validated());
    let begins = may_begin(free, shared.handshakes_kept, is_proven);
    let handshake = shared.handshakes.try_acquire().ok().filter(|_| begins);
    let Some(handshake) = handshake else {
        if incoming.may_retry() && !is_proven {
            // Stateless: it comes back with proof, and later.
            let _ = incoming.retry();
        } else {
            wait_for_handshake(Box::new(incoming), shared, address);
        }
        return;
    };
    handshake.forget();
    shared.connections.spawn(connect(Box::new(incoming), shared.clone(), address));
}

/// Whether a handshake may begin while so many more may, some of which are kept for clients that
/// have proven their address.
fn may_begin(free: usize, kept: usize, is_proven: bool) -> bool {
    free > if is_proven { 0 } else { kept }
}

/// A client that has proven its address waits for its turn; the backlog of the endpoint bounds
/// how many do.
fn wait_for_handshake(incoming: Box<Incoming>, shared: &Arc<Shared>, address: IpAddr) {
    let held = shared.clone();
    shared.connections.spawn(async move {
        let waited = tokio::time::timeout(HANDSHAKE_TIMEOUT, held.handshakes.acquire()).await;
        match waited {
            Ok(Ok(handshake)) => {
                handshake.forget();
                connect(incoming, held.clone(), address).await;
            }
            _ => incoming.ignore(),
        }
    });
}

/// Serves a connection, whose permit for a handshake is held. What the client says early is served
/// while the handshake is under way. The first packet is boxed: the task would keep its room.
pub(super) async fn connect(incoming: Box<Incoming>, shared: Arc<Shared>, address: IpAddr) {
    let (begun, id) = roll::accepted(|| begin(incoming, address));
    let Some((connection, shaken)) = begun else {
        shared.handshakes.add_permits(1);
        return;
    };
    let handshake = Handshake::default();
    let remote = connection.remote_address();
    let confirm = async {
        let is_confirmed = confirm(&connection, shaken, address).await;
        shared.handshakes.add_permits(1);
        if is_confirmed {
            *shared.addresses.entry(address).or_insert(0) += 1;
            shared.metrics.connections.inc();
        }
        let _ = handshake.set(is_confirmed);
        id.filter(|_| is_confirmed).map(|id| shared.roll.add(remote, id))
    };
    let serve = connection::serve(connection.clone(), &shared, &handshake);
    let (place, ()) = tokio::join!(confirm, serve);
    if place.is_some() {
        shared.metrics.connections.dec();
        shared.addresses.remove_if_mut(&address, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

/// Begins a handshake, whose end a server need not wait for.
fn begin(incoming: Box<Incoming>, address: IpAddr) -> Option<(Connection, ZeroRttAccepted)> {
    match (*incoming).accept().map(quinn::Connecting::into_0rtt) {
        Ok(begun) => begun.ok(),
        Err(error) => {
            tracing::debug!(%address, %error, "no handshake");
            None
        }
    }
}

/// Waits for the end of a handshake, in time; says whether it was confirmed.
async fn confirm(connection: &Connection, shaken: ZeroRttAccepted, address: IpAddr) -> bool {
    let in_time = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await.is_ok();
    if !in_time {
        connection.close(code(Reason::OpenTimeout), b"the handshake took too long");
    }
    match connection.close_reason() {
        Some(error) => tracing::debug!(%address, %error, in_time, "handshake failed"),
        None => return true,
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{HANDSHAKES_MAX, HANDSHAKES_PROVEN_PART};

    #[test]
    fn who_has_proven_an_address_finds_handshakes_that_nobody_else_may_begin() {
        let kept = HANDSHAKES_MAX / HANDSHAKES_PROVEN_PART;
        assert!(may_begin(kept + 1, kept, false) && !may_begin(kept, kept, false));
        assert!(may_begin(1, kept, true) && !may_begin(0, kept, true));
        assert!(may_begin(1, 0, false), "of one handshake at once none is kept");
    }
}
