//! Every setting: its name, what it means, how it is read, what it may be, how it is shown.
//!
//! # Invariants
//!
//! * One name in three spellings: `log_bytes_max` in the file, `TIDINGS_LOG_BYTES_MAX` in the
//!   environment, `--log-bytes-max` on the command line.
//! * What is shown is read back as the same value.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::config::units::{duration, show_duration, show_size, size};
use crate::limits::{
    APP_ID_BYTES_MAX, CONNECTIONS_SETTING_MAX, DRAIN_TIMEOUT_MAX, HANDSHAKES_SETTING_MAX,
    INBOX_MESSAGES_MAX, SEGMENT_BYTES_SETTING_MAX, SEGMENT_BYTES_SETTING_MIN, SHARDS_MAX,
    WINDOW_AGE_SETTING_MAX,
};
use crate::net::CertificateFiles;

/// One thing that can be set.
#[derive(Debug)]
pub struct Setting {
    /// Its name in a configuration file.
    pub name: &'static str,
    /// What its value is, in one word.
    pub value: &'static str,
    /// What it means, in one sentence.
    pub help: &'static str,
    /// Checks the text of a value and sets it, or says what is wrong with it.
    pub(super) apply: fn(&mut Config, &str) -> Result<(), String>,
    /// The value in force.
    pub(super) shown: fn(&Config) -> Shown,
}

/// A value as it stands in a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// It is not set.
    Nothing,
    Number(u64),
    Text(String),
}

impl Setting {
    /// Its name on the command line, without the dashes in front.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Its name in the environment.
    pub fn variable(&self) -> String {
        format!("TIDINGS_{}", self.name.to_uppercase())
    }
}

