//! wip
use crate::client::{ConnectError, ConnectOptions};
#[derive(Debug)]
pub(super) struct Link {}
impl Link {
    pub(super) fn new(_: ConnectOptions) -> Result<Self, ConnectError> {
        todo!()
    }
    pub(super) async fn connected(&self, _: Option<u64>) -> Result<(), ConnectError> {
        todo!()
    }
    pub(super) fn beside(&self) -> Self {
        todo!()
    }
    pub(super) fn rebind(&self) -> Result<(), ConnectError> {
        todo!()
    }
    pub(super) fn local_addr(&self) -> Result<std::net::SocketAddr, ConnectError> {
        todo!()
    }
    pub(super) fn round_trip(&self) -> Option<std::time::Duration> {
        todo!()
    }
    pub(super) async fn close(&self) {
        todo!()
    }
}
