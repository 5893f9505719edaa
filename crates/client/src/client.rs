//! What a client does without a session.

use crate::connection::{Connection, InUse, Options};
use crate::error::ClientError;
use crate::request::ReplicaView;
use crate::session::{Opened, Session};
use api::v1;
use chat::{AccountId, Address};
use std::sync::Arc;
use tokio::sync::watch;

/// A client. Cheap to clone; all clones share one connection.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) connection: Arc<Connection>,
}

impl Client {
    /// A client of the service at these addresses; one of them must answer before long, the others are learned.
    pub fn new(servers: Vec<Address>, options: Options) -> Self {
        Self { connection: Connection::new(servers, options) }
    }

    /// Waits until a replica serves.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.connection.ready().await
    }

    /// Which service this is, by the word of any replica, whether it serves or not: the same for as long as it keeps its
    /// cluster's key. From the first answer on this client talks to that service alone. Empty, if the replica is of a version
    /// that does not tell.
    pub async fn cluster_id(&self) -> Result<Vec<u8>, ClientError> {
        self.connection.cluster(tokio::time::Instant::now() + self.connection.timeout()).await
    }

    /// The replica in use and how the service is doing, as it changes; `None` while a replica is being looked for. It is
    /// looked at a few times a second, for as long as the client has used it for anything.
    pub fn in_use(&self) -> watch::Receiver<Option<InUse>> {
        self.connection.in_use()
    }

    /// Asks every replica what it knows, by index.
    pub async fn replicas(&self) -> Vec<ReplicaView> {
        let ask = |servers: Vec<Address>| async {
            futures_util::future::join_all(servers.into_iter().map(|server| async {
                let heartbeat =
                    self.connection.ask(server.clone()).await.ok().map(|(_, heartbeat, _)| heartbeat);
                ReplicaView { address: server, heartbeat }
            }))
            .await
        };
        let first = ask(self.connection.servers()).await;
        // A replica that answered knows where all of them are, and in which order.
        let known =
            first.iter().find_map(|replica| replica.heartbeat.as_ref()).map(|heartbeat| &heartbeat.addresses);
        let Some(known) = known else { return first };
        let known: Vec<Address> = known.iter().filter_map(|address| Address::parse(address).ok()).collect();
        let missing =
            known.iter().filter(|address| !first.iter().any(|replica| replica.address == **address)).cloned();
        let second = ask(missing.collect()).await;
        let found = known
            .iter()
            .filter_map(|address| first.iter().chain(&second).find(|replica| replica.address == *address));
        found.cloned().collect()
    }

    /// Makes an account.
    pub async fn create_account(&self, name: &str, password: &str) -> Result<AccountId, ClientError> {
        let message = v1::CreateAccountRequest {
            request_id: self.connection.new_request_id().await.0.into(),
            name: name.to_owned(),
            password: password.to_owned(),
            ..v1::CreateAccountRequest::default()
        };
        let answer = self.connection.call_until_kept(None, message, |mut client, request| async move {
            client.create_account(request).await
        });
        Ok(AccountId(answer.await?.account_id))
    }

    /// Opens a session.
    pub async fn login(&self, name: &str, password: &str) -> Result<Opened, ClientError> {
        let message = v1::LoginRequest {
            request_id: self.connection.new_request_id().await.0.into(),
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let answer = self
            .connection
            .call_until_kept(None, message, |mut client, request| async move { client.login(request).await });
        let v1::LoginResponse { token, expires_at, account_id, name } = answer.await?;
        Ok(Opened { session: self.session(&token), expires_at, account: AccountId(account_id), name })
    }

    /// The session that this token opens, which was given at an earlier login ([`Session::token`]). Nothing is asked: whether
    /// it is still good, its first call says.
    pub fn session(&self, token: &str) -> Session {
        Session::of(self.connection.clone(), token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use std::time::Duration;

    #[tokio::test]
    async fn a_client_that_finds_no_replica_says_what_it_met_at_each() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let servers = vec![Address::parse(&closed.to_string()).unwrap()];
        let client = Client::new(servers, Options { timeout: Duration::from_millis(500) });
        for error in [client.ready().await.unwrap_err(), client.cluster_id().await.unwrap_err()] {
            let said = error.to_string();
            assert!(said.contains(&format!("{closed}: Connection refused")), "{said}");
        }
    }
}
