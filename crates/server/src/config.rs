//! The settings of a cluster: one file, the same for every replica.

use crate::data_folder::{KEY_FILE, REGISTER_FOLDER, REPLICA_FOLDER_PREFIX};
use crate::host_name::HostName;
use chat::{Address, Limits, NameRules};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// The database's name in a replica's folder.
pub const DATABASE_FILE: &str = "chat.db";
/// The lock's name in a replica's folder.
pub const LOCK_FILE: &str = "lock";
/// What tells one boot of a machine from another, on Linux.
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";
/// The most replicas of one cluster.
pub const REPLICAS_MAX: usize = 7;
/// The shortest session, in seconds: a shorter one ends between a person's log-in and the first message.
const SESSION_SECONDS_MIN: u64 = 60;
/// The longest session, in seconds: ten years.
const SESSION_SECONDS_MAX: u64 = 10 * 365 * 24 * 60 * 60;

/// What every replica of a cluster agrees on, and where this machine keeps its files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where each replica listens, by index.
    pub addresses: Vec<Address>,
    /// The folder that holds the replicas' folders, the view register and the cluster key.
    pub data: PathBuf,
    /// What an operator may set.
    pub limits: Limits,
    /// How many log entries are kept for replicas that return.
    pub log_entries_max: u64,
    /// Which characters names may not have.
    pub names: NameRules,
    /// Whether the cluster page is shown to others than those on the replica's machine.
    pub cluster_page_for_everyone: bool,
    /// The file that tells one boot of this machine from another.
    pub boot_id_file: PathBuf,
    /// By which further names browsers may open the pages: hosts, each at any port or at one.
    pub host_names: Vec<HostName>,
    /// Whether a replica that crashes may leave a core, which holds whatever was in its memory.
    pub core_dumps: bool,
    /// Who may make an account.
    pub registration: Registration,
    /// How much of the service one account, connection or address may take.
    pub shares: Shares,
    /// What must stay free on the disk of each replica, in bytes, or writes are refused; by default it depends on the disk.
    pub disk_reserve: Option<u64>,
    /// Where `up --playground` takes orders, if it runs these replicas.
    pub playground: Option<Address>,
}

/// Why the settings can't be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not understood.
    #[error("{path}: {source}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// An address is not one.
    #[error("{path}: {refusal}")]
    Address {
        /// Which file.
        path: PathBuf,
        /// Why.
        refusal: chat::Refusal,
    },
    /// Too few or too many replicas.
    #[error("{path}: {count} replicas are named in `addresses`; 1 to {REPLICAS_MAX} are possible")]
    Count {
        /// Which file.
        path: PathBuf,
        /// How many are named.
        count: usize,
    },
    /// The file register only works where every replica sees the same file system and the same locks.
    #[error(
        "{path}: {address} is not on this machine, and a view register in files can't be shared between machines; \
         use loopback addresses"
    )]
    FileRegisterAcrossMachines {
        /// Which file.
        path: PathBuf,
        /// The first address elsewhere.
        address: Address,
    },
    /// A log without entries could bring no replica level, and would not know where it ends.
    #[error("{path}: log_entries_max is 0; give at least 1")]
    NoLog {
        /// Which file.
        path: PathBuf,
    },
    /// Two replicas can't listen on one address.
    #[error("{path}: {address} is named twice in `addresses`; give each replica its own")]
    AddressTwice {
        /// Which file.
        path: PathBuf,
        /// Which address.
        address: Address,
    },
    /// Sessions that end at once, or never.
    #[error(
        "{path}: session_lifetime_seconds is {seconds}; give {SESSION_SECONDS_MIN} (a minute) to \
         {SESSION_SECONDS_MAX} (ten years)"
    )]
    SessionLifetime {
        /// Which file.
        path: PathBuf,
        /// What it says.
        seconds: u64,
    },
    /// A name that no browser sends.
    #[error(
        "{path}: {name:?} in `host_names` is no host; write one such as chat.example.org or chat.example.org:8080"
    )]
    HostName {
        /// Which file.
        path: PathBuf,
        /// What it says.
        name: String,
    },
    /// A limit of 0, under which no client could do anything.
    #[error("{path}: {name} is 0; give at least 1")]
    NoShare {
        /// Which file.
        path: PathBuf,
        /// Which setting.
        name: &'static str,
    },
    /// More replicas must be in sync than there are.
    #[error("{path}: min_in_sync is {wanted}, and there are {count} replicas; give 1 to {count}")]
    MinInSync {
        /// Which file.
        path: PathBuf,
        /// What is demanded.
        wanted: usize,
        /// How many replicas there are.
        count: usize,
    },
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    addresses: Vec<String>,
    data: Option<PathBuf>,
    min_in_sync: Option<usize>,
    session_lifetime_seconds: Option<u64>,
    log_entries_max: Option<u64>,
    illegal_name_characters: Option<String>,
    cluster_page_for_everyone: bool,
    refuse_lookalike_names: Option<bool>,
    host_names: Vec<String>,
    core_dumps: bool,
    registration: Registration,
    streams_per_account: Option<usize>,
    streams_per_connection: Option<u32>,
    connections_per_address: Option<usize>,
    disk_reserve_mib: Option<u32>,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody.
    #[default]
    Open,
    /// The operator.
    Closed,
}

