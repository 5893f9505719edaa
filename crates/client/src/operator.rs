//! What an operator does who has the cluster's key.

use crate::client::Client;
use crate::connection;
use crate::error::ClientError;
use crate::request::check_size;
use api::v1;
use api::v1::replica_client::ReplicaClient;
use chat::AccountId;

impl Client {
    /// Makes an account where registration is closed. `prove` completes the request for the challenge that the primary gives,
    /// which takes the cluster's key.
    pub async fn create_account_as_operator(
        &self,
        name: &str,
        password: &str,
        prove: impl Fn(v1::CreateAccountRequest, v1::ChallengeResponse) -> v1::CreateAccountRequest,
    ) -> Result<AccountId, ClientError> {
        let message = v1::CreateAccountRequest {
            request_id: self.connection.new_request_id().await.0.into(),
            name: name.to_owned(),
            password: password.to_owned(),
            ..v1::CreateAccountRequest::default()
        };
        check_size(&message)?;
        let (message, prove) = (&message, &prove);
        let ask = || {
            self.connection.call_over(move |channel| async move {
                let given = ReplicaClient::new(channel.clone()).challenge(v1::ChallengeRequest {}).await?;
                let request = prove(message.clone(), given.into_inner());
                connection::client(channel).create_account(request).await
            })
        };
        Ok(AccountId(self.connection.until_kept_on_enough(ask).await?.into_inner().account_id))
    }
}
