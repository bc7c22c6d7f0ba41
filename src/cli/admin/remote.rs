//! The server, and how it is asked.
//!
//! # Invariants
//!
//! * A key goes to the server that was named, and to none that it redirects to.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use tidings::chain::Chain;
use tidings::limits::ADMIN_ANSWER_BYTES_MAX;

use super::access::AccessArgs;
use super::call::Call;
use super::usage;
use crate::cli::Failure;
use crate::cli::words::printable;

/// The header by which a request is known in the server's log.
const REQUEST_ID: &str = "x-request-id";

/// The server.
pub(in crate::cli) struct Remote {
    client: Client,
    /// Its address, without a slash at the end.
    pub(in crate::cli) url: String,
    key: HeaderValue,
    /// Where the key comes from.
    key_from: String,
}

impl Remote {
    pub(in crate::cli) fn new(args: &AccessArgs) -> Result<Self, Failure> {
        let url = args.url()?;
        let (key, key_from) = args.key()?;
        let mut header = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| usage(format!("the key of {key_from} has characters that no key has")))?;
        header.set_sensitive(true);
        Ok(Self { client: args.client()?, url, key: header, key_from })
    }

    /// Whether anything answers where the server should be.
    pub(in crate::cli) async fn is_there(args: &AccessArgs) -> Result<bool, Failure> {
        let asked = args.client()?.get(format!("{}/healthz", args.url()?)).send().await;
        Ok(asked.err().is_none_or(|error| !is_refused(&error)))
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// There is no answer, or the server refuses, in its own words.
    pub(super) async fn ask(&self, call: &Call) -> Result<Answer, Failure> {
        let mut response = self.begin(call).await?;
        let request = request_id(&response);
        let body = self.read(&mut response).await?;
        Ok(Answer { request, body })
    }

    /// Asks, and leaves what the answer says to be read.
    ///
    /// # Errors
    ///
    /// As of [`Self::ask`].
    pub(in crate::cli) async fn begin(&self, call: &Call) -> Result<Response, Failure> {
        let url = format!("{}{}", self.url, call.path);
        let mut request = self.client.request(call.method.clone(), url).query(&call.query);
        request = request.header(AUTHORIZATION, &self.key);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.refused(&mut response).await),
        }
    }

    async fn read(&self, response: &mut Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > ADMIN_ANSWER_BYTES_MAX {
                return Err(format!("{} answers more than it should", self.url).into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Why there is no answer.
    pub(in crate::cli) fn failed(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let url = &self.url;
        if error.is_timeout() {
            return format!("{url} does not answer in time").into();
        }
        if error.is_builder() {
            return usage(format!("{}", Chain(&error)));
        }
        match is_refused(&error) {
            true => format!("nothing listens at {url}: is the server running, is --url right?"),
            false => format!("cannot ask {url}: {}", Chain(&error)),
        }
        .into()
    }

    /// What the server says to a request that it refuses.
    async fn refused(&self, response: &mut Response) -> Failure {
        let (status, request) = (response.status(), request_id(response));
        let body = match self.read(response).await {
            Ok(body) => body,
            Err(failure) => return failure,
        };
        let Some(problem) = serde_json::from_slice(&body).ok().and_then(|of| problem(&of)) else {
            let url = &self.url;
            return format!("{url} answers {status} and no more: is it a tidings server?").into();
        };
        let said = format!("{problem} (request {request})");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                format!("{said}; the key is that of {}", self.key_from).into()
            }
            _ => said.into(),
        }
    }
}

/// An answer.
pub(super) struct Answer {
    request: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// What it says.
    ///
    /// # Errors
    ///
    /// It is not JSON.
    pub(super) fn json(&self) -> Result<Value, Failure> {
        let no_json = |_| format!("the answer is not JSON (request {})", self.request);
        Ok(serde_json::from_slice(&self.body).map_err(no_json)?)
    }

    /// Whether all that was asked for at once is done.
    ///
    /// # Errors
    ///
    /// The first that was refused.
    pub(super) fn items_done(&self) -> Result<(), Failure> {
        let Ok(value) = serde_json::from_slice::<Value>(&self.body) else { return Ok(()) };
        let results = value["results"].as_array().into_iter().flatten();
        match results.filter_map(|result| problem(&result["problem"])).next() {
            Some(problem) => Err(format!("{problem} (request {})", self.request).into()),
            None => Ok(()),
        }
    }
}

/// The words of problem details.
fn problem(details: &Value) -> Option<String> {
    let (title, detail) = (details["title"].as_str()?, details["detail"].as_str()?);
    Some(printable(format!("{title}: {detail}").as_bytes()))
}

fn request_id(response: &Response) -> String {
    let id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    id.unwrap_or("without an id").to_owned()
}

/// Whether the machine is there and nothing listens on the port.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return true;
        }
        cause = error.source();
    }
    false
}
