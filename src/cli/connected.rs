//! What the client commands share: which server, why to trust it, which device.
//!
//! # Invariants
//!
//! * A device keeps its id over runs. Listening and sending are devices of their own, so that a
//!   send does not replace a session that listens.

use std::convert::Infallible;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use tidings::client::{
    Client, ConnectOptions, DeviceFile, Fingerprint, Incoming, KeySigner, OpenOptions, Session,
    Trust,
};
use tidings::id::{DeviceFlag, PeerId};
use tidings::net::CERTIFICATE_FILE;

use super::{Failure, words};

/// Which server, and why to trust it.
#[derive(Args, Debug)]
pub(super) struct ServerArgs {
    /// The server.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    server: String,
    /// Trust the certificate with this SHA-256 fingerprint, which the server prints.
    #[arg(long, value_name = "HEX", conflicts_with = "ca")]
    fingerprint: Option<Fingerprint>,
    /// Trust the certificates that these authorities (PEM) vouch for. Without this and a
    /// fingerprint, a server on this machine is trusted by the certificate in its data folder,
    /// any other by the authorities of the system.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Data folder of a server on this machine.
    #[arg(long, value_name = "FOLDER", default_value = "./tidings-data", env = "TIDINGS_DATA")]
    data: PathBuf,
    /// The app that the server serves, if it names one.
    #[arg(long, value_name = "ID", env = "TIDINGS_APP_ID")]
    app: Option<String>,
    /// The app's signing key, for a server that wants signatures. Others can read a command line;
    /// better set the variable.
    #[arg(
        long,
        value_name = "KEY",
        env = "TIDINGS_SIGNING_KEY",
        hide_env_values = true,
        requires = "app"
    )]
    signing_key: Option<SigningKey>,
}

/// A key that is not shown.
#[derive(Clone)]
struct SigningKey(String);

impl FromStr for SigningKey {
    type Err = Infallible;

    fn from_str(key: &str) -> Result<Self, Infallible> {
        Ok(Self(key.to_owned()))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl ServerArgs {
    /// Whether what the server must allow is signed.
    pub(super) fn signs(&self) -> bool {
        self.signing_key.is_some()
    }

    /// Connects and opens a session.
    pub(super) async fn open(
        &self,
        options: OpenOptions,
    ) -> Result<(Client, Session, Incoming), Failure> {
        let client = self.connect().await?;
        let opened = client.open(options).await;
        let (session, incoming) = opened.map_err(|error| words::open_failed(&error))?;
        Ok((client, session, incoming))
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let options = ConnectOptions::new(&self.server).trust(self.trust()?);
        let options = options.app(self.app.as_deref().unwrap_or_default());
        let client = concat!("tidings-cli/", env!("CARGO_PKG_VERSION"));
        let connected = Client::connect(options.client(client)).await;
        connected.map_err(|error| {
            Failure::from(Context { what: format!("server {}", self.server), cause: error.into() })
        })
    }

    fn trust(&self) -> Result<Trust, Failure> {
        if let Some(fingerprint) = self.fingerprint {
            return Ok(Trust::Fingerprint(fingerprint));
        }
        if let Some(path) = &self.ca {
            return Trust::certificate_authority_file(path).map_err(|e| about(path, e));
        }
        if is_this_machine(&self.server) {
            return self.trust_local().map(Trust::Fingerprint);
        }
        Ok(Trust::System)
    }

    fn trust_local(&self) -> Result<Fingerprint, Failure> {
        let path = self.data.join("keys").join(CERTIFICATE_FILE);
        let pem = std::fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!(
                "no server has run with the data folder {}: start one with `tidings serve`, or \
                 give --fingerprint, --ca or --data",
                self.data.display()
            )
            .into(),
            _ => about(&path, error),
        })?;
        let certificate = CertificateDer::from_pem_slice(&pem)
            .map_err(|error| about(&path, error.to_string()))?;
        Ok(Fingerprint::of(&certificate))
    }

    /// Options to open a session of `peer`, and where its device is kept between runs.
    ///
    /// `role` tells devices of the same peer apart.
    pub(super) fn device(
        &self,
        peer: PeerId,
        role: &str,
    ) -> Result<(OpenOptions, DeviceFile), Failure> {
        let name = format!("{}-{role}", file_name(peer.as_str()));
        let path = data_folder()?.join("tidings").join(file_name(&self.server)).join(name);
        let file = DeviceFile::new(path);
        let state = file.load().map_err(|error| about(file.path(), error))?;
        let options = OpenOptions::new(peer).flag(DeviceFlag::Pc);
        let options = match state {
            Some(state) => options.device(state.device).resume(state.cursor),
            None => options,
        };
        let options = match (&self.app, &self.signing_key) {
            (Some(app), Some(key)) => options.signer(KeySigner::new(app, key.0.as_bytes())),
            _ => options,
        };
        Ok((options, file))
    }
}

/// An error, and what it is about.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
struct Context {
    what: String,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

fn about(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Context { what: path.display().to_string(), cause: cause.into() }.into()
}

/// Whether `HOST:PORT` is on this machine.
pub(super) fn is_this_machine(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    let address = if host == "localhost" { Ok(Ipv4Addr::LOCALHOST.into()) } else { host.parse() };
    address.is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Where programs keep what belongs to the user.
fn data_folder() -> Result<PathBuf, Failure> {
    let folder = |variable: &str| {
        std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    folder("XDG_DATA_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| "set HOME or XDG_DATA_HOME: the device's id is kept there".into())
}

/// A text as the name of a file: other characters than letters, digits, `.`, `-` and `_` as
/// hexadecimal digits.
fn file_name(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_this_machine() {
        for server in ["127.0.0.1:7400", "127.8.8.8:1", "localhost:7400", "[::1]:7400"] {
            assert!(is_this_machine(server), "{server}");
        }
        for server in ["10.0.0.1:7400", "chat.example.org:7400", "[::2]:7400", "localhost.org:1"] {
            assert!(!is_this_machine(server), "{server}");
        }
    }

    #[test]
    fn two_peers_never_share_a_file() {
        assert_eq!(file_name("ann-1.x_Y"), "ann-1.x_Y");
        assert_eq!(file_name("../ann"), "..%2fann");
        assert_eq!(file_name("a%2f é"), "a%252f%20%c3%a9");
    }
}
