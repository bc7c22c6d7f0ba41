//! Versions of what can be changed: told as ETag, demanded by If-Match.
//!
//! # Invariants
//!
//! * A tag is compared whole; a weak one is never equal to any.

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::{Kind, Outcome, Problem};
use crate::id::MessageId;
use crate::reason::Reason;

/// Which versions a request takes, as its If-Match says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Demand {
    /// Whichever there is.
    Any,
    /// One of these.
    OneOf(Vec<String>),
}

impl Demand {
    /// What the headers demand.
    ///
    /// # Errors
    ///
    /// A problem if they are not as they have to be.
    pub(super) fn of(headers: &HeaderMap) -> Outcome<Self> {
        let mut tags = Vec::new();
        let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
        if values.peek().is_none() {
            return Ok(Self::Any);
        }
        for value in values {
            let text = value.to_str().map_err(|_| malformed())?.trim();
            if text == "*" {
                return Ok(Self::Any);
            }
            tags_in(text, &mut tags).ok_or_else(malformed)?;
        }
        Ok(Self::OneOf(tags))
    }

    /// Whether it demands anything.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::Any
    }

    /// Checks that this is a version that it takes.
    ///
    /// # Errors
    ///
    /// The problem that it has another version.
    pub(super) fn check(&self, version: MessageId) -> Outcome<()> {
        match self {
            Self::OneOf(tags) if !tags.contains(&version.to_string()) => {
                Err(Reason::VersionChanged.into())
            }
            _ => Ok(()),
        }
    }
}

/// The tag of a version.
pub(super) fn etag(version: MessageId) -> HeaderValue {
    let tag = HeaderValue::from_str(&format!("\"{version}\""));
    tag.unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

fn malformed() -> Problem {
    Problem::new(Kind::InvalidHeader, "If-Match is a list of entity tags, or *")
}

/// The strong ones of the entity tags in a list; `None` if it is no list of entity tags.
fn tags_in(list: &str, tags: &mut Vec<String>) -> Option<()> {
    let mut rest = list;
    loop {
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let (tag, behind) = quoted.strip_prefix('"')?.split_once('"')?;
        if !is_weak {
            tags.push(tag.to_owned());
        }
        let behind = behind.trim_start();
        if behind.is_empty() {
            return Some(());
        }
        rest = behind.strip_prefix(',')?.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(values: &[&str]) -> Option<Demand> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, value.parse().unwrap());
        }
        Demand::of(&headers).ok()
    }

    fn one_of(tags: &[&str]) -> Option<Demand> {
        Some(Demand::OneOf(tags.iter().map(|tag| (*tag).to_owned()).collect()))
    }

    #[test]
    fn if_match_is_read_as_http_says() {
        assert_eq!(demand(&[]), Some(Demand::Any));
        assert_eq!(demand(&["*"]), Some(Demand::Any));
        assert_eq!(demand(&["\"7\""]), one_of(&["7"]));
        assert_eq!(demand(&["\"7\" , \"a,b\",W/\"8\"", "\"\""]), one_of(&["7", "a,b", ""]));
        for malformed in ["", "7", "\"7", "\"7\",", "\"7\"\"8\"", "w/\"7\"", ", \"7\""] {
            assert_eq!(demand(&[malformed]), None, "{malformed:?}");
        }
    }

    #[test]
    fn a_weak_tag_demands_what_never_is() {
        let weak = demand(&["W/\"7\""]).unwrap();
        assert!(weak.check(MessageId(7)).is_err());
        let strong = demand(&["\"7\", \"9\""]).unwrap();
        assert!(strong.check(MessageId(9)).is_ok());
        assert!(strong.check(MessageId(8)).is_err());
        assert_eq!(etag(MessageId(7)), "\"7\"");
    }
}
