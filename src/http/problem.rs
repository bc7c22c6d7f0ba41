//! What goes wrong, as the caller reads it: problem details (RFC 9457).
//!
//! # Invariants
//!
//! * A problem's name means one thing for ever, and has one status and one title.
//! * The text is for the caller: no path, no cause and no key of this machine stands in it.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::reason::Reason;
use crate::store::{Closed, ReadError};

/// The content type of problem details.
const PROBLEM_TYPE: &str = "application/problem+json";

/// What stands before each name in `type`.
const URN: &str = "urn:tidings:problem:";

macro_rules! kinds {
    ($($name:ident = $status:literal, $text:literal, $title:literal;)*) => {
        /// Every problem there is.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Kind {
            $(#[doc = $title] $name,)*
        }

        impl Kind {
            /// Every one there is, in the order of their statuses.
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its stable name.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// What it is, in a few words that are always the same.
            pub(super) fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }

            /// The status that it comes with.
            pub(super) fn status(self) -> StatusCode {
                let number: u16 = match self {
                    $(Self::$name => $status,)*
                };
                StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    };
}

kinds! {
    MalformedJson = 400, "malformed-json", "The body is not JSON";
    InvalidQuery = 400, "invalid-query", "The query of the address is not as it has to be";
    InvalidPath = 400, "invalid-path", "The path of the address is not as it has to be";
    InvalidHeader = 400, "invalid-header", "A header is not as it has to be";
    BadRequest = 400, "bad-request", "The request cannot be understood";
    Unauthorized = 401, "unauthorized", "A valid key is required";
    Forbidden = 403, "forbidden", "The key does not have the scope that is required";
    NotFound = 404, "not-found", "There is nothing at this address";
    NoSuchKey = 404, "no-such-key", "There is no key of this name";
    NoSuchEndpoint = 404, "no-such-endpoint", "There is no endpoint of this id";
    NoSuchDevice = 404, "no-such-device", "There is no such device";
    NoSuchGroup = 404, "no-such-group", "There is no such group";
    NoSuchAlias = 404, "no-such-alias", "There is no such alias";
    NoSuchMessage = 404, "no-such-message", "There is no such message";
    MethodNotAllowed = 405, "method-not-allowed", "The address does not have this method";
    Conflict = 409, "conflict", "The request contradicts what is so";
    KeyExists = 409, "key-exists", "There is a key of this name already";
    EndpointExists = 409, "endpoint-exists", "There is an endpoint of this id already";
    ConfiguredEndpoint = 409, "configured-endpoint",
        "The endpoint is one of the server's settings, and changes with them";
    TooManyKeys = 409, "too-many-keys", "There are as many keys as there may be";
    LastMasterKey = 409, "last-master-key", "The last master key cannot be removed";
    GroupFull = 409, "group-full", "The group has as many members as it may have";
    AliasFull = 409, "alias-full", "The alias has as many devices as it may have";
    LimitReached = 409, "limit-reached", "There are as many as there may be";
    TooLate = 409, "too-late", "The time for this is over";
    VersionChanged = 412, "version-changed", "It has another version by now";
    BodyTooLong = 413, "body-too-long", "The body exceeds the length limit";
    UnsupportedMediaType = 415, "unsupported-media-type", "The body must be application/json";
    InvalidBody = 422, "invalid-body", "The body is not as it has to be";
    IdempotencyKeyReused = 422, "idempotency-key-reused",
        "The idempotency key was used for another request";
    TooManyFailures = 429, "too-many-failures", "Too many requests without a valid key";
    Internal = 500, "internal", "The server failed";
    Unsupported = 501, "unsupported", "The server does not do this";
    Starting = 503, "starting", "The server is starting";
    Stopping = 503, "stopping", "The server is going down";
    Busy = 503, "busy", "The server has too much to do";
    Timeout = 504, "timeout", "The request took too long; it may have been done";
    StorageFull = 507, "storage-full", "The log is full";
}

impl Kind {
    /// What stands in `type`.
    pub(super) fn urn(self) -> String {
        format!("{URN}{}", self.name())
    }
}

/// A problem on its way to the caller.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    reason: Option<Reason>,
    retry_after: Option<Duration>,
    header: Option<(HeaderName, HeaderValue)>,
}

/// What a route returns.
pub(super) type Outcome<T> = Result<T, Problem>;

impl Problem {
    /// A problem and what the caller should know of this one.
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), reason: None, retry_after: None, header: None }
    }

    /// Says when to try again; rounded up to seconds.
    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Gives the answer one more header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The status that it comes with.
    pub(super) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// It as problem details; `instance` is what it happened to.
    pub(super) fn details<'a>(&'a self, instance: &'a str) -> ProblemDetails<'a> {
        ProblemDetails {
            kind: self.kind.urn(),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            instance,
            reason: self.reason.map(|reason| reason as u16),
        }
    }

    /// The answer that the caller gets.
    pub(super) fn answer(&self, request_id: &str) -> Response {
        let mut response = (self.status(), Json(self.details(request_id))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000) as u64;
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some((name, value)) = &self.header {
            headers.insert(name, value.clone());
        }
        response
    }
}

