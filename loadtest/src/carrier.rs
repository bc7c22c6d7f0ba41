//! What carries the sessions of a fleet: sockets that they share, or a connection to a broker each.
//!
//! # Invariants
//!
//! * A session that is opened runs, whatever carries it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::Endpoint;

use crate::fleet::Life;
use crate::link;
use crate::mqtt::{self, Broker};
use crate::peer::Work;
use crate::run::Run;
use crate::server::{Access, Server};
use crate::session::Session;

/// What carries sessions.
#[derive(Clone)]
pub(crate) enum Carrier {
    /// Sockets, over which the peers are spread by their indices.
    Quic { endpoints: Arc<[Endpoint]>, server: SocketAddr },
    /// Connections of their own.
    Mqtt(Broker),
}

impl Carrier {
    /// What carries sessions to `server`; over `sockets` sockets, where they are shared.
    ///
    /// # Errors
    ///
    /// When the system gives no sockets.
    pub(crate) fn new(server: &Server, sockets: usize) -> Result<Self, String> {
        let address = server.address;
        match server.access {
            Access::Quic(fingerprint) => {
                let endpoints = (0..sockets).map(|_| link::client(address, fingerprint));
                let endpoints: Result<Vec<_>, _> = endpoints.collect();
                Ok(Self::Quic { endpoints: endpoints?.into(), server: address })
            }
            Access::Mqtt(trust) => Ok(Self::Mqtt(Broker::new(address, trust)?)),
        }
    }

    /// Opens the session of the peer `index` and lets it run; awaits its end if that is near.
    ///
    /// # Errors
    ///
    /// Why it could not be opened.
    pub(crate) async fn play(
        &self,
        run: Arc<Run>,
        index: u32,
        work: Work,
        life: Life,
    ) -> Result<(), String> {
        match self {
            Self::Mqtt(broker) => {
                let session = mqtt::Session::open(run, broker, index, work).await?;
                match life {
                    Life::Within(limit) => drop(session.run(limit).await),
                    Life::Held | Life::Restless => drop(tokio::spawn(session.run(Duration::MAX))),
                }
            }
            Self::Quic { endpoints, server } => {
                let endpoint = &endpoints[index as usize % endpoints.len()];
                let session = Session::open(run, endpoint, *server, index, work).await?;
                match life {
                    Life::Held => drop(tokio::spawn(session.run(Duration::MAX))),
                    Life::Within(limit) => drop(session.run(limit).await),
                    Life::Restless => {
                        drop(tokio::spawn(session.run_restless(endpoint.clone(), *server)));
                    }
                }
            }
        }
        Ok(())
    }

    /// The shared sockets.
    pub(crate) fn endpoints(&self) -> Arc<[Endpoint]> {
        match self {
            Self::Quic { endpoints, .. } => endpoints.clone(),
            Self::Mqtt(_) => Arc::default(),
        }
    }

    /// Closes the shared sockets.
    pub(crate) async fn close(&self) {
        for endpoint in self.endpoints().iter() {
            endpoint.close(0u8.into(), b"");
            // The server is about to end, too, and may not answer.
            let _ = tokio::time::timeout(Duration::from_secs(3), endpoint.wait_idle()).await;
        }
    }
}
