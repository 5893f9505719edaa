//! Making an account where registration is closed: for the operator, who proves to have the cluster's key.

use crate::chat_service::{Answered, ChatService};
use crate::config::Registration;
use crate::key::ClusterKey;
use crate::proof::{Call, NO_REPLICA, Proofs, Purpose, Side};
use api::status::refused;
use api::v1::{ChallengeResponse, CreateAccountRequest};
use chat::Refusal;

impl ChatService {
    /// Refuses a caller that may not make an account.
    pub(crate) fn check_registration(&self, request: &CreateAccountRequest) -> Answered<()> {
        let proven = || {
            let proofs = proofs_of(&self.key, request, u32::from(self.index));
            proofs.verify(Side::Caller, &asked(request), &request.proof)
        };
        if self.settings.registration == Registration::Open
            || self.digests.challenges.take(&request.challenge, proven)
        {
            return Ok(());
        }
        Err(refused(&Refusal::RegistrationClosed))
    }
}

/// Completes a request with the operator's proof, which belongs to a replica's challenge.
pub fn prove_registration(
    key: &ClusterKey,
    request: CreateAccountRequest,
    given: ChallengeResponse,
) -> CreateAccountRequest {
    let mut request = CreateAccountRequest { challenge: given.challenge, ..request };
    request.proof = proofs_of(key, &request, given.replica).by(Side::Caller, &asked(&request));
    request
}

fn asked(request: &CreateAccountRequest) -> [&[u8]; 3] {
    [&request.request_id, request.name.as_bytes(), request.password.as_bytes()]
}

fn proofs_of(key: &ClusterKey, request: &CreateAccountRequest, called: u32) -> Proofs {
    key.proofs(Call {
        purpose: Purpose::Registration,
        caller: NO_REPLICA,
        called,
        caller_nonce: &[],
        called_nonce: &request.challenge,
    })
}
