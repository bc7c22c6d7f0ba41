//! How the texts of settings are read and checked, and how values are shown.
//!
//! # Invariants
//!
//! * What is wrong with a text is said in words that the one who wrote it understands, without
//!   the name of the setting, which stands before it.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Config;
use crate::config::units::{duration, show_duration, show_size, size};
use crate::limits::APP_ID_BYTES_MAX;
use crate::{http, net};

/// A value as it stands in a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Shown {
    /// It is not set.
    Nothing,
    Number(u64),
    Flag(bool),
    Text(String),
    /// It is set, and nobody's business.
    Secret,
}

impl Shown {
    pub(super) fn path(path: &Path) -> Self {
        Self::Text(path.to_string_lossy().into_owned())
    }

    pub(super) fn file(path: Option<&Path>) -> Self {
        path.filter(|path| !path.as_os_str().is_empty()).map_or(Self::Nothing, Self::path)
    }

    pub(super) fn duration(duration: Duration) -> Self {
        Self::Text(show_duration(duration))
    }

    pub(super) fn secret(is_set: bool) -> Self {
        if is_set { Self::Secret } else { Self::Nothing }
    }
}

/// The two files; whether both are named is checked when all settings have been read.
pub(super) fn certificate_files(config: &mut Config) -> &mut net::CertificateFiles {
    let none = || net::CertificateFiles { chain: PathBuf::new(), key: PathBuf::new() };
    config.net.certificate.get_or_insert_with(none)
}

/// The same of the HTTP API.
pub(super) fn http_certificate_files(config: &mut Config) -> &mut http::CertificateFiles {
    let none = || http::CertificateFiles { chain: PathBuf::new(), key: PathBuf::new() };
    config.http.certificate.get_or_insert_with(none)
}

/// Where the HTTP API listens; nowhere if it is `off`.
pub(super) fn http_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let bad = |_| format!("{text:?} is neither off nor an address such as 127.0.0.1:7480");
    text.parse().map(Some).map_err(bad)
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the path is empty".into()),
        text if text.contains('\0') => Err("the path has a NUL".into()),
        text => Ok(text.into()),
    }
}

pub(super) fn file(text: &str) -> Result<PathBuf, String> {
    let path = path(text)?;
    match std::fs::File::open(&path).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(format!("{text} is not a file")),
        Err(error) => Err(format!("cannot read {text}: {error}")),
    }
}

pub(super) fn app_id(text: &str) -> Result<String, String> {
    if text.len() > APP_ID_BYTES_MAX {
        return Err(format!("an app id of {} bytes exceeds {APP_ID_BYTES_MAX}", text.len()));
    }
    match text.chars().find(|c| c.is_control() || *c == ':') {
        Some(c) => Err(format!("an app id must not contain {c:?}")),
        None => Ok(text.into()),
    }
}

pub(super) fn number(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse::<usize>().map_err(|_| format!("{text:?} is not a whole number"))?;
    if !range.contains(&number) {
        return Err(format!("{number} is not within {} to {}", range.start(), range.end()));
    }
    Ok(number)
}

pub(super) fn size_within(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let size = size(text)?;
    if !range.contains(&size) {
        let (from, to) = (show_size(*range.start()), show_size(*range.end()));
        return Err(format!("{text} is not within {from} to {to}"));
    }
    Ok(size)
}

pub(super) fn longer_than_zero(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("the duration must be longer than 0".into()),
        duration => Ok(duration),
    }
}

pub(super) fn duration_within(text: &str, duration_max: Duration) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration > duration_max => {
            Err(format!("{text} exceeds {}", show_duration(duration_max)))
        }
        duration => Ok(duration),
    }
}

pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text:?} is neither true nor false"))
}
