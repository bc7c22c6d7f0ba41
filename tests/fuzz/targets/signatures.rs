//! Signatures of any two requests, and those of webhooks.
//!
//! # Invariants
//!
//! * A request is taken with its own signature, within its time, and with no other request's.
//! * What a receiver reads of a webhook never panics, and is taken if it is what was signed.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tidings::id::{GroupId, PeerId};
use tidings::reason::Reason;
use tidings::signature::{Claim, GroupAct, Keys, sign_group, sign_open};
use tidings::webhook::sign;

const KEY: &[u8] = b"a key of the app";
const APP: &str = "an:app";
const SIX_HOURS_MS: u64 = 6 * 3600 * 1000;

#[derive(Arbitrary, Debug)]
struct Asked<'a> {
    peer: &'a str,
    ids: Vec<&'a str>,
    /// To open if there is none.
    act: Option<u8>,
    group: Option<[u8; 12]>,
    timestamp: u64,
    nonce: &'a str,
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    one: Asked<'a>,
    other: Asked<'a>,
    now_ms: i64,
    said: &'a str,
    secret: &'a str,
    at_s: i64,
    body: &'a [u8],
}

/// The same, as what it means.
#[derive(Debug, PartialEq)]
struct Request<'a> {
    peer: PeerId,
    ids: Vec<PeerId>,
    group: Option<(GroupAct, Option<GroupId>)>,
    timestamp: u64,
    nonce: &'a str,
}

fuzz_target!(|input: Input<'_>| {
    check_webhook(&input);
    let (Some(one), Some(other)) = (request(&input.one), request(&input.other)) else { return };
    let signature = one.sign();
    let is_sound = !one.nonce.contains(':')
        && (one.group.is_some() || GroupAct::ALL.iter().all(|act| act.text() != one.nonce));
    let taken = one.check(&signature, input.now_ms);
    let is_fresh = one.signed_ms().is_some_and(|at| input.now_ms.abs_diff(at) <= SIX_HOURS_MS);
    match (is_sound, is_fresh) {
        (false, _) => assert_eq!(taken, Err(Reason::BadSignature)),
        (true, false) => assert_eq!(taken, Err(Reason::StaleSignature)),
        (true, true) => assert!(taken.is_ok_and(|until| until > input.now_ms)),
    }
    if one != other {
        assert_eq!(other.check(&signature, input.now_ms), Err(Reason::BadSignature));
    }
    assert!(one.check(input.said, input.now_ms).is_err() || input.said == signature);
});

fn request<'a>(asked: &Asked<'a>) -> Option<Request<'a>> {
    let ids: Option<BTreeSet<PeerId>> = asked.ids.iter().map(|id| id.parse().ok()).collect();
    let act = asked.act.map(|act| GroupAct::ALL[usize::from(act) % GroupAct::ALL.len()]);
    Some(Request {
        peer: asked.peer.parse().ok()?,
        ids: ids?.into_iter().collect(),
        group: act.map(|act| (act, asked.group.map(GroupId))),
        timestamp: asked.timestamp,
        nonce: asked.nonce,
    })
}

impl Request<'_> {
    fn sign(&self) -> String {
        let Self { peer, ids, timestamp, nonce, .. } = self;
        match self.group {
            None => sign_open(KEY, APP, peer, ids, *timestamp, nonce),
            Some((act, group)) => sign_group(KEY, APP, peer, group, ids, *timestamp, nonce, act),
        }
    }

    fn check(&self, signature: &str, now_ms: i64) -> Result<i64, Reason> {
        let keys = Keys::new(APP, KEY, None);
        let claim = Claim { nonce: self.nonce, timestamp: self.timestamp, signature };
        match self.group {
            None => keys.check_open(&self.peer, &self.ids, claim, now_ms),
            Some((act, group)) => {
                keys.check_group(&self.peer, group, &self.ids, act, claim, now_ms)
            }
        }
    }

    /// When it was signed: seconds up to the year 5138.
    fn signed_ms(&self) -> Option<i64> {
        let is_seconds = self.timestamp < 100_000_000_000;
        i64::try_from(if is_seconds { self.timestamp * 1000 } else { self.timestamp }).ok()
    }
}

fn check_webhook(input: &Input<'_>) {
    let Ok(secret) = input.secret.parse::<sign::Secret>() else { return };
    let secrets = [secret];
    let headers = sign::headers(&secrets, "id", input.at_s, input.body);
    let of = |name: &str| {
        headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
    };
    let timestamp = of(sign::TIMESTAMP).unwrap();
    let claim = |signature| sign::Claim { id: "id", timestamp, signature };
    let signature = of(sign::SIGNATURE).unwrap();
    assert_eq!(sign::verify(&secrets, claim(signature), input.body, input.at_s, 0), Ok(()));
    assert!(sign::verify_body(&secrets, of(sign::SIGNATURE_256).unwrap(), input.body));
    let _ = sign::verify(&secrets, claim(input.said), input.body, input.at_s, 0);
    let _ = sign::verify_body(&secrets, input.said, input.body);
}
