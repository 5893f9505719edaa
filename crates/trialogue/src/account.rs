//! Accounts and sessions: create, login, logout, delete, change the password.

use crate::arguments::{Account, Caller, ChangePassword, Common};
use crate::failure::Failure;
use crate::sessions::Sessions;
use crate::{output, password};
use client::{Client, Options};

/// A client of the service that the arguments name.
pub(crate) fn client_of(common: &Common) -> Client {
    Client::new(common.servers.0.clone(), Options { timeout: common.timeout })
}

pub(crate) async fn create(common: &Common, account: &Account) -> Result<(), Failure> {
    let sessions = Sessions::open()?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    let client = client_of(common);
    client.create_account(&account.name, &password).await?;
    let opened = client.login(&account.name, &password).await?;
    sessions.keep(&opened)?;
    Ok(output::line(&format!("account {} created and logged in", output::plain(&opened.name)))?)
}

pub(crate) async fn login(common: &Common, account: &Account) -> Result<(), Failure> {
    let sessions = Sessions::open()?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    let opened = client_of(common).login(&account.name, &password).await?;
    sessions.keep(&opened)?;
    Ok(output::line(&format!("logged in as {}", output::plain(&opened.name)))?)
}

pub(crate) async fn logout(common: &Common, caller: &Caller) -> Result<(), Failure> {
    let sessions = Sessions::open()?;
    let session = sessions.find(caller.name.as_deref())?;
    match client_of(common).logout(&session.token).await {
        Ok(()) => {}
        // It was over already: forgetting it is all that is left to do.
        Err(error) if error.is_refused_for(api::status::SESSION_INVALID) => {}
        Err(error) => return Err(error.into()),
    }
    sessions.forget(&session)?;
    Ok(output::line(&format!("{} is logged out", output::plain(&session.name)))?)
}

pub(crate) async fn delete(common: &Common, account: &Account) -> Result<(), Failure> {
    let sessions = Sessions::open()?;
    let password = password::read(&account.password, &format!("Password for {}: ", account.name))?;
    let client = client_of(common);
    // A session of its own: deleting an account needs its password, and no session that happens to be kept.
    let opened = client.login(&account.name, &password).await?;
    client.delete_account(&opened.token, &password).await?;
    if let Ok(kept) = sessions.find(Some(&opened.name)) {
        sessions.forget(&kept)?;
    }
    Ok(output::line(&format!("account {} deleted", output::plain(&opened.name)))?)
}

pub(crate) async fn change_password(common: &Common, change: &ChangePassword) -> Result<(), Failure> {
    let sessions = Sessions::open()?;
    let old = password::read(&change.password, &format!("Password for {}: ", change.name))?;
    let new = password::read_new(&change.password, "New password: ")?;
    let client = client_of(common);
    let opened = client.login(&change.name, &old).await?;
    client.change_password(&opened.token, &old, &new).await?;
    // Its other sessions have ended, the kept one among them.
    sessions.keep(&opened)?;
    let name = output::plain(&opened.name);
    Ok(output::line(&format!("the password of {name} is changed; its other sessions have ended"))?)
}
