//! Giving up: what cannot be delivered becomes dead letters.
//!
//! # Invariants
//!
//! * Every event that is given up is kept, with the bytes of a request that has it alone.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::dialect::Fragment;
use super::endpoint::Endpoint;
use super::request::letter_id;
use crate::limits::LETTER_BYTES_MAX;
use crate::store::{Closed, EndpointChange, Journal, Letter};

/// Letters that are written at once.
const LETTERS_AT_ONCE: usize = 8;

/// How it came that events are given up.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// When, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// What the endpoint answered last; 0 for nothing.
    pub(super) status: u16,
    pub(super) why: String,
    pub(super) tries: u32,
    /// The id of the request.
    pub(super) request: String,
}

/// Keeps the fragments of a request as dead letters, and tells the senders of messages to the back
/// end that these were not accepted.
///
/// # Errors
///
/// [`Closed`] when the store is closed.
pub(super) async fn give_up(
    journal: &Arc<dyn Journal>,
    endpoint: &Endpoint,
    fragments: Vec<Fragment>,
    given: Given,
) -> Result<(), Closed> {
    for upstream in fragments.iter().filter_map(|fragment| fragment.upstream) {
        journal.settle_upstream(upstream, false).await?;
    }
    let is_alone = fragments.len() == 1;
    let keep = |fragment| {
        let letter = letter(endpoint, fragment, &given, is_alone);
        journal.note(endpoint.id.clone(), EndpointChange::Kept(letter))
    };
    let mut kept = stream::iter(fragments).map(keep).buffered(LETTERS_AT_ONCE);
    while let Some(kept) = kept.next().await {
        kept?;
    }
    Ok(())
}

fn letter(endpoint: &Endpoint, fragment: Fragment, given: &Given, is_alone: bool) -> Letter {
    let (position, kind) = (fragment.position, fragment.kind.to_string());
    let event = fragment.event.clone();
    let outgoing = endpoint.style.body(&[fragment]);
    // A request that had only this event is sent anew as it was.
    let request = match is_alone {
        true => given.request.clone(),
        false => letter_id(endpoint, position),
    };
    let mut letter = Letter {
        position,
        event,
        kind,
        at_ms: given.at_ms,
        status: given.status,
        why: given.why.clone(),
        tries: given.tries,
        request,
        query: outgoing.query,
        body: outgoing.body,
    };
    if letter.body.len() > LETTER_BYTES_MAX {
        letter.body.clear();
        letter.why.push_str(" (the body is too long to be kept)");
    }
    letter
}
