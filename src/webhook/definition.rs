//! What is written about an endpoint, in the settings and in requests.
//!
//! # Invariants
//!
//! * What is written here is what can be kept and shown; only the endpoint that is made of it
//!   was checked.
//! * Neither debugging nor an error shows a secret.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dialect::{Dialect, NoDialect};
use super::event::{Kind, NoKind};
use super::sign::SecretError;
use crate::id::IdError;
use crate::limits::{WEBHOOK_IN_FLIGHT_MAX, WEBHOOK_SECRETS_MAX, WEBHOOK_URLS_MAX};

/// The text of a secret, which is not shown.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

/// An endpoint as it is written in the settings and in requests.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Definition {
    /// Its id.
    pub id: String,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Where it is, if at several places: requests are spread over them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// The name of its dialect; `tidings` if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dialect: Option<String>,
    /// The names of the kinds of events it wants; empty for all that its dialect speaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
    /// What requests are signed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    /// What requests are signed with while a secret is being replaced, the new one first; what
    /// there can be only one of is made with the last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretText>,
    /// How long an event waits for others, such as `500ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long a request may take, such as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Requests on their way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    /// `wukongim`: the recipients are compressed if a message has more of them; never if it is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gzip_over: Option<usize>,
    /// `wukongim`: offline messages go out as an array.
    #[serde(skip_serializing_if = "is_false")]
    pub offline_array: bool,
    /// `easemob`: values in `ext` may be arrays and objects.
    #[serde(skip_serializing_if = "is_false")]
    pub nested_ext: bool,
}

impl Definition {
    /// What of it may be shown though it is of no use: no secrets, and of URLs no query.
    pub(super) fn bare(&self) -> Self {
        let bare = |url: &String| match url.split_once(['?', '#']) {
            _ if url.contains('@') => "***".to_owned(),
            Some((url, _)) => format!("{url}?***"),
            None => url.clone(),
        };
        Self {
            url: self.url.as_ref().map(bare),
            urls: self.urls.iter().map(bare).collect(),
            secret: None,
            secrets: Vec::new(),
            ..self.clone()
        }
    }
}

impl fmt::Debug for Definition {
    /// Shows its id, and where it is without the queries of URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, url, urls, dialect, .. } = self.bare();
        let mut shown = f.debug_struct("Definition");
        shown.field("id", &id).field("url", &url).field("urls", &urls);
        shown.field("dialect", &dialect).finish_non_exhaustive()
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Why a definition is no endpoint. No text of it is a secret.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DefinitionError {
    /// The id is none.
    #[error("id: {0}")]
    Id(#[source] IdError),
    /// There is no URL, or there are too many.
    #[error("url: an endpoint has 1 to {WEBHOOK_URLS_MAX} URLs, as `url` or as `urls`")]
    Urls,
    /// A URL cannot be used.
    #[error("url: {0}")]
    Url(&'static str),
    /// A URL names an address that webhooks may not go to.
    #[error("url: {0} is not an address that webhooks may go to; see webhook_networks")]
    Address(std::net::IpAddr),
    /// There is no such dialect.
    #[error("dialect: {0}")]
    Dialect(#[source] NoDialect),
    /// There is no such kind of event.
    #[error("events: {0}")]
    Kind(#[source] NoKind),
    /// The dialect has no words for a kind of event.
    #[error("events: {dialect} does not speak of {kind}")]
    Mute {
        /// The dialect.
        dialect: Dialect,
        /// The kind of event.
        kind: Kind,
    },
    /// The dialect says the app's id, and there is none.
    #[error("dialect: {0} says the app's id, which is signed too: app_id has to be set")]
    AppId(Dialect),
    /// A secret is none, or there are too many.
    #[error("secret: {0}")]
    Secret(#[source] SecretError),
    /// There are too many secrets.
    #[error("secret: an endpoint has at most {WEBHOOK_SECRETS_MAX} secrets")]
    Secrets,
    /// A duration is none, or too long.
    #[error("{name}: not a duration such as 500ms, from {min:?} to {max:?}")]
    Duration {
        /// Which.
        name: &'static str,
        /// How long it is at the least.
        min: Duration,
        /// How long it may be.
        max: Duration,
    },
    /// Too many requests at once, or none.
    #[error("in_flight: 1 to {WEBHOOK_IN_FLIGHT_MAX}")]
    InFlight,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_for_debugging_has_no_secret() {
        let json = r#"{"id":"a","url":"http://a.example?token=geheim","urls":["http://geheim@b"],
            "secret":"geheim","secrets":["geheim"]}"#;
        let definition: Definition = serde_json::from_str(json).unwrap();
        assert!(!format!("{definition:?}").contains("geheim"));
    }
}
