//! Making an account where registration is closed: for the operator, who proves to have the cluster's key.

use super::Service;
use crate::config::Registration;
use crate::key::ClusterKey;
use crate::proof::{Call, NO_REPLICA, Proofs, Purpose, Side};
use api::v1::{ChallengeResponse, CreateAccountRequest};
use chat::{Refusal, RequestId};

/// What proves that the caller has the cluster's key; empty where the caller does not say so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proof<'a> {
    /// What this replica gave the caller.
    pub(crate) challenge: &'a [u8],
    pub(crate) proof: &'a [u8],
}

/// An account to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewAccount<'a> {
    pub(crate) name: &'a str,
    pub(crate) password: &'a str,
    /// Of the operator, where registration is closed.
    pub(crate) proof: Proof<'a>,
}

impl Service {
    /// Refuses a caller that may not make an account.
    pub(super) fn check_registration(&self, id: RequestId, new: NewAccount<'_>) -> Result<(), Refusal> {
        let NewAccount { name, password, proof } = new;
        let proven = || {
            let proofs = proofs_of(&self.key, proof.challenge, u32::from(self.index));
            proofs.verify(Side::Caller, &asked(id.0.as_bytes(), name, password), proof.proof)
        };
        if self.settings.registration == Registration::Open
            || self.digests.challenges.take(proof.challenge, proven)
        {
            return Ok(());
        }
        Err(Refusal::RegistrationClosed)
    }
}

/// Completes a request with the operator's proof, which belongs to a replica's challenge.
pub fn prove_registration(
    key: &ClusterKey,
    request: CreateAccountRequest,
    given: ChallengeResponse,
) -> CreateAccountRequest {
    let mut request = CreateAccountRequest { challenge: given.challenge, ..request };
    let proofs = proofs_of(key, &request.challenge, given.replica);
    request.proof = proofs.by(Side::Caller, &asked(&request.request_id, &request.name, &request.password));
    request
}

fn asked<'a>(request_id: &'a [u8], name: &'a str, password: &'a str) -> [&'a [u8]; 3] {
    [request_id, name.as_bytes(), password.as_bytes()]
}

fn proofs_of(key: &ClusterKey, challenge: &[u8], called: u32) -> Proofs {
    key.proofs(Call {
        purpose: Purpose::Registration,
        caller: NO_REPLICA,
        called,
        caller_nonce: &[],
        called_nonce: challenge,
    })
}
