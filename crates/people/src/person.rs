//! A person: an account with a session.

use client::{Client, ClientError, Opened, Session};

/// An account with a session.
#[derive(Clone, Debug)]
pub struct Person {
    /// The name of the account.
    pub name: String,
    /// How the service is reached.
    pub client: Client,
    /// The session.
    pub session: Session,
}

impl Person {
    /// Makes an account, and logs in.
    pub async fn register(client: Client, name: &str, password: &str) -> Result<Self, ClientError> {
        client.create_account(name, password).await?;
        Self::log_in(client, name, password).await
    }

    /// Logs in to an account that exists.
    pub async fn log_in(client: Client, name: &str, password: &str) -> Result<Self, ClientError> {
        let Opened { session, name, .. } = client.login(name, password).await?;
        Ok(Self { name, client, session })
    }
}
