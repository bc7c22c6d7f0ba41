//! Who is let in: how many connections there are, and how many handshakes at once.
//!
//! # Invariants
//!
//! * What is over a bound costs an attacker more than the server.

use std::sync::Arc;

use quinn::{Connection, Incoming, ZeroRttAccepted};

use crate::address::network;
use crate::limits::HANDSHAKE_TIMEOUT;
use crate::net::connection::{self, Handshake};
use crate::net::handshakes::{Place, Turn};
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
    let network = network(incoming.remote_address().ip());
    if shared.connections.len() > shared.connections_max
        || shared.callers.of(network) >= shared.connections_per_address_max
    {
        shared.metrics.refuse(Reason::TooManyConnections);
        incoming.refuse();
        return;
    }
    let Some(place) = shared.handshakes.place(network) else {
        // It comes again by itself.
        incoming.ignore();
        return;
    };
    let is_proven = incoming.remote_address_validated();
    match place.try_turn(is_proven) {
        Ok(turn) => {
            shared.connections.spawn(connect(Box::new(incoming), shared.clone(), Box::new(turn)));
        }
        // Stateless: it comes back with proof, and later.
        Err(_) if incoming.may_retry() && !is_proven => drop(incoming.retry()),
        Err(place) => wait_for_turn(Box::new(incoming), shared, place),
    }
}

/// A client that has proven its address waits for its turn; the places of its network and the
/// backlog of the endpoint bound how many do.
fn wait_for_turn(incoming: Box<Incoming>, shared: &Arc<Shared>, place: Place) {
    let held = shared.clone();
    shared.connections.spawn(async move {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, place.turn()).await {
            Ok(Some(turn)) => connect(incoming, held, Box::new(turn)).await,
            _ => incoming.ignore(),
        }
    });
}

/// Serves a connection that may shake hands. What the client says early is served while the
/// handshake is under way. What only that needs is boxed: the task would keep its room.
pub(super) async fn connect(incoming: Box<Incoming>, shared: Arc<Shared>, turn: Box<Turn>) {
    let network = turn.network();
    let (begun, id) = roll::accepted(|| begin(incoming));
    let Some((connection, shaken)) = begun else { return };
    let handshake = Handshake::default();
    let remote = connection.remote_address();
    let confirm = async {
        let is_confirmed = confirm(&connection, shaken).await;
        drop(turn);
        let caller = is_confirmed.then(|| {
            shared.metrics.connections.inc();
            (shared.callers.enter(network), id.map(|id| shared.roll.add(remote, id)))
        });
        let _ = handshake.set(is_confirmed);
        caller
    };
    let serve = connection::serve(connection.clone(), &shared, &handshake);
    let (caller, ()) = tokio::join!(confirm, serve);
    if caller.is_some() {
        shared.metrics.connections.dec();
    }
}

/// Begins a handshake, whose end a server need not wait for.
fn begin(incoming: Box<Incoming>) -> Option<(Connection, ZeroRttAccepted)> {
    let address = incoming.remote_address();
    match (*incoming).accept().map(quinn::Connecting::into_0rtt) {
        Ok(begun) => begun.ok(),
        Err(error) => {
            tracing::debug!(%address, %error, "no handshake");
            None
        }
    }
}

/// Waits for the end of a handshake, in time; says whether it was confirmed.
async fn confirm(connection: &Connection, shaken: ZeroRttAccepted) -> bool {
    let in_time = tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await.is_ok();
    if !in_time {
        connection.close(code(Reason::OpenTimeout), b"the handshake took too long");
    }
    let address = connection.remote_address();
    match connection.close_reason() {
        Some(error) => tracing::debug!(%address, %error, in_time, "handshake failed"),
        None => return true,
    }
    false
}