/// Leaves the body to what knows the id of the request, around all routes.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        let detail = match reason {
            // A back end has no send numbers.
            Reason::NumberReused => "it was used for a message with another text, or for others",
            _ => reason.text(),
        };
        let mut problem = Self::new(kind_of(reason), detail);
        problem.reason = Some(reason);
        match problem.kind {
            Kind::Stopping | Kind::Busy => problem.retry_after(Duration::from_secs(1)),
            _ => problem,
        }
    }
}

impl From<Closed> for Problem {
    fn from(_: Closed) -> Self {
        Reason::Restarting.into()
    }
}

/// What went wrong on the disk is logged here, for the caller must not read it.
impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed(closed) => closed.into(),
            error => {
                tracing::error!(error = %crate::chain::Chain(&error), "cannot read the store");
                Reason::Internal.into()
            }
        }
    }
}

/// The problem that a reason is to a back end.
fn kind_of(reason: Reason) -> Kind {
    match reason {
        Reason::Restarting => Kind::Stopping,
        Reason::Busy => Kind::Busy,
        Reason::StorageFull => Kind::StorageFull,
        Reason::BodyTooLong
        | Reason::TooManyRecipients
        | Reason::NoRecipient
        | Reason::BadId
        | Reason::BadMetadata
        | Reason::Reserved => Kind::InvalidBody,
        Reason::NumberReused => Kind::IdempotencyKeyReused,
        Reason::NoSuchGroup => Kind::NoSuchGroup,
        Reason::NoSuchMessage => Kind::NoSuchMessage,
        Reason::NoSuchAlias => Kind::NoSuchAlias,
        Reason::NoSuchDevice => Kind::NoSuchDevice,
        Reason::GroupFull => Kind::GroupFull,
        Reason::AliasFull => Kind::AliasFull,
        Reason::TooManyGroups
        | Reason::TooManyAliases
        | Reason::TooManyUpstream
        | Reason::TooManyBlocked
        | Reason::TooManyWatched
        | Reason::TooManyNonces => Kind::LimitReached,
        Reason::TooLate | Reason::TooOld => Kind::TooLate,
        Reason::VersionChanged => Kind::VersionChanged,
        Reason::NotInOpenGroup
        | Reason::NotMember
        | Reason::NotAllowed
        | Reason::NotWatched
        | Reason::Vetoed
        | Reason::Unasked
        | Reason::Blocked => Kind::Conflict,
        Reason::Unsupported => Kind::Unsupported,
        // The others are about sessions and frames, which a back end has not.
        _ => Kind::Internal,
    }
}

/// Problem details, as in RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDetails<'a> {
    /// What kind of problem it is: one of the names under `x-problems`.
    #[serde(rename = "type")]
    #[schema(example = "urn:tidings:problem:unauthorized")]
    kind: String,
    /// What the kind means, always in the same words.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// The id of the request, which the server's log has too; in a list of outcomes, a JSON
    /// pointer to the item of the request.
    instance: &'a str,
    /// The number of the reason, where a client over QUIC would have been told one.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<u16>,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_name_is_kebab_case_and_stands_for_one_problem() {
        let mut names = HashSet::new();
        for kind in Kind::ALL {
            let name = kind.name();
            assert!(names.insert(name), "{name}");
            assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c == b'-'), "{name}");
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
        }
    }

    #[test]
    fn a_reason_keeps_its_number() {
        for reason in Reason::ALL {
            assert_eq!(Problem::from(*reason).reason, Some(*reason));
        }
        assert_eq!(Problem::from(Reason::Restarting).kind, Kind::Stopping);
    }

    #[test]
    fn a_bound_that_is_reached_is_told_as_such() {
        for (reason, status, kind) in [
            (Reason::TooManyGroups, 409, Kind::LimitReached),
            (Reason::TooManyAliases, 409, Kind::LimitReached),
            (Reason::TooManyBlocked, 409, Kind::LimitReached),
            (Reason::TooManyUpstream, 409, Kind::LimitReached),
            (Reason::GroupFull, 409, Kind::GroupFull),
            (Reason::AliasFull, 409, Kind::AliasFull),
            (Reason::Busy, 503, Kind::Busy),
            (Reason::StorageFull, 507, Kind::StorageFull),
        ] {
            let problem = Problem::from(reason);
            assert_eq!((problem.status().as_u16(), problem.kind), (status, kind));
        }
    }
}
