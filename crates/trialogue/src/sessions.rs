//! The sessions that this person has open, kept between commands in a private file.

use crate::failure::Failure;
use client::Opened;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use store::files::{Files, RealFiles};
use store::{NO_FOLLOW, check_ownership};

const FILE: &str = "sessions.json";
const OUTBOX_PREFIX: &str = "outbox-";

#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// Used when no name is given: the last one opened.
    last: Option<String>,
    /// By the name in lower case.
    sessions: BTreeMap<String, Session>,
}

/// A session as it is kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) name: String,
    pub(crate) token: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The file, with its folder.
#[derive(Debug)]
pub(crate) struct Sessions {
    folder: PathBuf,
}

impl Sessions {
    /// In `$TRIALOGUE_HOME`, or else in the platform's folder for settings.
    pub(crate) fn open() -> Result<Self, Failure> {
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
        let ours = |name: &str| name.starts_with("sessions.") || name.starts_with(OUTBOX_PREFIX);
        check_ownership(&folder, ours, |_| false).map_err(Failure::of)?;
        Ok(Self { folder })
    }

    /// The session of that name, or the last one opened.
    pub(crate) fn find(&self, name: Option<&str>) -> Result<Session, Failure> {
        let kept = self.read()?;
        let key = name.map(str::to_lowercase).or(kept.last);
        let Some(key) = key else {
            return Err(Failure::Failed("not logged in; run: trialogue login NAME".into()));
        };
        let found = kept.sessions.get(&key).cloned();
        found.ok_or_else(|| {
            Failure::Failed(format!("{0} is not logged in; run: trialogue login {0}", name.unwrap_or(&key)))
        })
    }

    /// Keeps a session, in the place of an earlier one of that name.
    pub(crate) fn keep(&self, opened: &Opened) -> Result<(), Failure> {
        self.change(|kept| {
            let key = opened.name.to_lowercase();
            kept.last = Some(key.clone());
            kept.sessions.insert(key, Session { name: opened.name.clone(), token: opened.token.clone() });
        })
    }

    /// Forgets a session, if it is still the one that is kept.
    pub(crate) fn forget(&self, session: &Session) -> Result<(), Failure> {
        self.change(|kept| {
            let key = session.name.to_lowercase();
            if kept.sessions.get(&key).is_some_and(|kept| kept.token == session.token) {
                kept.sessions.remove(&key);
                if kept.last.as_ref() == Some(&key) {
                    kept.last = kept.sessions.keys().next().cloned();
                }
            }
        })
    }

    /// Where what was typed and not yet sent is kept, for one session's account at one service.
    pub(crate) fn outbox(&self, name: &str, service: &str) -> PathBuf {
        let digest = uuid::Uuid::new_v5(
            &uuid::Uuid::NAMESPACE_OID,
            format!("{service} {}", name.to_lowercase()).as_bytes(),
        );
        self.folder.join(format!("{OUTBOX_PREFIX}{}.jsonl", digest.simple()))
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
