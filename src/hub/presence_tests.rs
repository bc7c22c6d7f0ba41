//! What watchers are promised.
