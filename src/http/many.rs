//! Requests about many things at once, each of which has an outcome of its own.
//!
//! # Invariants
//!
//! * A list is read no further than it may be long.
//! * Outcomes stand in the order of what was asked.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::problem::{Kind, Outcome, Problem, ProblemDetails};
use crate::reason::Reason;

/// A list of 1 to `MAX` things.
#[derive(Clone, Debug)]
pub(super) struct Many<T, const MAX: usize>(pub(super) Vec<T>);

/// An item that was refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Refused<'a> {
    /// The status that it would have had alone.
    #[schema(example = 422)]
    status: u16,
    problem: ProblemDetails<'a>,
}

impl<'a> Refused<'a> {
    /// It was refused for this; `place` is where it stands in the request.
    pub(super) fn new(problem: &'a Problem, place: &'a str) -> Self {
        Self { status: problem.status().as_u16(), problem: problem.details(place) }
    }
}

/// Reads one item by itself, so that the others do not suffer from what is wrong with it.
///
/// # Errors
///
/// What is wrong with it.
pub(super) fn item<T: DeserializeOwned>(item: &RawValue) -> Outcome<T> {
    let wrong = |error: serde_json::Error| Problem::new(Kind::InvalidBody, error.to_string());
    serde_json::from_str(item.get()).map_err(wrong)
}

/// The items that can be dealt with, and the problems of the others, in their places.
pub(super) fn split<T>(items: impl Iterator<Item = Outcome<T>>) -> (Vec<T>, Vec<Option<Problem>>) {
    let (mut good, mut problems) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(item) => {
                good.push(item);
                problems.push(None);
            }
            Err(problem) => problems.push(Some(problem)),
        }
    }
    (good, problems)
}

/// Puts what has become of the items that were dealt with between the problems of the others.
pub(super) fn merge<R>(
    problems: Vec<Option<Problem>>,
    done: Vec<Result<R, Reason>>,
) -> Vec<Outcome<R>> {
    let mut done = done.into_iter();
    let outcome = |problem| match problem {
        Some(problem) => Err(problem),
        None => Ok(done.next().unwrap_or(Err(Reason::Internal))?),
    };
    problems.into_iter().map(outcome).collect()
}

/// Where each item of a list stands in its request: a JSON pointer.
pub(super) fn places(list: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("#/{list}/{index}")).collect()
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Many<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Items::<T, MAX>(PhantomData)).map(Self)
    }
}

/// Reads a list.
struct Items<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Items<T, MAX> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of 1 to {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::invalid_length(MAX + 1, &self));
            }
            items.push(item);
        }
        match items.len() {
            0 => Err(A::Error::invalid_length(0, &self)),
            _ => Ok(items),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_something_and_not_too_much() {
        let read = |text| serde_json::from_str::<Many<u8, 3>>(text).map(|many| many.0);
        assert_eq!(read("[1]").unwrap(), [1]);
        assert_eq!(read("[1,2,3]").unwrap(), [1, 2, 3]);
        for (wrong, length) in [("[]", "0"), ("[1,2,3,4]", "4"), ("[1,2,3,4,\"not read\"]", "4")] {
            let error = read(wrong).unwrap_err().to_string();
            let expected = format!("invalid length {length}, expected a list of 1 to 3");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn outcomes_stand_in_their_places() {
        let bad = || Err(Problem::new(Kind::InvalidBody, "bad"));
        let (good, problems) = split([bad(), Ok(1), Ok(2), bad(), Ok(3)].into_iter());
        assert_eq!(good, [1, 2, 3]);
        let outcomes = merge(problems, vec![Ok(10), Err(Reason::Busy), Ok(30)]);
        let shown = outcomes.into_iter().map(|outcome| outcome.map_err(|p| p.status().as_u16()));
        assert!(shown.eq([Err(422), Ok(10), Err(503), Err(422), Ok(30)]));
    }
}
