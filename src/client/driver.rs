//! wip
use crate::client::*;
use std::sync::Arc;
pub(super) async fn open(
    _: Arc<connection::Link>,
    _: OpenOptions,
) -> Result<(Session, Incoming), OpenError> {
    todo!()
}
