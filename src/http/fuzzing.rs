//! A door for fuzzers, which is there under `--cfg fuzzing` alone: ids and places as they stand in
//! JSON, in paths and in queries.

use super::endpoint_log::Place;
use super::text::{Spoken, TextError};
use crate::id::{
    Alias, ConversationId, DeviceId, EndpointId, GroupId, MessageId, PeerId, SessionId,
};

/// Reads a text as each kind of id; what can be read is told, and read again.
///
/// # Panics
///
/// If that is not the same.
pub fn check_text(text: &str) {
    check::<PeerId>(text);
    check::<DeviceId>(text);
    check::<Alias>(text);
    check::<EndpointId>(text);
    check::<GroupId>(text);
    check::<MessageId>(text);
    check::<SessionId>(text);
    check::<ConversationId>(text);
    check::<Place>(text);
}

fn check<T: Spoken + PartialEq>(text: &str) {
    let Ok(id) = T::parse(text) else { return };
    let told = id.to_string();
    assert!(T::parse(&told) == Ok::<_, TextError>(id), "{told} is not read as it was told");
    // Numbers and digits have one length, or lead with zeroes; a name is its own text.
    assert!(told.eq_ignore_ascii_case(text) || is_number(text), "{text} is told as {told}");
}

/// Whether there are nothing but digits, and what stands between those of a place.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}
