//! Why there are no webhooks, or something cannot be done with one.
//!
//! # Invariants
//!
//! * No text of an error is a secret, or the query of a URL.

use crate::limits::ENDPOINTS_MAX;
use crate::private_file::FileError;
use crate::store::{Closed, ReadError};
use crate::webhook::client::ClientError;
use crate::webhook::definition::DefinitionError;

/// Why there are no webhooks.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of endpoints is of no use.
    #[error(transparent)]
    Book(#[from] FileError),
    /// Requests cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// An endpoint cannot be as it is written.
    #[error("the endpoint {id:?}")]
    Definition {
        /// Its id.
        id: String,
        /// What is wrong.
        source: DefinitionError,
    },
    /// Two endpoints have the same id.
    #[error("there are two endpoints {0:?}")]
    Twice(String),
    /// There are more endpoints than the limit, with those that have left the settings: a start
    /// with fewer lets these be removed.
    #[error("there are more than {ENDPOINTS_MAX} endpoints, with those that left the settings")]
    TooMany,
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why something could not be done with an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is none of this id.
    #[error("there is no endpoint of this id")]
    Unknown,
    /// There is one of this id.
    #[error("there is an endpoint of this id already")]
    Exists,
    /// There are as many endpoints as there can be.
    #[error("there are {ENDPOINTS_MAX} endpoints already")]
    TooMany,
    /// The settings name it, so a request cannot change it.
    #[error("the endpoint is one of the settings, and changes with them")]
    Configured,
    /// The settings named it, and do so no more: it waits for them, or to be removed.
    #[error("the endpoint is not in the settings any more: put it back there, or remove it")]
    Left,
    /// It cannot be as it is written.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The change cannot be kept.
    #[error(transparent)]
    Book(#[from] FileError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<Closed> for StartError {
    fn from(closed: Closed) -> Self {
        Self::Read(closed.into())
    }
}

impl From<Closed> for ChangeError {
    fn from(closed: Closed) -> Self {
        Self::Read(closed.into())
    }
}
