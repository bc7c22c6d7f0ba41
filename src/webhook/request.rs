//! What names a request.
//!
//! # Invariants
//!
//! * Requests with the same id have the same body, at every try and in every run of the server;
//!   another body has another id.

use ring::digest::{Context, SHA256};

use super::client::Letterhead;
use super::endpoint::Endpoint;
use super::sign::hex;
use crate::store::{Batch, Position};

impl Letterhead {
    /// Of a request to one of an endpoint's URLs.
    pub(super) fn new(endpoint: &Endpoint, url: usize, id: String) -> Self {
        let (url, timeout) = (endpoint.urls[url].clone(), endpoint.timeout);
        Self { url, id, secrets: endpoint.secrets.clone(), timeout }
    }
}

/// The id of the request that brings a batch.
pub(super) fn request_id(endpoint: &Endpoint, batch: &Batch) -> String {
    let mut context = begin(endpoint, "batch");
    context.update(&batch.number.to_be_bytes());
    context.update(&batch.formed_ms.to_be_bytes());
    for span in &batch.spans {
        context.update(&[span.lane]);
        add(&mut context, span.from);
        add(&mut context, span.to);
    }
    end(context)
}

/// The id of the request that brings one event, after others with it were given up.
pub(super) fn letter_id(endpoint: &Endpoint, position: Position) -> String {
    let mut context = begin(endpoint, "letter");
    add(&mut context, position);
    end(context)
}

fn begin(endpoint: &Endpoint, what: &str) -> Context {
    let mut context = Context::new(&SHA256);
    for text in [what, endpoint.id.as_str(), &endpoint.shape] {
        context.update(text.as_bytes());
        context.update(&[0]);
    }
    context
}

fn add(context: &mut Context, position: Position) {
    context.update(&position.entry.0.to_be_bytes());
    context.update(&position.part.to_be_bytes());
}

fn end(context: Context) -> String {
    format!("wh_{}", hex(&context.finish().as_ref()[..16]))
}
