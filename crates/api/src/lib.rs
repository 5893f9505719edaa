//! The gRPC types of Trialogue, generated from `proto/trialogue/v1`, and everything that translates them.
//!
//! [`status`] is the one place where a refusal becomes a gRPC status, and where a client reads it back;
//! [`replica`] translates between the protocol's messages and their wire form.

use tonic::metadata::AsciiMetadataValue;
use tonic::metadata::errors::InvalidMetadataValue;

mod heartbeat;
pub mod replica;
pub mod status;

pub use heartbeat::service_state;

/// Generated from `proto/trialogue/v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; the protos are commented"
)]
pub mod v1 {
    tonic::include_proto!("trialogue.v1");

    /// The public service's descriptors, for reflection.
    pub const PUBLIC_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public_descriptors.bin"));
}

/// The metadata key of the session token.
pub const AUTHORIZATION: &str = "authorization";

/// A call of the session that a token opens; an error if the token can't be written in a header, and so opens none.
pub fn signed<T>(message: T, token: &str) -> Result<tonic::Request<T>, InvalidMetadataValue> {
    let mut value = AsciiMetadataValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert(AUTHORIZATION, value);
    Ok(request)
}
/// The number of the protocol between replicas. Programs with different numbers refuse each other.
/// 1 was that of the programs which sent the cluster's key instead of proving that they have it; they did not say it. With 2 the
/// records were JSON, with 3 a secondary applied what it logged, with 4 a snapshot was of schema 8, and with 5 of schema 9.
pub const PROTOCOL: u32 = 6;
/// This program, as it names itself to other replicas.
pub const PROGRAM: &str = concat!("trialogue ", env!("CARGO_PKG_VERSION"));
/// The largest message between a client and a replica, in bytes: a text, its names and some room.
pub const CLIENT_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The largest answer to a client, in bytes: a page of the longest texts.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest message between replicas, in bytes.
pub const REPLICA_MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Where a replica listens, for a channel to it. Messages are small and wait for answers, so nothing is held back.
///
/// # Errors
/// If the address is none.
pub fn endpoint(address: &chat::Address) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
    Ok(tonic::transport::Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true))
}

/// A count of a few, as it is written on the wire.
pub fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
