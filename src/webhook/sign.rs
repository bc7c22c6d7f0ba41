//! Signatures by which a receiver knows that a request is ours and is what was sent.
//!
//! They are those of Standard Webhooks (`v1`): the HMAC-SHA256 of `id.timestamp.body`, as base64,
//! and beside it `X-Signature-256`, that of the body alone, in hexadecimal digits.
//!
//! While a secret is being replaced, those of Standard Webhooks are made with each secret. What
//! there can be only one of, as `X-Signature-256`, is made with the oldest: the receiver knows it
//! until it has the new one, and then the old one is forgotten.
//!
//! # Invariants
//!
//! * Digests are compared in constant time, and every signature of a request is compared.
//! * Secrets are never shown.

use std::fmt;
use std::str::FromStr;

use ring::hmac;

use crate::base64::{base64, from_base64};
use crate::limits::{
    WEBHOOK_KEY_BYTES_MAX, WEBHOOK_KEY_BYTES_MIN, WEBHOOK_SECRET_BYTES_MAX, WEBHOOK_SIGNATURES_MAX,
};

/// The header with the id of the request, the same for each try.
pub const ID: &str = "webhook-id";
/// The header with the time of the try, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header with the signatures of Standard Webhooks.
pub const SIGNATURE: &str = "webhook-signature";
/// The header with the signature of the body alone.
pub const SIGNATURE_256: &str = "X-Signature-256";

/// What a secret of Standard Webhooks begins with.
const PREFIX: &str = "whsec_";
/// What a signature of Standard Webhooks begins with.
const VERSION: &str = "v1,";
/// What the signature of the body alone begins with.
const ALGORITHM: &str = "sha256=";

/// What both sides know and nobody else does.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
    bytes: Box<[u8]>,
}

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SecretError {
    /// It begins as those of Standard Webhooks do, and does not go on so.
    #[error("behind whsec_ a secret has base64 of 24 to 64 bytes")]
    NotBase64,
    /// It is empty or too long.
    #[error("a secret has 1 to {WEBHOOK_SECRET_BYTES_MAX} bytes")]
    BadLength,
}

impl FromStr for Secret {
    type Err = SecretError;

    /// Reads `whsec_` with base64 of the key, or any other text, whose UTF-8 is the key.
    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes = match text.strip_prefix(PREFIX) {
            Some(encoded) => {
                let bytes = from_base64(encoded).ok_or(SecretError::NotBase64)?;
                let fits = WEBHOOK_KEY_BYTES_MIN..=WEBHOOK_KEY_BYTES_MAX;
                if !fits.contains(&bytes.len()) {
                    return Err(SecretError::NotBase64);
                }
                bytes
            }
            None if (1..=WEBHOOK_SECRET_BYTES_MAX).contains(&text.len()) => text.into(),
            None => return Err(SecretError::BadLength),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(Self { key, bytes: bytes.into() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// The bytes of the key, for a dialect that has a proof of its own.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }

    /// Whether `tag` is that of the parts.
    fn verifies(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        // ring compares in constant time, and takes one slice.
        hmac::verify(&self.key, &parts.concat(), tag).is_ok()
    }
}

/// The headers of a request: its id, the time of the try in seconds since 1970, and the signatures
/// by each secret, the newest first. The signature of the body alone is by the oldest. Without a
/// secret there is none.
pub fn headers(
    secrets: &[Secret],
    id: &str,
    at_s: i64,
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let time = at_s.to_string();
    let mut headers = vec![(ID, id.to_owned())];
    if let Some(oldest) = secrets.last() {
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let one = |secret: &Secret| format!("{VERSION}{}", base64(secret.sign(&parts).as_ref()));
        let signatures: Vec<String> = secrets.iter().map(one).collect();
        headers.push((SIGNATURE, signatures.join(" ")));
        let alone = hex(oldest.sign(&[body]).as_ref());
        headers.push((SIGNATURE_256, format!("{ALGORITHM}{alone}")));
    }
    headers.insert(1, (TIMESTAMP, time));
    headers
}

/// The headers of a request that say whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The id of the request.
    pub id: &'a str,
    /// When it was tried, as the header says it.
    pub timestamp: &'a str,
    /// The signatures, as the header says them.
    pub signature: &'a str,
}

/// Why a request is not taken for one of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum VerifyError {
    /// The time is no number of seconds.
    #[error("the timestamp is no number of seconds")]
    BadTimestamp,
    /// The time is too far from now.
    #[error("the timestamp is too far from now")]
    Stale,
    /// No signature is that of a known secret.
    #[error("no signature is good")]
    BadSignature,
}

/// Checks a request by the headers of Standard Webhooks: a signature is by one of the secrets, and
/// the time is at most `tolerance_s` seconds from `now_s`, in seconds since 1970.
///
/// # Errors
///
/// [`VerifyError`] says what is wrong with it.
pub fn verify(
    secrets: &[Secret],
    claim: Claim<'_>,
    body: &[u8],
    now_s: i64,
    tolerance_s: u64,
) -> Result<(), VerifyError> {
    let at_s: i64 = claim.timestamp.parse().map_err(|_| VerifyError::BadTimestamp)?;
    let parts = [claim.id.as_bytes(), b".", claim.timestamp.as_bytes(), b".", body];
    let mut good = false;
    for signature in claim.signature.split(' ').take(WEBHOOK_SIGNATURES_MAX) {
        let Some(tag) = signature.strip_prefix(VERSION).and_then(from_base64) else { continue };
        for secret in secrets {
            good |= secret.verifies(&parts, &tag);
        }
    }
    match good {
        false => Err(VerifyError::BadSignature),
        true if at_s.abs_diff(now_s) > tolerance_s => Err(VerifyError::Stale),
        true => Ok(()),
    }
}

/// Checks the signature of the body alone, as `X-Signature-256` says it.
pub fn verify_body(secrets: &[Secret], header: &str, body: &[u8]) -> bool {
    let Some(tag) = header.strip_prefix(ALGORITHM).and_then(from_hex) else { return false };
    secrets.iter().fold(false, |good, secret| good | secret.verifies(&[body], &tag))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|four| char::from(DIGITS[four as usize]));
    bytes.iter().flat_map(digits).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|four| four as u8);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;
