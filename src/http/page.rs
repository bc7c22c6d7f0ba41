//! Pages of lists: how long one is, and where the next begins.
//!
//! # Invariants
//!
//! * Whoever goes on with `next` until it is null has had all that there was at the beginning.

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Kind, Outcome, Problem};
use crate::limits::{HTTP_PAGE, HTTP_PAGE_MAX};

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// What is on this page.
    pub(super) items: Vec<T>,
    /// Where to go on; null if there is no more.
    pub(super) next: Option<String>,
}

/// How many items a page has, if `asked` is what the query says.
///
/// # Errors
///
/// A problem if it is none, or more than `max`.
pub(super) fn limit(asked: Option<usize>, max: usize) -> Outcome<usize> {
    match asked {
        None => Ok(HTTP_PAGE.min(max)),
        Some(asked) if (1..=max.min(HTTP_PAGE_MAX)).contains(&asked) => Ok(asked),
        Some(_) => Err(Problem::new(Kind::InvalidQuery, format!("limit must be 1 to {max}"))),
    }
}
