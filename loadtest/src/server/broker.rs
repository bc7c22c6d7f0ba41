//! Starting a broker that the server is compared with.
//!
//! # Invariants
//!
//! * A broker counts as started once somebody listens on its port.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::starting::log_tail;
use super::{Access, Kind, Served, Server, fresh_folder, place};
use crate::broker::{Prepared, Product};
use crate::options::Common;

/// How long a broker may take to listen.
const READY_TIMEOUT: Duration = Duration::from_secs(15);
/// How often somebody looks whether it does.
const LOOK: Duration = Duration::from_millis(20);

impl Server {
    /// Starts a broker with a folder of its own.
    ///
    /// # Errors
    ///
    /// Why it did not start; how to install it, if it is not.
    pub(super) async fn broker(product: &'static Product, common: &Common) -> Result<Self, String> {
        product.find()?;
        let (folder, filesystem) = fresh_folder(&place(common)?, common.keep)?;
        let prepared = product.prepare(&folder.path)?;
        let child = start(product, &prepared, &folder.path).await;
        let child = child.map_err(|why| format!("{why}{}", log_tail(&folder.path)))?;
        Ok(Self {
            address: prepared.address,
            access: Access::Mqtt(prepared.trust),
            served: Served {
                name: product.name.into(),
                version: product.version(),
                transport: if product.has_tls { "TCP, TLS 1.3" } else { "TCP, in plain" },
                durability: product.durability,
            },
            pid: child.id(),
            metrics: None,
            filesystem: Some(filesystem),
            api: None,
            folder: Some(folder),
            child: Some(child),
            kind: Kind::Broker,
        })
    }
}

async fn start(product: &Product, prepared: &Prepared, folder: &Path) -> Result<Child, String> {
    let text = |error: std::io::Error| format!("cannot start {}: {error}", product.name);
    let log = std::fs::File::create(folder.join("server.log")).map_err(text)?;
    let mut child = Command::new(&prepared.program)
        .args(prepared.arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(text)?)
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .map_err(text)?;
    let began = Instant::now();
    while TcpStream::connect(prepared.address).await.is_err() {
        if let Some(status) = child.try_wait().map_err(text)? {
            return Err(format!("{} ended with {status} before it was ready", product.name));
        }
        if began.elapsed() > READY_TIMEOUT {
            return Err(format!("{} was not ready within {READY_TIMEOUT:?}", product.name));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(child)
}
