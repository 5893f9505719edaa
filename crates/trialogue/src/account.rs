//! Accounts and sessions: create, login, logout, delete, change the password.

use crate::arguments::{Account, Caller, ChangePassword, Common, CreateAccount};
use crate::failure::Failure;
use crate::sessions::Sessions;
use crate::{output, password};
use client::{Client, Options, Reason, Session};
use server::{ClusterKey, prove_registration};
use std::path::Path;

/// How a session is named, if there are several.
pub(crate) const AS_NAME: &str = "--as NAME";

/// A client of the service that the arguments name.
pub(crate) fn client_of(common: &Common) -> Client {
    Client::new(common.servers.0.clone(), Options { timeout: common.timeout })
}

/// The session that a command is to use.
pub(crate) async fn session_of(common: &Common, caller: &Caller) -> Result<Session, Failure> {
    let client = client_of(common);
    let kept = Sessions::of(common, &client).await?.find(caller.name.as_deref(), AS_NAME)?;
    Ok(client.session(&kept.token))
}

pub(crate) async fn create(common: &Common, create: &CreateAccount) -> Result<(), Failure> {
    let (client, account) = (client_of(common), &create.account);
    if let Some(data) = &create.data {
        return create_for_another(&client, data, account).await;
    }
    let sessions = Sessions::of(common, &client).await?;
    sessions.check()?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    client.create_account(&account.name, &password).await?;
    let name = output::plain(&account.name);
    let created = format!("account {name} created (log in by: trialogue login {name})");
    let opened =
        client.login(&account.name, &password).await.map_err(|error| Failure::from(error).after(&created))?;
    sessions.keep(&opened).map_err(|failure| failure.after(&created))?;
    output::done(&format!("account {} created and logged in", output::plain(&opened.name)))
}

/// Makes an account for another person, as the operator.
async fn create_for_another(client: &Client, data: &Path, account: &Account) -> Result<(), Failure> {
    let key = ClusterKey::read(&data.join("cluster.key")).map_err(Failure::of)?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    let prove = |request, given| prove_registration(&key, request, given);
    client.create_account_as_operator(&account.name, &password, prove).await?;
    output::done(&format!("account {} created", output::plain(&account.name)))
}

pub(crate) async fn login(common: &Common, account: &Account) -> Result<(), Failure> {
    let client = client_of(common);
    let sessions = Sessions::of(common, &client).await?;
    sessions.check()?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    let opened = client.login(&account.name, &password).await?;
    sessions.keep(&opened).map_err(|failure| failure.after("a session was opened"))?;
    output::done(&format!("logged in as {}", output::plain(&opened.name)))
}

pub(crate) async fn logout(common: &Common, caller: &Caller) -> Result<(), Failure> {
    let client = client_of(common);
    let sessions = Sessions::of(common, &client).await?;
    let session = sessions.find(caller.name.as_deref(), AS_NAME)?;
    match client.session(&session.token).logout().await {
        Ok(()) => {}
        // It was over already: forgetting it is all that is left to do.
        Err(error) if error.is_refused_for(&Reason::SessionInvalid) => {}
        Err(error) => return Err(error.into()),
    }
    let done = format!("{} is logged out", output::plain(&session.name));
    sessions.forget(&session).map_err(|failure| failure.after(&done))?;
    output::done(&done)
}

pub(crate) async fn delete(common: &Common, account: &Account) -> Result<(), Failure> {
    let client = client_of(common);
    let sessions = Sessions::of(common, &client).await?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    // A session of its own: deleting an account needs its password, and no session that happens to be kept.
    let opened = client.login(&account.name, &password).await?;
    opened.session.delete_account(&password).await?;
    let done = format!("account {} deleted", output::plain(&opened.name));
    if let Some(kept) = sessions.kept(&opened.name).map_err(|failure| failure.after(&done))? {
        sessions.forget(&kept).map_err(|failure| failure.after(&done))?;
    }
    output::done(&done)
}

pub(crate) async fn change_password(common: &Common, change: &ChangePassword) -> Result<(), Failure> {
    let client = client_of(common);
    let sessions = Sessions::of(common, &client).await?;
    sessions.check()?;
    let old = password::read(&change.password, &format!("Password for {}: ", change.name))?;
    let new = password::read_new(&change.password, "New password: ")?;
    let opened = client.login(&change.name, &old).await?;
    opened.session.change_password(&old, &new).await?;
    let name = output::plain(&opened.name);
    let done = format!("the password of {name} is changed; its other sessions have ended");
    // The kept one among them.
    sessions.keep(&opened).map_err(|failure| failure.after(&done))?;
    output::done(&done)
}
