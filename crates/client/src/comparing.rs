//! Asking one replica, whether it leads or not, for the digests by which it is compared with others.

use crate::client::Client;
use api::status::{Meaning, meaning};
use api::v1;
use api::v1::replica_client::ReplicaClient;
use chat::Address;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

/// Why a replica gave no digest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DigestError {
    /// It refused.
    #[error("{message}")]
    Refused {
        /// One sentence for people.
        message: String,
    },
    /// It did not answer in time.
    #[error("it does not answer ({last})")]
    NoAnswer {
        /// What the last attempt met.
        last: String,
    },
}

impl Client {
    /// The digest of a slice of a table of one replica. `prove` completes the request for the challenge that the replica
    /// gives, which takes the cluster's key. A replica that is busy is asked again until the client's time is up.
    pub async fn digest(
        &self,
        replica: &Address,
        mut prove: impl FnMut(v1::ChallengeResponse) -> v1::DigestRequest,
    ) -> Result<v1::DigestResponse, DigestError> {
        let until = Instant::now() + self.connection.timeout();
        loop {
            let attempt = self.digest_once(replica, &mut prove);
            let outcome = timeout_at(until, attempt).await;
            let status = match outcome.unwrap_or_else(|_| Err(Status::unavailable("no answer in time"))) {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            match meaning(&status) {
                Meaning::Busy { retry_after } if Instant::now() + retry_after < until => {
                    sleep(retry_after).await;
                }
                Meaning::Refused { message, .. } => return Err(DigestError::Refused { message }),
                Meaning::Busy { .. }
                | Meaning::KeptOnFewer(_)
                | Meaning::NotPrimary { .. }
                | Meaning::Unknown => {
                    return Err(DigestError::NoAnswer { last: status.message().to_owned() });
                }
            }
        }
    }

    async fn digest_once(
        &self,
        replica: &Address,
        prove: &mut impl FnMut(v1::ChallengeResponse) -> v1::DigestRequest,
    ) -> Result<v1::DigestResponse, Status> {
        let channel = self.connection.channel(replica);
        let channel = channel.ok_or_else(|| Status::invalid_argument("this is no address"))?;
        let given = ReplicaClient::new(channel.clone()).challenge(v1::ChallengeRequest {}).await?;
        let request = prove(given.into_inner());
        Ok(crate::connection::client(channel).digest(request).await?.into_inner())
    }
}
