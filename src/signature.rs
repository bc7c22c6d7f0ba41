//! Proofs that the app's back end allows a request, as AVOS Cloud defines them.
//!
//! A signature is the lower-case hexadecimal HMAC-SHA1, with the app's signing key, of
//!
//! ```text
//! app:peer:ids:timestamp:nonce                     to open, and to watch
//! app:peer:group:ids:timestamp:nonce:act           to join, invite or kick
//! ```
//!
//! # Invariants
//!
//! * A signature allows one request and no other: no two requests of an app have one text.
//!   Peer ids hold no `:`, so neither may a nonce; and a nonce to open is no act, or the text
//!   could be read as that of a group. One key serves one app.
//! * A signature has one spelling. Whoever remembers nonces needs to remember nothing else.
//! * Digests are compared in constant time. Whether a timestamp is too old is told only to
//!   those who hold a signature that verifies.

use std::fmt::Write;

use ring::hmac;

use crate::id::{GroupId, PeerId};
use crate::limits::SIGNATURE_AGE_MAX;
use crate::reason::Reason;

/// Timestamps below this are seconds, the others milliseconds.
///
/// Either way the line is far from now: 100,000,000,000 seconds end in the year 5138, and as many
/// milliseconds ended in March 1973.
const MILLISECONDS_FROM: u64 = 100_000_000_000;

/// Bytes of an HMAC-SHA1.
const DIGEST_BYTES: usize = 20;

/// What a signature about a group allows. Creating a group is joining one without an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
pub enum GroupAct {
    /// To join, or to create.
    Join,
    /// To make the peers members.
    Invite,
    /// To remove the peers.
    Kick,
}

impl GroupAct {
    /// Every act there is.
    pub const ALL: [Self; 3] = [Self::Join, Self::Invite, Self::Kick];

    /// The word that stands for it in the text that is signed.
    pub fn text(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Kick => "kick",
        }
    }
}

/// Signs a request to open a session or to watch peers: `ids` are those to be watched, in any
/// order. The timestamp is in seconds or milliseconds since 1970.
///
/// The server refuses a nonce that holds `:` or is the text of a [`GroupAct`].
pub fn sign_open(
    key: &[u8],
    app: &str,
    peer: &PeerId,
    ids: &[PeerId],
    timestamp: u64,
    nonce: &str,
) -> String {
    sign(key, &open_text(app, peer, ids, timestamp, nonce))
}

/// Signs a request to join a group, to create one (`group` is `None`), to invite or to kick:
/// `ids` are those to be invited or kicked, in any order, and none to join. The timestamp is in
/// seconds or milliseconds since 1970.
///
/// The server refuses a nonce that holds `:`.
#[expect(clippy::too_many_arguments, reason = "they are the parts of the text, in its order")]
pub fn sign_group(
    key: &[u8],
    app: &str,
    peer: &PeerId,
    group: Option<GroupId>,
    ids: &[PeerId],
    timestamp: u64,
    nonce: &str,
    act: GroupAct,
) -> String {
    sign(key, &group_text(app, peer, &name_of(group), ids, (timestamp, nonce), act))
}

/// Whether the server asks for signatures.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Signatures {
    /// It does not look at them.
    #[default]
    Off,
    /// It checks those that come.
    Optional,
    /// It refuses requests without one.
    Enforced,
}

/// A signature as it came with a request.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// A text used once.
    pub nonce: &'a str,
    /// When it was signed: seconds or milliseconds since 1970.
    pub timestamp: u64,
    /// 40 lower-case hexadecimal digits.
    pub signature: &'a str,
}

/// What the server checks signatures with.
#[derive(Clone, Debug)]
pub struct Keys {
    app: String,
    current: hmac::Key,
    /// The key that was current before, and when it ends: milliseconds since 1970.
    previous: Option<(hmac::Key, i64)>,
}

impl Keys {
    /// The keys of the app `app`: the current one, and the one before it, which is good until a
    /// time in milliseconds since 1970.
    pub fn new(app: &str, current: &[u8], previous: Option<(&[u8], i64)>) -> Self {
        let previous = previous.map(|(key, until_ms)| (key_of(key), until_ms));
        Self { app: app.to_owned(), current: key_of(current), previous }
    }

