//! Signatures against the published vectors, and against what is not to pass.

use proptest::prelude::*;

use super::*;

/// The vector that the libraries of Standard Webhooks are tested with.
const PUBLISHED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PUBLISHED_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const PUBLISHED_AT: i64 = 1_614_265_330;
const PUBLISHED_BODY: &[u8] = br#"{"test": 2432232314}"#;
const PUBLISHED_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

fn value<'a>(headers: &'a [(&str, String)], name: &str) -> &'a str {
    &headers.iter().find(|(other, _)| *other == name).unwrap().1
}

fn claim<'a>(headers: &'a [(&'static str, String)]) -> Claim<'a> {
    Claim {
        id: value(headers, ID),
        timestamp: value(headers, TIMESTAMP),
        signature: value(headers, SIGNATURE),
    }
}

#[test]
fn the_published_vector_is_signed_and_verified() {
    let secrets = [secret(PUBLISHED)];
    let headers = headers(&secrets, PUBLISHED_ID, PUBLISHED_AT, PUBLISHED_BODY);
    assert_eq!(value(&headers, SIGNATURE), PUBLISHED_SIGNATURE);
    assert_eq!(value(&headers, ID), PUBLISHED_ID);
    assert_eq!(value(&headers, TIMESTAMP), "1614265330");
    assert_eq!(verify(&secrets, claim(&headers), PUBLISHED_BODY, PUBLISHED_AT, 0), Ok(()));
}

#[test]
fn the_signature_of_the_body_alone_is_an_hmac_in_hexadecimal_digits() {
    // RFC 4231, test case 2.
    let (secrets, body) = ([secret("Jefe")], b"what do ya want for nothing?");
    let headers = headers(&secrets, "id", 0, body);
    let digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(value(&headers, SIGNATURE_256), format!("sha256={digest}"));
    assert!(verify_body(&secrets, &format!("sha256={digest}"), body));
    assert!(!verify_body(&secrets, digest, body));
    assert!(!verify_body(&secrets, &format!("sha256={digest}"), b"more"));
    for wrong in ["sha256=", "sha256=5bd", "sha256=zz", "sha256=\u{e4}\u{e4}"] {
        assert!(!verify_body(&secrets, wrong, body), "{wrong}");
    }
}

#[test]
fn while_secrets_change_both_are_good() {
    let (old, new) = (secret("old"), secret(PUBLISHED));
    let headers = headers(&[new.clone(), old.clone()], "id", 1_000, b"body");
    assert_eq!(value(&headers, SIGNATURE).split(' ').count(), 2);
    for secrets in [&[old.clone()][..], std::slice::from_ref(&new), &[secret("x"), old.clone()]] {
        assert_eq!(verify(secrets, claim(&headers), b"body", 1_000, 300), Ok(()));
    }
    let other = verify(&[secret("other")], claim(&headers), b"body", 1_000, 300);
    assert_eq!(other, Err(VerifyError::BadSignature));
    assert_eq!(verify(&[], claim(&headers), b"body", 1_000, 300), Err(VerifyError::BadSignature));
    // There is one of these: of the secret that the receiver had before.
    assert!(verify_body(&[old], value(&headers, SIGNATURE_256), b"body"));
    assert!(!verify_body(&[new], value(&headers, SIGNATURE_256), b"body"));
}

#[test]
fn a_time_may_be_off_by_the_tolerance() {
    let secrets = [secret("s")];
    let headers = headers(&secrets, "id", 1_000, b"body");
    let at = |now_s| verify(&secrets, claim(&headers), b"body", now_s, 300);
    for now_s in [700, 1_000, 1_300] {
        assert_eq!(at(now_s), Ok(()), "{now_s}");
    }
    for now_s in [699, 1_301, i64::MIN, i64::MAX] {
        assert_eq!(at(now_s), Err(VerifyError::Stale), "{now_s}");
    }
}

#[test]
fn what_is_not_as_it_was_signed_is_refused() {
    let secrets = [secret("s")];
    let headers = headers(&secrets, "id", 1_000, b"body");
    let good = claim(&headers);
    let check = |claim, body: &[u8]| verify(&secrets, claim, body, 1_000, 300);
    assert_eq!(check(good, b"body"), Ok(()));
    let bad = Err(VerifyError::BadSignature);
    assert_eq!(check(good, b"bodY"), bad);
    assert_eq!(check(Claim { id: "other", ..good }, b"body"), bad);
    assert_eq!(check(Claim { timestamp: "1001", ..good }, b"body"), bad);
    assert_eq!(check(Claim { timestamp: "+1000", ..good }, b"body"), bad);
    for signature in ["", "v1", "v1,", "v2,AAAA", &good.signature[3..], "v1,####"] {
        assert_eq!(check(Claim { signature, ..good }, b"body"), bad, "{signature}");
    }
    for timestamp in ["", "soon", "1e3", "99999999999999999999"] {
        let answer = check(Claim { timestamp, ..good }, b"body");
        assert_eq!(answer, Err(VerifyError::BadTimestamp), "{timestamp}");
    }
    let many = format!("{}{}", "v1,AAAA ".repeat(WEBHOOK_SIGNATURES_MAX), good.signature);
    assert_eq!(check(Claim { signature: &many, ..good }, b"body"), bad);
}

#[test]
fn without_a_secret_nothing_is_signed() {
    let headers = headers(&[], "id", 7, b"body");
    assert_eq!(headers, [(ID, "id".to_owned()), (TIMESTAMP, "7".to_owned())]);
}

#[test]
fn a_secret_is_base64_of_24_to_64_bytes_or_any_text_and_never_shown() {
    let of = |bytes: usize| format!("whsec_{}", base64(&vec![7; bytes])).parse::<Secret>();
    assert_eq!(of(24).unwrap().bytes(), [7; 24]);
    assert_eq!(of(64).unwrap().bytes(), [7; 64]);
    for bytes in [0, 23, 65] {
        assert_eq!(of(bytes).unwrap_err(), SecretError::NotBase64, "{bytes}");
    }
    assert_eq!("whsec_no base64".parse::<Secret>().unwrap_err(), SecretError::NotBase64);
    assert_eq!("".parse::<Secret>().unwrap_err(), SecretError::BadLength);
    assert_eq!("x".repeat(257).parse::<Secret>().unwrap_err(), SecretError::BadLength);
    assert_eq!(secret("\u{e4}").bytes(), "\u{e4}".as_bytes());
    assert_eq!(format!("{:?}", secret("hidden")), "Secret(..)");
}

proptest! {
    #[test]
    fn whatever_is_signed_verifies(
        key in "\\PC{1,64}",
        id in "\\PC{0,40}",
        at_s in 0..i64::MAX,
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let Ok(secret) = key.parse::<Secret>() else { return Ok(()) };
        let secrets = [secret];
        let headers = headers(&secrets, &id, at_s, &body);
        prop_assert_eq!(verify(&secrets, claim(&headers), &body, at_s, 0), Ok(()));
        prop_assert!(verify_body(&secrets, value(&headers, SIGNATURE_256), &body));
    }
}
