//! Copies: on how many replicas something is durable, and on how many it was asked to be.

use thiserror::Error;

/// A request took effect, and fewer replicas hold that than were asked for: one was lost between the moment when the
/// request was executed and the answer. This is no refusal. The same request, asked again, is answered in full once enough
/// replicas in sync hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "kept on {copies} of {replicas}: it has taken effect, and {wanted} replicas were to hold it; the same request id asks again"
)]
pub struct KeptOnFewer {
    /// How many replicas hold it.
    pub copies: usize,
    /// How many were to hold it.
    pub wanted: usize,
    /// How many replicas there are.
    pub replicas: usize,
}
