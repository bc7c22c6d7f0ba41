//! The stored form of which waiting messages are for some devices only, and which are notices.
//!
//! # Invariants
//!
//! * Reading gives back what was written; whatever damaged bytes say, no message is named twice.

use std::collections::VecDeque;

use rkyv::{Archive, Serialize};

use crate::id::MessageId;
use crate::limits::INBOX_MESSAGES_MAX;
use crate::store::aim::{Aims, Places};
use crate::store::peer::Waiting;

const _: () = assert!(INBOX_MESSAGES_MAX < u16::MAX as usize);

/// So many of the waiting messages, one after the other, are for the same devices only: a bit for
/// each of the peer's devices.
#[derive(Archive, Serialize)]
pub(super) struct AimV1 {
    index: u16,
    count: u16,
    places: u16,
}

/// The stored form.
pub(super) fn image_aims(aims: &Aims, waiting: &VecDeque<Waiting>) -> Vec<AimV1> {
    let mut images: Vec<AimV1> = Vec::new();
    for (id, Places(places)) in aims.iter() {
        let index = waiting.binary_search_by_key(&id, |waiting| waiting.id);
        let Ok(Ok(index)) = index.map(u16::try_from) else { continue };
        match images.last_mut() {
            Some(last) if last.places == places && last.index + last.count == index => {
                last.count += 1;
            }
            _ => images.push(AimV1 { index, count: 1, places }),
        }
    }
    images
}

/// Reads what [`image_aims`] made.
pub(super) fn aims_of(images: &[ArchivedAimV1], waiting: &VecDeque<Waiting>) -> Aims {
    let (mut aims, mut next) = (Aims::default(), 0);
    for image in images {
        let from = usize::from(image.index.to_native());
        let to = waiting.len().min(from + usize::from(image.count.to_native()));
        for waiting in waiting.iter().take(to).skip(from.max(next)) {
            aims.push(waiting.id, Places(image.places.to_native()));
        }
        next = next.max(to);
    }
    aims
}

/// The place of a notice among what waits.
#[derive(Archive, Serialize)]
pub(super) struct NoticeV1 {
    index: u16,
}

/// The stored form.
pub(super) fn image_notices(
    notices: &VecDeque<MessageId>,
    waiting: &VecDeque<Waiting>,
) -> Vec<NoticeV1> {
    let image = |id: &MessageId| {
        let index = waiting.binary_search_by_key(id, |waiting| waiting.id).ok()?;
        Some(NoticeV1 { index: u16::try_from(index).ok()? })
    };
    notices.iter().filter_map(image).collect()
}

/// Reads what [`image_notices`] made.
pub(super) fn notices_of(
    images: &[ArchivedNoticeV1],
    waiting: &VecDeque<Waiting>,
) -> VecDeque<MessageId> {
    let (mut notices, mut next) = (VecDeque::new(), 0);
    for image in images {
        let index = usize::from(image.index.to_native());
        if let Some(waiting) = waiting.get(index).filter(|_| index >= next) {
            notices.push_back(waiting.id);
            next = index + 1;
        }
    }
    notices
}