/// All settings, in the order in which they are shown.
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "data",
        value: "FOLDER",
        help: "Folder of everything that lasts: the log, the state, the keys.",
        apply: |config, text| {
            config.store.dir = path(text)?;
            config.net.keys_dir = config.store.dir.join("keys");
            Ok(())
        },
        shown: |config| Shown::path(&config.store.dir),
    },
    Setting {
        name: "listen",
        value: "ADDRESS",
        help: "Address and UDP port for QUIC; port 0 takes a free one.",
        apply: |config, text| {
            let bad = |_| format!("{text:?} is not an address such as 0.0.0.0:7400 or [::]:7400");
            config.net.listen = text.parse::<SocketAddr>().map_err(bad)?;
            Ok(())
        },
        shown: |config| Shown::Text(config.net.listen.to_string()),
    },
    Setting {
        name: "certificate",
        value: "FILE",
        help: "Certificate chain (PEM); one is made and kept in the data folder if none is set.",
        apply: |config, text| {
            certificate_files(config).chain = file(text)?;
            Ok(())
        },
        shown: |config| Shown::file(config.net.certificate.as_ref().map(|files| &*files.chain)),
    },
    Setting {
        name: "key",
        value: "FILE",
        help: "Private key of the certificate (PEM).",
        apply: |config, text| {
            certificate_files(config).key = file(text)?;
            Ok(())
        },
        shown: |config| Shown::file(config.net.certificate.as_ref().map(|files| &*files.key)),
    },
    Setting {
        name: "app_id",
        value: "ID",
        help: "The app that this server serves; clients that name another are refused.",
        apply: |config, text| {
            config.hub.app_id = app_id(text)?;
            Ok(())
        },
        shown: |config| match config.hub.app_id.as_str() {
            "" => Shown::Nothing,
            id => Shown::Text(id.into()),
        },
    },
    Setting {
        name: "window_messages",
        value: "NUMBER",
        help: "Messages kept for a peer from the time that it is away.",
        apply: |config, text| {
            config.store.window_messages = number(text, 1..=INBOX_MESSAGES_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.store.window_messages as u64),
    },
    Setting {
        name: "window_age",
        value: "DURATION",
        help: "How long an unacknowledged message is kept.",
        apply: |config, text| {
            config.store.window_age = match longer_than_zero(text)? {
                age if age > WINDOW_AGE_SETTING_MAX => return Err("at most 49 days".into()),
                age => age,
            };
            Ok(())
        },
        shown: |config| Shown::duration(config.store.window_age),
    },
    Setting {
        name: "away_after",
        value: "DURATION",
        help: "How long after its last session a peer counts as away.",
        apply: |config, text| {
            config.store.away_after = duration(text)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.store.away_after),
    },
    Setting {
        name: "history_age",
        value: "DURATION",
        help: "How long history is kept; 0 keeps only what inboxes still need.",
        apply: |config, text| {
            config.store.history_age = duration(text)?;
            Ok(())
        },
        shown: |config| Shown::duration(config.store.history_age),
    },
    Setting {
        name: "log_bytes_max",
        value: "SIZE",
        help: "Bytes that the log may take; history gives way first, then sends are refused.",
        apply: |config, text| {
            config.store.log_bytes_max = size(text)?;
            Ok(())
        },
        shown: |config| Shown::Text(show_size(config.store.log_bytes_max)),
    },
    Setting {
        name: "segment_bytes_max",
        value: "SIZE",
        help: "Bytes at which a segment of the log is closed and the next one begins.",
        apply: |config, text| {
            let range = SEGMENT_BYTES_SETTING_MIN..=SEGMENT_BYTES_SETTING_MAX;
            config.store.segment_bytes_max = size_within(text, &range)?;
            Ok(())
        },
        shown: |config| Shown::Text(show_size(config.store.segment_bytes_max)),
    },
    Setting {
        name: "shards",
        value: "NUMBER",
        help: "Parts of the router, a power of two.",
        apply: |config, text| {
            let shards: usize = number(text, 1..=SHARDS_MAX)?;
            if !shards.is_power_of_two() {
                return Err(format!("{shards} is not a power of two"));
            }
            config.hub.shards = shards;
            Ok(())
        },
        shown: |config| Shown::Number(config.hub.shards as u64),
    },
    Setting {
        name: "connections_max",
        value: "NUMBER",
        help: "Connections at once.",
        apply: |config, text| {
            config.net.connections_max = number(text, 1..=CONNECTIONS_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.net.connections_max as u64),
    },
    Setting {
        name: "connections_per_address_max",
        value: "NUMBER",
        help: "Connections at once from one address.",
        apply: |config, text| {
            config.net.connections_per_address_max = number(text, 1..=CONNECTIONS_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.net.connections_per_address_max as u64),
    },
    Setting {
        name: "handshakes_max",
        value: "NUMBER",
        help: "Handshakes at once; more than this must first prove their address.",
        apply: |config, text| {
            config.net.handshakes_max = number(text, 1..=HANDSHAKES_SETTING_MAX)?;
            Ok(())
        },
        shown: |config| Shown::Number(config.net.handshakes_max as u64),
    },
    Setting {
        name: "drain_timeout",
        value: "DURATION",
        help: "How long a drain may take before the sessions that are left are cut.",
        apply: |config, text| {
            let timeout = duration(text)?;
            if timeout > DRAIN_TIMEOUT_MAX {
                return Err(format!("{text} exceeds {}", show_duration(DRAIN_TIMEOUT_MAX)));
            }
            config.net.drain_timeout = timeout;
            Ok(())
        },
        shown: |config| Shown::duration(config.net.drain_timeout),
    },
    Setting {
        name: "metrics_file",
        value: "FILE",
        help: "File that is written anew with the server's metrics every second.",
        apply: |config, text| {
            config.metrics_file = Some(path(text)?);
            Ok(())
        },
        shown: |config| Shown::file(config.metrics_file.as_deref()),
    },
];

impl Shown {
    fn path(path: &Path) -> Self {
        Self::Text(path.to_string_lossy().into_owned())
    }

    fn file(path: Option<&Path>) -> Self {
        path.filter(|path| !path.as_os_str().is_empty()).map_or(Self::Nothing, Self::path)
    }

    fn duration(duration: Duration) -> Self {
        Self::Text(show_duration(duration))
    }
}

/// The two files; whether both are named is checked when all settings have been read.
fn certificate_files(config: &mut Config) -> &mut CertificateFiles {
    let none = || CertificateFiles { chain: PathBuf::new(), key: PathBuf::new() };
    config.net.certificate.get_or_insert_with(none)
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty".into()),
        text if text.contains('\0') => Err("the path has a NUL".into()),
        text => Ok(text.into()),
    }
}

fn file(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(format!("{text} is not a file")),
        Err(error) => Err(format!("cannot read {text}: {error}")),
    }
}

fn app_id(text: &str) -> Result<String, String> {
    if text.len() > APP_ID_BYTES_MAX {
        return Err(format!("an app id of {} bytes exceeds {APP_ID_BYTES_MAX}", text.len()));
    }
    match text.chars().find(|c| c.is_control() || *c == ':') {
        Some(c) => Err(format!("an app id must not contain {c:?}")),
        None => Ok(text.into()),
    }
}

fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse::<usize>().map_err(|_| format!("{text:?} is not a whole number"))?;
    if !range.contains(&number) {
        return Err(format!("{number} is not within {} to {}", range.start(), range.end()));
    }
    Ok(number)
}

fn size_within(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let size = size(text)?;
    if !range.contains(&size) {
        let (from, to) = (show_size(*range.start()), show_size(*range.end()));
        return Err(format!("{text} is not within {from} to {to}"));
    }
    Ok(size)
}

fn longer_than_zero(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("the duration must be longer than 0".into()),
        duration => Ok(duration),
    }
}
