//! What recognises a request that comes again: its `Idempotency-Key` header.
//!
//! # Invariants
//!
//! * The keys of different API keys never meet, nor those of the messages of a batch.

use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use ring::digest::{Context, SHA256};

use super::gate::KeyName;
use super::problem::{Kind, Problem};
use crate::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use crate::store::IdempotencyKey;

/// The header, as a draft of the IETF has it.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What recognises the messages of a request, if it has such a header.
pub(super) struct Repeats(Option<Context>);

impl Repeats {
    fn new(api_key: &str, header: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        // No name of a key has a line feed.
        context.update(api_key.as_bytes());
        context.update(b"\n");
        context.update(&(header.len() as u64).to_be_bytes());
        context.update(header);
        Self(Some(context))
    }

    /// What recognises the message at this place of the request.
    pub(super) fn key(&self, place: usize) -> Option<IdempotencyKey> {
        let mut context = self.0.clone()?;
        context.update(&(place as u64).to_be_bytes());
        context.finish().as_ref().first_chunk().copied()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Repeats {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let bytes = value.as_bytes();
        let is_good = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(u8::is_ascii_graphic)
            && values.next().is_none();
        if !is_good {
            let detail = "Idempotency-Key is 1 to 255 visible ASCII characters, and stands once";
            return Err(Problem::new(Kind::InvalidHeader, detail));
        }
        let Some(KeyName(name)) = parts.extensions.get() else {
            return Err(Problem::new(Kind::Internal, "the request has passed no gate"));
        };
        Ok(Self::new(name, bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_is_for_one_header_of_one_api_key_at_one_place() {
        let mut seen = HashSet::new();
        for (api_key, header) in [("shop", "a"), ("shop", "b"), ("shopa", ""), ("master", "a")] {
            for place in 0..3 {
                let key = Repeats::new(api_key, header.as_bytes()).key(place).unwrap();
                assert_eq!(Repeats::new(api_key, header.as_bytes()).key(place), Some(key));
                assert!(seen.insert(key));
            }
        }
        assert_eq!(Repeats(None).key(0), None);
    }
}
