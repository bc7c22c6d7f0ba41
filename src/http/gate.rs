//! Who may use a route.
//!
//! # Invariants
//!
//! * A request is let through only with a key that has the route's scope.
//! * A valid key is never held up by the failures of others at its address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;

use super::api::Api;
use super::keys::Key;
use super::problem::{Kind, Outcome, Problem};
use super::scope::Scope;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin(pub(super) SocketAddr);

/// The name of the key that a request came with; the gate puts it to the request.
#[derive(Clone, Debug)]
pub(super) struct KeyName(pub(super) String);

/// What stands before a route.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) api: Arc<Api>,
    pub(super) scope: Scope,
    /// Whether the route needs the hub.
    pub(super) needs_hub: bool,
}

impl Gate {
    /// Who asks, if it may.
    fn check(&self, request: &Request) -> Outcome<KeyName> {
        let key = self.key(request)?;
        if !self.scope.is_in(&key.scopes) {
            let name = self.scope.name();
            let asked =
                format!("Bearer realm=\"tidings\", error=\"insufficient_scope\", scope=\"{name}\"");
            let detail = format!("the scope {name} is required");
            return Err(with_challenge(Problem::new(Kind::Forbidden, detail), &asked));
        }
        if self.needs_hub {
            self.api.hub()?;
        }
        Ok(KeyName(key.name))
    }

    /// The key of the request; without a valid one, that is counted.
    fn key(&self, request: &Request) -> Outcome<Key> {
        let text = bearer(request.headers());
        let now_ms = self.api.clock.now_ms();
        if let Some(key) = text.and_then(|text| self.api.keys.find(text, now_ms)) {
            return Ok(key);
        }
        self.api.metrics.api_auth_failures.inc();
        if let Some(Origin(address)) = request.extensions().get() {
            let counted = self.api.failures.count(address.ip(), Instant::now());
            counted.map_err(|wait| {
                let detail = "too many requests without a valid key came from this address";
                Problem::new(Kind::TooManyFailures, detail).retry_after(wait)
            })?;
        }
        Err(match text {
            None => {
                let problem =
                    Problem::new(Kind::Unauthorized, "Authorization: Bearer KEY is required");
                with_challenge(problem, "Bearer realm=\"tidings\"")
            }
            Some(_) => {
                let problem = Problem::new(Kind::Unauthorized, "the key is not valid");
                with_challenge(problem, "Bearer realm=\"tidings\", error=\"invalid_token\"")
            }
        })
    }
}

/// Lets a request through, or tells why not.
pub(super) async fn gate(
    State(gate): State<Gate>,
    mut request: Request,
    next: Next,
) -> Outcome<Response> {
    let name = gate.check(&request)?;
    request.extensions_mut().insert(name);
    Ok(next.run(request).await)
}

/// The key that the request presents, if it presents one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

fn with_challenge(problem: Problem, challenge: &str) -> Problem {
    match HeaderValue::from_str(challenge) {
        Ok(value) => problem.header(header::WWW_AUTHENTICATE, value),
        Err(_) => problem,
    }
}
