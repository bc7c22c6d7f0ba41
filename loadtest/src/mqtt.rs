//! The same load on a broker of MQTT 3.1.1, over TCP or TLS.
//!
//! ```text
//! fleet > session > peer > topics
//! ```
//!
//! # Invariants
//!
//! * QoS 1 both ways and sessions that persist: what a broker acknowledges it has taken over.
//! * Each session is subscribed to a topic of its own; a group is one topic of all its members.
//! * Packets are read and written by the codec of `rumqttc` alone.

mod peer;
mod session;
mod topics;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) use self::session::Session;
use crate::tls::{self, SERVER_NAME, Trust};

/// A connection to a broker.
trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<L: AsyncRead + AsyncWrite + Send + Unpin> Line for L {}

/// How a broker is reached.
#[derive(Clone)]
pub(crate) struct Broker {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Broker {
    /// The broker at `address`; over TLS if `trust` says whom to believe.
    ///
    /// # Errors
    ///
    /// When the crypto provider lacks what TLS needs.
    pub(crate) fn new(address: SocketAddr, trust: Option<Trust>) -> Result<Self, String> {
        let tls = trust.map(tls::stream_client).transpose()?;
        Ok(Self { address, tls: tls.map(|config| TlsConnector::from(Arc::new(config))) })
    }

    async fn connect(&self) -> Result<Box<dyn Line>, String> {
        let text = |error: std::io::Error| format!("cannot connect: {error}");
        let stream = TcpStream::connect(self.address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| error.to_string())?;
        Ok(Box::new(tls.connect(name, stream).await.map_err(text)?))
    }
}

#[cfg(test)]
mod tests;
