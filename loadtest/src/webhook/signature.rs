//! The signature of a delivery, as the Standard Webhooks specification has it.
//!
//! # Invariants
//!
//! * It is written from the specification and uses nothing of the server.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac::{self, HMAC_SHA256, Key};

/// What an endpoint's deliveries are signed with.
#[derive(Clone, Debug)]
pub(crate) struct Secret {
    text: String,
    key: Key,
}

impl Secret {
    /// A fresh one of 32 bytes.
    pub(crate) fn random() -> Self {
        let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(32).collect();
        Self::new(&bytes)
    }

    fn new(bytes: &[u8]) -> Self {
        let text = format!("whsec_{}", BASE64_STANDARD.encode(bytes));
        Self { text, key: Key::new(HMAC_SHA256, bytes) }
    }

    /// How it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether one of the signatures of a header is that of the body.
    pub(crate) fn verifies(&self, id: &str, at: &str, body: &[u8], header: &str) -> bool {
        let signed = [id.as_bytes(), b".", at.as_bytes(), b".", body].concat();
        let tags = header.split(' ').filter_map(|one| one.strip_prefix("v1,"));
        let tags = tags.filter_map(|tag| BASE64_STANDARD.decode(tag).ok());
        tags.into_iter().any(|tag| hmac::verify(&self.key, &signed, &tag).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_verifies() {
        let bytes = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let secret = Secret::new(&bytes);
        let (id, at, body) =
            ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#);
        let header = "v1,other v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert!(secret.verifies(id, at, body, header));
        assert!(!secret.verifies(id, "1614265331", body, header));
        assert!(!Secret::random().verifies(id, at, body, header));
    }
}
