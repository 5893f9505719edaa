//! The sessions that this person has open, kept between commands in a private file. Each belongs to a service, which is known
//! by its cluster id, whatever addresses it was reached at: no token is shown to another service.

use crate::arguments::Common;
use crate::failure::{Failure, complain};
use crate::output::plain;
use chat::{NameRules, UserName};
use client::{Client, Opened, Reason};
use data_encoding::HEXLOWER;
use files::{Files, NO_FOLLOW, RealFiles};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use store::check_ownership;

const FILE: &str = "sessions.json";
const OUTBOX_PREFIX: &str = "outbox-";

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// By the service's cluster id.
    #[serde(default)]
    services: BTreeMap<String, OfService>,
    /// What an earlier version kept, which did not note of which service.
    #[serde(flatten)]
    before: Before,
}

#[derive(Default, Serialize, Deserialize)]
struct OfService {
    /// By the key of the name.
    sessions: BTreeMap<String, KeptSession>,
}

#[derive(Default, Serialize, Deserialize)]
struct Before {
    /// The last one opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sessions: BTreeMap<String, KeptSession>,
    /// The services that do not know these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    not_of: Vec<String>,
}

/// A session as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct KeptSession {
    pub(crate) name: String,
    pub(crate) token: String,
    /// An earlier version kept it: then what was typed with it waits under the addresses that were used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    from_before: bool,
}

impl std::fmt::Debug for KeptSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptSession").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<&Opened> for KeptSession {
    fn from(opened: &Opened) -> Self {
        Self { name: opened.name.clone(), token: opened.session.token().to_owned(), from_before: false }
    }
}

/// What all spellings of a name have in common, as the service compares them. Which signs a name may have is for the service
/// to say; what can be no name anywhere is only itself.
pub(crate) fn key(name: &str) -> String {
    let rules = NameRules { illegal: "".into() };
    UserName::parse(name, &rules).map_or_else(|_| name.to_lowercase(), |name| name.key().to_owned())
}

/// The file, with its folder, and the service whose sessions are looked at.
#[derive(Debug)]
pub(crate) struct Sessions {
    folder: PathBuf,
    service: String,
}

impl Sessions {
    /// Those of the service that `client` talks to, in `$TRIALOGUE_HOME`, or else in the platform's folder for settings.
    pub(crate) async fn of(common: &Common, client: &Client) -> Result<Self, Failure> {
        let folder = open_folder()?;
        let service = HEXLOWER.encode(&client.cluster_id().await?);
        let sessions = Self { folder, service };
        sessions.take_over(common, client).await?;
        Ok(sessions)
    }

