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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &[u8] = b"your-master-key";
    const APP: &str = "your-app-id";
    const GROUP: GroupId = GroupId([0x4a, 0xd9, 0x34, 0, 1, 2, 3, 4, 5, 6, 7, 0xbc]);
    const SECONDS: u64 = 1_416_290_728;
    const NOW_MS: i64 = SECONDS as i64 * 1000;
    const SIX_HOURS_MS: i64 = 6 * 3600 * 1000;

    fn peers<T: AsRef<str>>(ids: &[T]) -> Vec<PeerId> {
        ids.iter().map(|id| id.as_ref().parse().unwrap()).collect()
    }

    /// A request with its signature, in texts, so that each can be changed.
    #[derive(Clone, Debug)]
    struct Asked {
        app: String,
        peer: String,
        group: Option<String>,
        ids: Vec<String>,
        timestamp: String,
        nonce: String,
        act: Option<String>,
        signature: String,
    }

    impl Asked {
        fn signed(group: Option<&str>, act: Option<GroupAct>, timestamp: u64) -> Self {
            let ids = ["peer-2", "p3", "日本"].map(str::to_owned).to_vec();
            let mut asked = Self {
                app: APP.into(),
                peer: "alice".into(),
                group: group.map(str::to_owned),
                ids,
                timestamp: timestamp.to_string(),
                nonce: "85561".into(),
                act: act.map(|act| act.text().to_owned()),
                signature: String::new(),
            };
            let (peer, ids) = (&peers(&[&asked.peer])[0], &peers(&asked.ids));
            asked.signature = match act {
                None => sign_open(KEY, APP, peer, ids, timestamp, "85561"),
                Some(act) => {
                    let group = group.map(|group| group.parse().unwrap());
                    sign_group(KEY, APP, peer, group, ids, timestamp, "85561", act)
                }
            };
            asked
        }

        /// The answer of the server, or `None` when the texts are no request at all.
        fn checked(&self, now_ms: i64) -> Option<Result<i64, Reason>> {
            let keys = Keys::new(&self.app, KEY, None);
            let peer: PeerId = self.peer.parse().ok()?;
            let ids: Option<Vec<PeerId>> = self.ids.iter().map(|id| id.parse().ok()).collect();
            let claim = Claim {
                nonce: &self.nonce,
                timestamp: self.timestamp.parse().ok()?,
                signature: &self.signature,
            };
            let group: Option<GroupId> = match &self.group {
                None => None,
                Some(group) => Some(group.parse().ok()?),
            };
            // Digits that are written otherwise are the same bytes on the wire.
            let told = claim.timestamp.to_string() == self.timestamp
                && group.map(|group| group.to_string()) == self.group;
            told.then_some(())?;
            let Some(act) = &self.act else {
                return Some(keys.check_open(&peer, &ids?, claim, now_ms));
            };
            let act = GroupAct::ALL.into_iter().find(|known| known.text() == act)?;
            Some(keys.check_group(&peer, group, &ids?, act, claim, now_ms))
        }

        /// Each text of the request, one after the other, to be changed.
        fn texts(&mut self) -> Vec<&mut String> {
            let mut texts = vec![&mut self.app, &mut self.peer];
            texts.extend(&mut self.group);
            texts.extend(&mut self.ids);
            texts.extend([&mut self.timestamp, &mut self.nonce, &mut self.signature]);
            texts.extend(&mut self.act);
            texts
        }
    }

    /// Every text that is one character away: another one, one less, one doubled, one more.
    fn mutations(text: &str) -> Vec<String> {
        let others =
            "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ :-_.\0\u{e9}語";
        let chars: Vec<char> = text.chars().collect();
        let mut found = Vec::new();
        for at in 0..=chars.len() {
            let (before, behind) = (&chars[..at], &chars[at..]);
            for other in others.chars() {
                found.push([before, &[other], behind].concat());
                if let Some((_, rest)) = behind.split_first() {
                    found.push([before, &[other], rest].concat());
                }
            }
            if let Some((first, rest)) = behind.split_first() {
                found.push([before, rest].concat());
                found.push([before, &[*first, *first], rest].concat());
                let flipped = char::from_u32(*first as u32 ^ 0x20).unwrap_or('!');
                found.push([before, &[flipped], rest].concat());
            }
        }
        found.retain(|changed| *changed != chars);
        found.into_iter().map(|chars| chars.into_iter().collect()).collect()
    }

    #[test]
    fn the_published_vectors_are_signed_as_published() {
        let (peer, ids) = (&peers(&["1"])[0], peers(&["4", "2", "3"]));
        assert_eq!(
            sign_open(KEY, APP, peer, &ids, 1_416_290_728, "85561"),
            "cf4a1b6b55ff87753da4ae7f5dd2c33273108b62"
        );
        let signed = (1_416_290_879, "07995");
        let text = group_text(APP, peer, "4ad934r23bjhcas", &ids, signed, GroupAct::Join);
        assert_eq!(text, "your-app-id:1:4ad934r23bjhcas:2:3:4:1416290879:07995:join");
        assert_eq!(sign(KEY, &text), "d31efcdea5d74db8d510ce0e9a4833e9bbc205e3");
    }

    #[test]
    fn what_is_empty_leaves_two_colons_in_a_row() {
        let peer = &peers(&["1"])[0];
        assert_eq!(open_text(APP, peer, &[], 7, "n"), "your-app-id:1::7:n");
        let text = group_text(APP, peer, &name_of(None), &[], (7, "n"), GroupAct::Join);
        assert_eq!(text, "your-app-id:1:::7:n:join");
        let text = group_text(APP, peer, &name_of(Some(GROUP)), &[], (7, "n"), GroupAct::Kick);
        assert_eq!(text, "your-app-id:1:4ad93400010203040506 07bc::7:n:kick".replace(' ', ""));
    }

    #[test]
    fn every_single_changed_character_is_refused() {
        let group = GROUP.to_string();
        let asked = [
            Asked::signed(None, None, SECONDS),
            Asked::signed(None, Some(GroupAct::Join), SECONDS),
            Asked::signed(Some(&group), Some(GroupAct::Join), SECONDS),
            Asked::signed(Some(&group), Some(GroupAct::Invite), SECONDS * 1000),
            Asked::signed(Some(&group), Some(GroupAct::Kick), SECONDS),
        ];
        let mut refused = 0;
        for mut asked in asked {
            assert!(asked.checked(NOW_MS).unwrap().is_ok());
            for index in 0..asked.texts().len() {
                let good = asked.texts()[index].clone();
                for changed in mutations(&good) {
                    *asked.texts()[index] = changed;
                    if let Some(answer) = asked.checked(NOW_MS) {
                        assert_eq!(answer, Err(Reason::BadSignature), "{asked:?}");
                        refused += 1;
                    }
                }
                *asked.texts()[index] = good;
            }
        }
        assert!(refused > 50_000, "only {refused} of the changes were requests");
    }

    #[test]
    fn another_act_and_other_lists_of_ids_are_refused() {
        let asked = Asked::signed(Some(&GROUP.to_string()), Some(GroupAct::Invite), SECONDS);
        let refused = |change: &dyn Fn(&mut Asked)| {
            let mut asked = asked.clone();
            change(&mut asked);
            assert_eq!(asked.checked(NOW_MS), Some(Err(Reason::BadSignature)), "{asked:?}");
        };
        refused(&|asked| asked.act = Some("join".into()));
        refused(&|asked| asked.act = Some("kick".into()));
        refused(&|asked| asked.act = None);
        refused(&|asked| asked.group = None);
        refused(&|asked| asked.ids.clear());
        refused(&|asked| asked.ids.push("p4".into()));
        refused(&|asked| asked.ids.push("p3".into()));
        refused(&|asked| drop(asked.ids.pop()));
        refused(&|asked| asked.signature.clear());
        refused(&|asked| asked.signature.make_ascii_uppercase());
        refused(&|asked| asked.signature = "é".repeat(20));
    }

    #[test]
    fn a_signature_of_one_form_does_not_pass_for_the_other() {
        let (keys, alice) = (Keys::new(APP, KEY, None), &peers(&["alice"])[0]);
        let (group, member, number) = (GroupId([5; 12]), peers(&["1"]), SECONDS.to_string());
        let group_first = peers(&["050505050505050505050505", "1"]);
        let and_number = [group_first.clone(), peers(&[&number])].concat();
        // What follows the timestamp taken for a nonce; an act taken for one.
        for (nonce, ids, open_nonce) in
            [("n", &group_first, "n:kick"), (number.as_str(), &and_number, "kick")]
        {
            let act = GroupAct::Kick;
            let text =
                group_text(APP, alice, &name_of(Some(group)), &member, (SECONDS, nonce), act);
            assert_eq!(text, open_text(APP, alice, ids, SECONDS, open_nonce));
            let signature = sign(KEY, &text);
            let claim = |nonce| Claim { nonce, timestamp: SECONDS, signature: &signature };
            let as_meant = keys.check_group(alice, Some(group), &member, act, claim(nonce), NOW_MS);
            assert!(as_meant.is_ok());
            let taken = keys.check_open(alice, ids, claim(open_nonce), NOW_MS);
            assert_eq!(taken, Err(Reason::BadSignature));
        }
    }

    #[test]
    fn a_timestamp_may_be_in_seconds_or_milliseconds_and_six_hours_off() {
        let keys = Keys::new(APP, KEY, None);
        let alice = &peers(&["alice"])[0];
        for timestamp in [SECONDS, SECONDS * 1000] {
            let signature = sign_open(KEY, APP, alice, &[], timestamp, "n");
            let claim = Claim { nonce: "n", timestamp, signature: &signature };
            let check = |now_ms| keys.check_open(alice, &[], claim, now_ms);
            let stale_from = NOW_MS + SIX_HOURS_MS + 1;
            for off in [-SIX_HOURS_MS, -1, 0, 1, SIX_HOURS_MS] {
                assert_eq!(check(NOW_MS + off), Ok(stale_from), "{off} ms off");
            }
            for off in [-SIX_HOURS_MS - 1, SIX_HOURS_MS + 1] {
                assert_eq!(check(NOW_MS + off), Err(Reason::StaleSignature), "{off} ms off");
            }
            assert_eq!(check(i64::MIN), Err(Reason::StaleSignature));
            assert_eq!(check(i64::MAX), Err(Reason::StaleSignature));
        }
    }

    #[test]
    fn a_timestamp_of_any_size_is_answered() {
        let keys = Keys::new(APP, KEY, None);
        let alice = &peers(&["alice"])[0];
        let line = MILLISECONDS_FROM;
        for timestamp in [0, line - 1, line, i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            let signature = sign_open(KEY, APP, alice, &[], timestamp, "n");
            let claim = Claim { nonce: "n", timestamp, signature: &signature };
            let answer = keys.check_open(alice, &[], claim, NOW_MS);
            assert_eq!(answer, Err(Reason::StaleSignature), "{timestamp}");
        }
        assert!(stale_from(line - 1, (line as i64 - 1) * 1000).is_some());
        assert!(stale_from(line, line as i64).is_some());
    }

    #[test]
    fn a_stale_signature_that_is_wrong_is_only_wrong() {
        let mut asked = Asked::signed(None, None, SECONDS);
        let later = NOW_MS + SIX_HOURS_MS + 1;
        assert_eq!(asked.checked(later), Some(Err(Reason::StaleSignature)));
        asked.nonce.push('1');
        assert_eq!(asked.checked(later), Some(Err(Reason::BadSignature)));
    }

    #[test]
    fn the_previous_key_is_good_until_its_time() {
        let keys = Keys::new(APP, b"new", Some((KEY, NOW_MS)));
        let alice = &peers(&["alice"])[0];
        let checked = |key: &[u8], now_ms| {
            let signature = sign_open(key, APP, alice, &[], SECONDS, "n");
            let claim = Claim { nonce: "n", timestamp: SECONDS, signature: &signature };
            keys.check_open(alice, &[], claim, now_ms)
        };
        assert!(checked(KEY, NOW_MS - 1).is_ok());
        assert_eq!(checked(KEY, NOW_MS), Err(Reason::BadSignature));
        assert!(checked(b"new", NOW_MS - 1).is_ok());
        assert!(checked(b"new", NOW_MS).is_ok());
        assert_eq!(checked(b"other", NOW_MS - 1), Err(Reason::BadSignature));
    }

    #[test]
    fn ids_are_sorted_as_javascript_sorts_them() {
        // U+FF5E is one code unit above the two surrogates of U+1F600, and below it in UTF-8.
        assert_eq!(
            join(&peers(&["\u{ff5e}", "b", "\u{1f600}", "B", "a", "10", "9"])),
            "10:9:B:a:b:\u{1f600}:\u{ff5e}"
        );
    }

    #[test]
    fn keys_are_not_shown() {
        let shown = format!("{:?}", Keys::new(APP, b"secret", Some((b"older", 7))));
        assert!(!shown.contains("secret") && !shown.contains("older"), "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_is_signed_is_good_in_any_order_of_ids(
            key in prop::collection::vec(any::<u8>(), 0..100),
            app in "\\PC{1,16}",
            peer in "[^:\\p{Cc}]{1,16}",
            ids in prop::collection::vec("[^:\\p{Cc}]{1,16}", 0..8),
            turn in any::<prop::sample::Index>(),
            nonce in "[^:]{0,16}",
            off_ms in -SIX_HOURS_MS..=SIX_HOURS_MS,
            group in prop::option::of(any::<[u8; 12]>().prop_map(GroupId)),
            act in prop::sample::select(&GroupAct::ALL[..]),
        ) {
            prop_assume!(GroupAct::ALL.iter().all(|act| act.text() != nonce));
            let (keys, peer, ids) = (Keys::new(&app, &key, None), &peers(&[peer])[0], peers(&ids));
            let mut turned = ids.clone();
            turned.rotate_left(if ids.is_empty() { 0 } else { turn.index(ids.len()) });
            let timestamp = NOW_MS as u64;
            let stale_from = Ok(NOW_MS + SIX_HOURS_MS + 1);
            let signature = sign_open(&key, &app, peer, &ids, timestamp, &nonce);
            let claim = Claim { nonce: &nonce, timestamp, signature: &signature };
            let answer = keys.check_open(peer, &turned, claim, NOW_MS + off_ms);
            prop_assert_eq!(answer, stale_from);
            let signature = sign_group(&key, &app, peer, group, &ids, timestamp, &nonce, act);
            let claim = Claim { nonce: &nonce, timestamp, signature: &signature };
            let answer = keys.check_group(peer, group, &turned, act, claim, NOW_MS + off_ms);
            prop_assert_eq!(answer, stale_from);
        }
    }
}