    /// Checks that `peer` may open a session, or watch, with `ids` to be watched.
    ///
    /// Returns the time, in milliseconds since 1970, from which the signature is stale: its nonce
    /// need not be remembered longer. Whether the nonce is new is for the caller to find out.
    ///
    /// # Errors
    ///
    /// [`Reason::BadSignature`] when the signature does not verify,
    /// [`Reason::StaleSignature`] when it does, and is more than [`SIGNATURE_AGE_MAX`] off.
    pub fn check_open(
        &self,
        peer: &PeerId,
        ids: &[PeerId],
        claim: Claim<'_>,
        now_ms: i64,
    ) -> Result<i64, Reason> {
        if GroupAct::ALL.iter().any(|act| act.text() == claim.nonce) {
            return Err(Reason::BadSignature);
        }
        let text = open_text(&self.app, peer, ids, claim.timestamp, claim.nonce);
        self.check(&text, claim, now_ms)
    }

    /// Checks that `peer` may join a group, create one (`group` is `None`), or invite or kick
    /// `ids`. Returns what [`Keys::check_open`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Keys::check_open`].
    pub fn check_group(
        &self,
        peer: &PeerId,
        group: Option<GroupId>,
        ids: &[PeerId],
        act: GroupAct,
        claim: Claim<'_>,
        now_ms: i64,
    ) -> Result<i64, Reason> {
        let signed = (claim.timestamp, claim.nonce);
        let text = group_text(&self.app, peer, &name_of(group), ids, signed, act);
        self.check(&text, claim, now_ms)
    }

    fn check(&self, text: &str, claim: Claim<'_>, now_ms: i64) -> Result<i64, Reason> {
        let digest = digest_of(claim.signature).ok_or(Reason::BadSignature)?;
        let verifies = |key| hmac::verify(key, text.as_bytes(), &digest).is_ok();
        let good = verifies(&self.current)
            || self.previous.as_ref().is_some_and(|(key, until)| now_ms < *until && verifies(key));
        if !good || claim.nonce.contains(':') {
            return Err(Reason::BadSignature);
        }
        // Only now, so that nobody without a signature learns about clocks.
        stale_from(claim.timestamp, now_ms).ok_or(Reason::StaleSignature)
    }
}

/// When a signature of this timestamp is stale, unless it is at `now_ms`.
fn stale_from(timestamp: u64, now_ms: i64) -> Option<i64> {
    let seconds = timestamp < MILLISECONDS_FROM;
    let signed_ms = i64::try_from(if seconds { timestamp * 1000 } else { timestamp }).ok()?;
    let age_max = SIGNATURE_AGE_MAX.as_millis() as u64;
    let fresh = now_ms.abs_diff(signed_ms) <= age_max;
    fresh.then(|| signed_ms.saturating_add_unsigned(age_max + 1))
}

fn key_of(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key)
}

fn sign(key: &[u8], text: &str) -> String {
    let digest = hmac::sign(&key_of(key), text.as_bytes());
    let mut digits = String::with_capacity(DIGEST_BYTES * 2);
    for byte in digest.as_ref() {
        write!(digits, "{byte:02x}").expect("a string takes every text");
    }
    digits
}

/// The bytes that these digits spell: exactly 40 of them, all lower-case.
fn digest_of(digits: &str) -> Option<[u8; DIGEST_BYTES]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    if digits.len() != DIGEST_BYTES * 2 {
        return None;
    }
    let mut digest = [0; DIGEST_BYTES];
    for (byte, pair) in digest.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(digest)
}

fn name_of(group: Option<GroupId>) -> String {
    group.map(|group| group.to_string()).unwrap_or_default()
}

fn open_text(app: &str, peer: &PeerId, ids: &[PeerId], timestamp: u64, nonce: &str) -> String {
    format!("{app}:{peer}:{}:{timestamp}:{nonce}", join(ids))
}

fn group_text(
    app: &str,
    peer: &PeerId,
    group: &str,
    ids: &[PeerId],
    (timestamp, nonce): (u64, &str),
    act: GroupAct,
) -> String {
    format!("{app}:{peer}:{group}:{}:{timestamp}:{nonce}:{}", join(ids), act.text())
}

/// The ids in the order of their UTF-16 code units, which is that of JavaScript's `sort`.
fn join(ids: &[PeerId]) -> String {
    let mut sorted: Vec<&str> = ids.iter().map(PeerId::as_str).collect();
    sorted.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    sorted.join(":")
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
