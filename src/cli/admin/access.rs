//! Which server is asked, and with which key.
//!
//! # Invariants
//!
//! * The key is never shown. The key of the data folder goes to this machine only.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use reqwest::{Certificate, Client, Url, redirect};

use tidings::chain::Chain;
use tidings::http;
use tidings::limits::{ADMIN_ANSWER_TIMEOUT, ADMIN_CONNECT_TIMEOUT};

use super::usage;
use crate::cli::Failure;
use crate::cli::connected::is_this_machine;

/// Which server, and with which key.
#[derive(Args, Debug)]
pub(in crate::cli) struct AccessArgs {
    /// The HTTP API of the server.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:7480",
        env = "TIDINGS_ADMIN_URL"
    )]
    url: Url,
    /// A key of the API. Others can read a command line; better set the variable. Without one, a
    /// server on this machine is asked with the master key in its data folder.
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "TIDINGS_API_KEY",
        hide_env_values = true
    )]
    key: Option<ApiKey>,
    /// Data folder of a server on this machine.
    #[arg(
        long,
        global = true,
        value_name = "FOLDER",
        default_value = "./tidings-data",
        env = "TIDINGS_DATA"
    )]
    data: PathBuf,
    /// Trust the certificates that these authorities (PEM) vouch for, in place of those of the
    /// system.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// A key that is not shown.
#[derive(Clone)]
struct ApiKey(String);

impl FromStr for ApiKey {
    type Err = Infallible;

    fn from_str(key: &str) -> Result<Self, Infallible> {
        Ok(Self(key.to_owned()))
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey")
    }
}

impl AccessArgs {
    /// The server's address, without a slash at the end.
    pub(super) fn url(&self) -> Result<String, Failure> {
        let is_more = self.url.query().is_some() || self.url.fragment().is_some();
        if is_more || !matches!(self.url.scheme(), "http" | "https") || !self.url.has_host() {
            return Err(usage("--url: neither http://HOST:PORT nor https://HOST:PORT"));
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(usage("--url: a key is given with --key, or as TIDINGS_API_KEY"));
        }
        Ok(self.url.as_str().trim_end_matches('/').to_owned())
    }

    fn is_local(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        is_this_machine(&format!("{host}:{}", self.url.port_or_known_default().unwrap_or(0)))
    }

    /// The data folder, if the server is one of this machine.
    pub(in crate::cli) fn local_data(&self) -> Option<PathBuf> {
        self.is_local().then(|| self.data.clone())
    }

    /// The key, and where it comes from.
    pub(super) fn key(&self) -> Result<(String, String), Failure> {
        if let Some(ApiKey(key)) = self.key.clone().filter(|ApiKey(key)| !key.is_empty()) {
            return Ok((key, "--key or TIDINGS_API_KEY".into()));
        }
        if !self.is_local() {
            return Err(usage("no key: give --key, or set TIDINGS_API_KEY"));
        }
        let folder = self.data.join("keys");
        let shown = self.data.display();
        match http::master_key(&folder) {
            Ok(Some(key)) => Ok((key, format!("the data folder {shown}"))),
            Ok(None) => Err(format!(
                "no key: no server has run with the data folder {shown}; give --data, or --key, or \
                 set TIDINGS_API_KEY"
            )
            .into()),
            Err(error) => Err(format!("no key, as none was given and {}", Chain(&error)).into()),
        }
    }

    /// What speaks HTTP with it.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        // Another part of the process may have done it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("tidings-cli/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .connect_timeout(ADMIN_CONNECT_TIMEOUT)
            .read_timeout(ADMIN_ANSWER_TIMEOUT);
        if self.is_local() {
            builder = builder.no_proxy();
        }
        match (&self.ca, self.url.scheme()) {
            (Some(path), _) => {
                let about = |error: String| Failure::from(format!("{}: {error}", path.display()));
                let pem = std::fs::read(path).map_err(|error| about(error.to_string()))?;
                let authorities = Certificate::from_pem_bundle(&pem)
                    .ok()
                    .filter(|found| !found.is_empty())
                    .ok_or_else(|| about("not a PEM file with certificates".into()))?;
                builder = builder.tls_certs_only(authorities);
            }
            // The roots of the system take long to read.
            (None, "http") => builder = builder.tls_certs_only([]),
            (None, _) => {}
        }
        Ok(builder.build()?)
    }
}
