//! The text of a key.
//!
//! # Invariants
//!
//! * A secret is shown where it is asked for by name, never by `Debug` and never in a log.
//! * Two secrets are compared in a time that says nothing about them.

use std::fmt;

use crate::base64::base64url;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConstantTimeEq};

/// What every key begins with, so that a key that has leaked is found by those who look for them.
const PREFIX: &str = "tdk_";
/// Random bytes of a key.
const RANDOM_BYTES: usize = 32;
/// The text of a key, with its SHA-256 digest.
#[derive(Clone, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub(super) struct Secret {
    text: String,
    digest: Digest,
}

/// A SHA-256 digest.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Secret {
    /// A new one, or `None` if the system has no random numbers.
    pub(super) fn random() -> Option<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(format!("{PREFIX}{}", base64url(&bytes)).into())
    }

    /// The text, for whoever is to use the key.
    pub(super) fn reveal(&self) -> &str {
        &self.text
    }

    /// The last four characters, by which people tell keys apart.
    pub(super) fn ending(&self) -> &str {
        let start = self.text.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        &self.text[start..]
    }

    /// Whether it is the text with this digest.
    pub(super) fn is(&self, other: &Digest) -> Choice {
        self.digest.0.ct_eq(&other.0)
    }
}

impl Digest {
    /// The digest of a text that may be a key.
    pub(super) fn of(text: &str) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(bytes)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        let digest = Digest::of(&text);
        Self { text, digest }
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> Self {
        secret.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_43_random_characters_and_is_never_shown_by_debug() {
        let secret = Secret::random().unwrap();
        assert_eq!(secret.reveal().len(), 4 + 43);
        assert!(secret.reveal().starts_with("tdk_"));
        assert!(secret.reveal().ends_with(secret.ending()) && secret.ending().len() == 4);
        assert_ne!(secret.reveal(), Secret::random().unwrap().reveal());
        assert_eq!(format!("{secret:?}"), "Secret");
        assert!(bool::from(secret.is(&Digest::of(secret.reveal()))));
        assert!(!bool::from(secret.is(&Digest::of("tdk_"))));
    }
}
