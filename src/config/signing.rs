//! The settings that make the keys of signatures.
//!
//! # Invariants
//!
//! * A key is never shown: not by `--print-config`, not in a mistake, not by `Debug`.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use crate::config::values::Shown;
use crate::hub;
use crate::signature::{Keys, Signatures};

/// How each value of `signatures` is spelled.
const SIGNATURES: &[(&str, Signatures)] = &[
    ("off", Signatures::Off),
    ("optional", Signatures::Optional),
    ("enforced", Signatures::Enforced),
];

/// A key as it was written.
#[derive(Clone)]
pub(super) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What was written about keys; they are made when all settings have been read.
#[derive(Clone, Debug, Default)]
pub(super) struct Signing {
    pub(super) current: Option<Secret>,
    pub(super) previous: Option<Secret>,
    /// When the previous key ends, after 1970.
    previous_until: Option<Duration>,
}

impl Signing {
    pub(super) fn set_current(&mut self, text: &str) -> Result<(), String> {
        self.current = Some(secret(text)?);
        Ok(())
    }

    pub(super) fn set_previous(&mut self, text: &str) -> Result<(), String> {
        self.previous = Some(secret(text)?);
        Ok(())
    }

    pub(super) fn set_previous_until(&mut self, text: &str) -> Result<(), String> {
        let time = humantime::parse_rfc3339(text).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let bad = || format!("{text:?} is not a UTC time such as 2026-01-31T00:00:00Z");
        self.previous_until = Some(since.ok_or_else(bad)?);
        Ok(())
    }

    pub(super) fn show_previous_until(&self) -> Shown {
        let show = |since| humantime::format_rfc3339(UNIX_EPOCH + since).to_string();
        self.previous_until.map_or(Shown::Nothing, |since| Shown::Text(show(since)))
    }

    /// Makes the keys of the hub.
    pub(super) fn complete(&self, hub: &mut hub::Options, mistakes: &mut Vec<String>) {
        if self.previous.is_some() != self.previous_until.is_some() {
            let both = "signing_key_previous and signing_key_previous_until: set both or none";
            mistakes.push(both.into());
        }
        if self.previous.is_some() && self.current.is_none() {
            mistakes.push("signing_key_previous: there is no signing_key after it".into());
        }
        if hub.signatures != Signatures::Off {
            let text = show_signatures(hub.signatures);
            if self.current.is_none() {
                mistakes.push(format!("signatures: {text} needs signing_key"));
            }
            if hub.app_id.is_empty() {
                mistakes.push(format!("signatures: {text} needs app_id, which is signed too"));
            }
        }
        let previous = self.previous.as_ref().zip(self.previous_until).map(|(key, until)| {
            (key.0.as_bytes(), i64::try_from(until.as_millis()).unwrap_or(i64::MAX))
        });
        let keys = |current: &Secret| Keys::new(&hub.app_id, current.0.as_bytes(), previous);
        hub.keys = self.current.as_ref().map(keys).map(Arc::new);
    }
}

fn secret(text: &str) -> Result<Secret, String> {
    if text.is_empty() { Err("the key is empty".into()) } else { Ok(Secret(text.into())) }
}

pub(super) fn signatures(text: &str) -> Result<Signatures, String> {
    let known = SIGNATURES.iter().find(|(name, _)| *name == text);
    let bad = || format!("{text:?} is none of off, optional and enforced");
    known.map(|(_, signatures)| *signatures).ok_or_else(bad)
}

pub(super) fn show_signatures(signatures: Signatures) -> &'static str {
    SIGNATURES.iter().find(|(_, known)| *known == signatures).map_or("", |(name, _)| name)
}
