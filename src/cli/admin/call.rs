//! A request to the API, before it is sent.
//!
//! # Invariants
//!
//! * An id stands in a path as itself: it is never read as a part of the API's own paths.

use std::fmt;
use std::str::FromStr;

use reqwest::Method;
use reqwest::header::{HeaderName, IF_MATCH};
use serde::Serialize;
use serde_json::{Map, Value};

/// A request to the API.
#[derive(Debug)]
pub(in crate::cli) struct Call {
    pub(super) method: Method,
    /// Behind the server's address, percent-encoded.
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(HeaderName, String)>,
    /// JSON.
    pub(super) body: Option<Vec<u8>>,
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), headers: Vec::new(), body: None }
    }

    pub(in crate::cli) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(super) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// A request without a body.
    pub(super) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(super) fn patch(path: impl Into<String>) -> Self {
        Self::new(Method::PATCH, path)
    }

    /// Gives it a body.
    ///
    /// # Errors
    ///
    /// It cannot be written as JSON.
    pub(super) fn json(mut self, body: &impl Serialize) -> serde_json::Result<Self> {
        self.body = Some(serde_json::to_vec(body)?);
        Ok(self)
    }

    /// Adds to the query what there is.
    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Demands a version, if one is named.
    pub(super) fn if_version(mut self, version: Option<String>) -> Self {
        self.headers.extend(version.map(|version| (IF_MATCH, format!("\"{version}\""))));
        self
    }
}

/// An object of what is given.
pub(super) fn given<const COUNT: usize>(
    fields: [(&str, Option<String>); COUNT],
) -> Map<String, Value> {
    let given = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?.into()));
    fields.into_iter().filter_map(given).collect()
}

/// An id as it stands in a path.
#[derive(Clone, Debug)]
pub(super) struct Segment(String);

/// Why a text cannot stand in a path.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no address can have this as a part")]
pub(super) struct NoSegment;

impl FromStr for Segment {
    type Err = NoSegment;

    /// Encodes the first character whatever it is: a peer that is called `status` is no route.
    fn from_str(id: &str) -> Result<Self, NoSegment> {
        if matches!(id, "" | "." | "..") {
            return Err(NoSegment);
        }
        let mut encoded = String::with_capacity(id.len() + 2);
        for (at, byte) in id.bytes().enumerate() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' if at > 0 => {
                    encoded.push(byte.into());
                }
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        Ok(Self(encoded))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_a_part_of_the_apis_own_paths() {
        let segment = |id: &str| id.parse::<Segment>().map(|segment| segment.to_string()).ok();
        assert_eq!(segment("status").as_deref(), Some("%73tatus"));
        assert_eq!(segment("a/b? \u{e4}%").as_deref(), Some("%61%2Fb%3F%20%C3%A4%25"));
        for none in ["", ".", ".."] {
            assert_eq!(segment(none), None, "{none:?}");
        }
        let url = reqwest::Url::parse("http://127.0.0.1/v1/peers/").unwrap();
        let joined = url.join(&segment("...").unwrap()).unwrap();
        assert_eq!(joined.path(), "/v1/peers/%2E..");
    }
}