    /// Takes over what an earlier version kept, if it is of this service. One that was named on the command line is not
    /// asked, for the tokens may be another's; and the first token that is not known ends the asking.
    async fn take_over(&self, common: &Common, client: &Client) -> Result<(), Failure> {
        let Before { last, sessions, not_of } = self.read()?.before;
        if sessions.is_empty() || common.servers_named || not_of.contains(&self.service) {
            return Ok(());
        }
        let mut ours = Vec::new();
        let (first, others): (Vec<_>, Vec<_>) =
            sessions.into_iter().partition(|(key, _)| Some(key) == last.as_ref());
        for (key, session) in first.into_iter().chain(others) {
            match client.session(&session.token).account().await {
                Ok(_) => ours.push((key, session)),
                Err(error) if error.is_refused_for(&Reason::SessionInvalid) && ours.is_empty() => break,
                Err(error) if error.is_refused_for(&Reason::SessionInvalid) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.change(|kept| {
            if ours.is_empty() {
                kept.before.not_of.push(self.service.clone());
            }
            for (place, session) in ours {
                kept.before.sessions.remove(&place);
                let of_service = kept.services.entry(self.service.clone()).or_default();
                of_service
                    .sessions
                    .entry(key(&session.name))
                    .or_insert(KeptSession { from_before: true, ..session });
            }
            if kept.before.sessions.is_empty() {
                kept.before = Before::default();
            }
        })
    }

    /// The session of that name; without one, the only one that is open, or the one that is named at the terminal when asked.
    /// `how` is how else it can be named.
    pub(crate) fn find(&self, name: Option<&str>, how: &str) -> Result<KeptSession, Failure> {
        let mut sessions = self.read()?.services.remove(&self.service).unwrap_or_default().sessions;
        let missing = |name: &str| {
            let name = plain(name);
            Failure::Failed(format!("{name} is not logged in at this service; run: trialogue login {name}"))
        };
        match name {
            Some(name) => sessions.remove(&key(name)).ok_or_else(|| missing(name)),
            None if sessions.len() > 1 => {
                let name = choose(&sessions, how)?;
                sessions.remove(&key(&name)).ok_or_else(|| missing(&name))
            }
            None => sessions.into_values().next().ok_or_else(|| {
                Failure::Failed("not logged in at this service; run: trialogue login NAME".into())
            }),
        }
    }

    /// The session of that name, if one is kept.
    pub(crate) fn kept(&self, name: &str) -> Result<Option<KeptSession>, Failure> {
        let of_service = self.read()?.services.remove(&self.service);
        Ok(of_service.and_then(|mut of_service| of_service.sessions.remove(&key(name))))
    }

    /// Whether any is open.
    pub(crate) fn is_empty(&self) -> Result<bool, Failure> {
        Ok(self.read()?.services.get(&self.service).is_none_or(|of_service| of_service.sessions.is_empty()))
    }

    /// Makes certain that a session could be kept, before a call whose effect would have nowhere to go.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.change(|_| {})
    }

    /// Keeps a session, in the place of an earlier one of that name.
    pub(crate) fn keep(&self, opened: &Opened) -> Result<(), Failure> {
        self.change(|kept| {
            let of_service = kept.services.entry(self.service.clone()).or_default();
            of_service.sessions.insert(key(&opened.name), opened.into());
        })
    }

    /// Forgets a session, if it is still the one that is kept.
    pub(crate) fn forget(&self, session: &KeptSession) -> Result<(), Failure> {
        self.change(|kept| {
            let Some(of_service) = kept.services.get_mut(&self.service) else { return };
            let key = key(&session.name);
            if of_service.sessions.get(&key).is_some_and(|kept| kept.token == session.token) {
                of_service.sessions.remove(&key);
            }
        })
    }

    /// Where what was typed and not yet sent is kept, for one session's account. What an earlier version kept under the
    /// addresses of the service is moved there.
    pub(crate) fn outbox(&self, session: &KeptSession, common: &Common) -> Result<PathBuf, Failure> {
        let path = self.path(OUTBOX_PREFIX, &self.service, &key(&session.name));
        if session.from_before && !path.exists() {
            let addresses = common.servers.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let before = self.path(OUTBOX_PREFIX, &addresses, &session.name.to_lowercase());
            if before.exists() {
                RealFiles
                    .rename(&before, &path)
                    .and_then(|()| RealFiles.sync_folder(&self.folder))
                    .map_err(self.fault())?;
            }
        }
        Ok(path)
    }

    fn path(&self, prefix: &str, service: &str, name: &str) -> PathBuf {
        let digest = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{service} {name}").as_bytes());
        self.folder.join(format!("{prefix}{}.jsonl", digest.simple()))
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) -> Result<(), Failure> {
        // Two commands at once must not lose each other's session.
        let lock = self.folder.join("sessions.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(NO_FOLLOW)
            .open(&lock)
            .map_err(self.fault())?;
        lock.lock().map_err(self.fault())?;
        let mut kept = self.read()?;
        change(&mut kept);
        let text = serde_json::to_vec_pretty(&kept).map_err(Failure::of)?;
        let draft = self.folder.join(format!("sessions.{}.draft", std::process::id()));
        let mut options = File::options();
        options.create(true).truncate(true).write(true).mode(0o600).custom_flags(NO_FOLLOW);
        let written = options.open(&draft).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written
            .and_then(|()| RealFiles.rename(&draft, &self.folder.join(FILE)))
            .and_then(|()| RealFiles.sync_folder(&self.folder))
            .map_err(self.fault())
    }

    fn read(&self) -> Result<Kept, Failure> {
        let path = self.folder.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                Failure::Failed(format!(
                    "{} is damaged ({error}); remove it and log in again",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kept::default()),
            Err(error) => Err(Failure::Failed(format!("{}: {error}", path.display()))),
        }
    }

    fn fault(&self) -> impl Fn(std::io::Error) -> Failure {
        let folder = self.folder.clone();
        move |error| Failure::Failed(format!("{}: {error}", folder.display()))
    }
}

fn open_folder() -> Result<PathBuf, Failure> {
    let folder = match std::env::var_os("TRIALOGUE_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => {
            use etcetera::BaseStrategy;
            let base = etcetera::choose_base_strategy().map_err(Failure::of)?;
            base.config_dir().join("trialogue")
        }
    };
    RealFiles.make_folder(&folder).map_err(|error| {
        Failure::Failed(format!("{}: {error}; set TRIALOGUE_HOME to another folder", folder.display()))
    })?;
    let prefixes = ["sessions.", OUTBOX_PREFIX];
    let ours = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
    check_ownership(&folder, ours, |_| false).map_err(Failure::of)?;
    Ok(folder)
}

/// Asks at the terminal which of several accounts is meant.
fn choose(sessions: &BTreeMap<String, KeptSession>, how: &str) -> Result<String, Failure> {
    let names: Vec<String> = sessions.values().map(|session| session.name.clone()).collect();
    let shown = names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
    let usage = || Failure::Usage(format!("several accounts are logged in: {shown}; say which, by {how}"));
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(usage());
    }
    loop {
        // If the question can't be shown, no answer will come.
        write!(std::io::stderr(), "several accounts are logged in: {shown}; as whom? ")
            .and_then(|()| std::io::stderr().flush())
            .map_err(|_| usage())?;
        let mut answer = String::new();
        // A terminal gives no line that is longer than its own buffer.
        if std::io::stdin().read_line(&mut answer).map_err(|_| usage())? == 0 {
            return Err(usage());
        }
        let wanted = key(answer.trim());
        if let Some(name) = names.iter().find(|name| key(name) == wanted) {
            return Ok(name.clone());
        }
        complain(&format!("{} is none of them", answer.trim()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_name_have_one_key() {
        for (one, other) in
            [("jos\u{e9}", "jose\u{301}"), ("Alice", "aLICE"), ("ＡＬＩＣＥ", "alice"), ("a;B", "A;b")]
        {
            assert_eq!(key(one), key(other), "{one} and {other}");
        }
        assert_ne!(key("alice"), key("alicf"));
        assert_eq!(key("no name"), "no name");
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_written_without_loss() {
        let text = r#"{"last":"bob","sessions":{"bob":{"name":"Bob","token":"t"}}}"#;
        let kept: Kept = serde_json::from_str(text).unwrap();
        assert!(kept.services.is_empty() && kept.before.sessions["bob"].token == "t");
        let written = serde_json::to_string(&kept).unwrap();
        let again: Kept = serde_json::from_str(&written).unwrap();
        assert_eq!(again.before.last.as_deref(), Some("bob"));
        assert_eq!(serde_json::to_string(&Kept::default()).unwrap(), r#"{"services":{}}"#);
    }
}