/// How much of the service one account, one connection or one address may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Open streams of one account, on all its connections: listeners and senders.
    pub streams_per_account: usize,
    /// Calls and streams that are open on one connection.
    pub streams_per_connection: u32,
    /// Connections from one address, other than this machine's own.
    pub connections_per_address: usize,
}

impl Default for Shares {
    fn default() -> Self {
        Self { streams_per_account: 128, streams_per_connection: 1024, connections_per_address: 1024 }
    }
}

impl Settings {
    /// The settings in a file; relative paths in it start from its folder. `addresses` takes the place of those in the
    /// file, which may then be missing altogether.
    pub fn read(path: &Path, addresses: Option<Vec<Address>>) -> Result<Self, ConfigError> {
        let file = match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str::<File>(&text)
                .map_err(|source| ConfigError::Malformed { path: path.into(), source: Box::new(source) })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && addresses.is_some() => {
                File::default()
            }
            Err(source) => return Err(ConfigError::Unreadable { path: path.into(), source }),
        };
        let parse = |text: &String| Address::parse(text);
        let addresses = match addresses {
            Some(addresses) => addresses,
            None => file
                .addresses
                .iter()
                .map(parse)
                .collect::<Result<_, _>>()
                .map_err(|refusal| ConfigError::Address { path: path.into(), refusal })?,
        };
        let host_names = file.host_names.iter().map(|name| {
            HostName::parse(name)
                .ok_or_else(|| ConfigError::HostName { path: path.into(), name: name.clone() })
        });
        let host_names = host_names.collect::<Result<_, _>>()?;
        let (default, shares) = (Limits::default(), Shares::default());
        let folder = path.parent().unwrap_or(Path::new("."));
        let settings = Self {
            data: folder.join(file.data.unwrap_or_default()),
            limits: Limits {
                session_lifetime: file
                    .session_lifetime_seconds
                    .map_or(default.session_lifetime, Duration::from_secs),
                min_in_sync: file.min_in_sync.unwrap_or(default.min_in_sync),
                refuse_lookalike_names: file.refuse_lookalike_names.unwrap_or(default.refuse_lookalike_names),
            },
            log_entries_max: file.log_entries_max.unwrap_or(100_000),
            names: file
                .illegal_name_characters
                .map_or_else(NameRules::default, |illegal| NameRules { illegal: illegal.into() }),
            addresses,
            cluster_page_for_everyone: file.cluster_page_for_everyone,
            boot_id_file: BOOT_ID_FILE.into(),
            host_names,
            core_dumps: file.core_dumps,
            registration: file.registration,
            shares: Shares {
                streams_per_account: file.streams_per_account.unwrap_or(shares.streams_per_account),
                streams_per_connection: file.streams_per_connection.unwrap_or(shares.streams_per_connection),
                connections_per_address: file
                    .connections_per_address
                    .unwrap_or(shares.connections_per_address),
            },
            disk_reserve: file.disk_reserve_mib.map(|mebibytes| u64::from(mebibytes) << 20),
            playground: None,
        };
        settings.check(path)?;
        Ok(settings)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let (path, count) = (path.to_owned(), self.addresses.len());
        if !(1..=REPLICAS_MAX).contains(&count) {
            return Err(ConfigError::Count { path, count });
        }
        if let Some(address) = self.addresses.iter().find(|address| !address.is_loopback()) {
            return Err(ConfigError::FileRegisterAcrossMachines { path, address: address.clone() });
        }
        let mut named = BTreeSet::new();
        if let Some(address) = self.addresses.iter().find(|address| !named.insert(address.to_string())) {
            return Err(ConfigError::AddressTwice { path, address: address.clone() });
        }
        let seconds = self.limits.session_lifetime.as_secs();
        if !(SESSION_SECONDS_MIN..=SESSION_SECONDS_MAX).contains(&seconds) {
            return Err(ConfigError::SessionLifetime { path, seconds });
        }
        let Shares { streams_per_account, streams_per_connection, connections_per_address } = self.shares;
        for (name, share) in [
            ("streams_per_account", streams_per_account),
            ("streams_per_connection", streams_per_connection as usize),
            ("connections_per_address", connections_per_address),
        ] {
            if share == 0 {
                return Err(ConfigError::NoShare { path, name });
            }
        }
        if self.log_entries_max == 0 {
            return Err(ConfigError::NoLog { path });
        }
        if !(1..=count).contains(&self.limits.min_in_sync) {
            return Err(ConfigError::MinInSync { path, wanted: self.limits.min_in_sync, count });
        }
        Ok(())
    }

    /// The folder of one replica.
    pub fn replica_folder(&self, index: usize) -> PathBuf {
        self.data.join(format!("{REPLICA_FOLDER_PREFIX}{index}"))
    }

    /// The database of one replica.
    pub fn database(&self, index: usize) -> PathBuf {
        self.replica_folder(index).join(DATABASE_FILE)
    }

    /// The folder of the view register.
    pub fn register_folder(&self) -> PathBuf {
        self.data.join(REGISTER_FOLDER)
    }

    /// The cluster key's file.
    pub fn key_file(&self) -> PathBuf {
        self.data.join(KEY_FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trialogue.toml");
        std::fs::write(&path, text).unwrap();
        Settings::read(&path, None)
    }

    #[test]
    fn settings_have_defaults_and_relative_paths() {
        let settings =
            read("addresses = ['127.0.0.1:1', '[::1]:2']\nmin_in_sync = 2\ncluster_page_for_everyone = true")
                .unwrap();
        assert_eq!(settings.addresses.len(), 2);
        assert_eq!(settings.limits.min_in_sync, 2);
        assert!(settings.cluster_page_for_everyone);
        let bare = read("addresses = ['127.0.0.1:1']").unwrap();
        assert_eq!(bare.disk_reserve, None);
        let reserve = read("addresses = ['127.0.0.1:1']\ndisk_reserve_mib = 3").unwrap().disk_reserve;
        assert_eq!(reserve, Some(3 << 20));
        assert!(!bare.cluster_page_for_everyone && !bare.core_dumps && bare.host_names.is_empty());
        assert!(bare.limits.refuse_lookalike_names);
        assert_eq!(settings.limits.session_lifetime, Limits::default().session_lifetime);
        assert!(settings.database(1).ends_with("replica-1/chat.db"));
    }

    #[test]
    fn the_shortest_and_the_longest_of_each_number_is_taken() {
        for (line, lifetime, entries) in [
            ("session_lifetime_seconds = 60", 60, 100_000),
            ("session_lifetime_seconds = 315360000", 315_360_000, 100_000),
            ("log_entries_max = 1", 2_592_000, 1),
            ("log_entries_max = 9223372036854775807", 2_592_000, i64::MAX.cast_unsigned()),
        ] {
            let settings = read(&format!("addresses = ['127.0.0.1:1']\n{line}")).unwrap();
            assert_eq!(settings.limits.session_lifetime, Duration::from_secs(lifetime), "{line}");
            assert_eq!(settings.log_entries_max, entries, "{line}");
        }
    }

    #[test]
    fn wrong_settings_are_refused_with_the_reason() {
        let cases = [
            ("addresses = []", "1 to 7"),
            ("addresses = ['127.0.0.1']", "no port"),
            ("addresses = ['10.0.0.1:5100']", "between machines"),
            ("addresses = ['127.0.0.1:1']\nmin_in_sync = 2", "min_in_sync is 2"),
            ("addresses = ['127.0.0.1:1']\nmin_in_snyc = 2", "unknown field"),
            ("addresses = ['127.0.0.1:1']\nlog_entries_max = 0", "at least 1"),
            ("addresses = 7", "invalid type"),
            ("addresses = ['127.0.0.1:1', '127.0.0.1:1']", "127.0.0.1:1 is named twice"),
            ("addresses = ['127.0.0.1:1']\nsession_lifetime_seconds = 0", "is 0; give 60"),
            ("addresses = ['127.0.0.1:1']\nsession_lifetime_seconds = 59", "is 59; give 60"),
            ("addresses = ['127.0.0.1:1']\nsession_lifetime_seconds = 315360001", "315360000 (ten years)"),
            ("addresses = ['127.0.0.1:1']\nsession_lifetime_seconds = 9223372036854775807", "ten years"),
            ("addresses = ['127.0.0.1:1']\nsession_lifetime_seconds = -1", "invalid value"),
            ("addresses = ['127.0.0.1:1']\nlog_entries_max = -1", "invalid value"),
            ("addresses = ['127.0.0.1:1']\nmin_in_sync = 0", "min_in_sync is 0"),
            ("addresses = ['127.0.0.1:1']\nhost_names = ['http://chat.example']", "is no host"),
        ];
        for (text, expected) in cases {
            let error = read(text).map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
