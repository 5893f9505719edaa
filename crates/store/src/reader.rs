//! Every question to the database, each with the index that answers it. Readers see only what is applied.

use crate::columns::{millis, unsigned};
use crate::database::open_existing_read_only;
use crate::error::StoreError;
use crate::looks;
use crate::members;
use crate::pages::{Merged, Order, Page};
use crate::requests::{self, KeptRequest};
use crate::state::{self, DatabaseState, history};
use crate::stop::Stop;
use chat::{
    AccountId, ConversationId, HistoryId, MessageId, Millis, NamePattern, PasswordHash, Refusal, RequestId,
    SessionId, TokenHash, UserName,
};
use protocol::Position;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

/// Connections kept open for readers.
const IDLE_MAX: usize = 4;
/// Connections that are open before there is a question: one decides the first batch of a primary, while the other finds the
/// sessions of the clients that come to it.
const READY: usize = 2;
/// Names that one page of accounts looks at, at most: some milliseconds of work, however many accounts there are.
const NAMES_LOOKED_AT_MAX: usize = 10_000;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub id: AccountId,
    /// Its name as written.
    pub name: String,
    /// Its password.
    pub password: PasswordHash,
    /// Everything up to here has been delivered to it.
    pub acknowledged: MessageId,
    /// When it was deleted, if it was.
    pub deleted_at: Option<Millis>,
    /// Whether it lets others know what it has seen.
    pub shows_reads: bool,
}

/// A session that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub id: SessionId,
    /// Whose.
    pub account: Account,
    /// When it ends by itself.
    pub expires_at: Millis,
}

/// A page of accounts, and the key to go on from if there may be more.
pub type AccountsPage = (Vec<(AccountId, String)>, Option<String>);

/// Readers of one database, each with a connection of its own.
#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    /// Locked for reading by each reader, for writing while the file is replaced: a connection to the old file must
    /// not outlive it, because closing it would tidy away the new file's companions.
    gate: RwLock<()>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Readers of the database at `path`, which a writer has created.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), gate: RwLock::new(()), idle: Mutex::new(Vec::new()) }
    }

    /// Asks something of the tables. Everything within one call is read from one point in time.
    pub fn read<T>(&self, ask: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let kept = self.idle().pop();
        let connection = match kept {
            Some(connection) => connection,
            None => open_existing_read_only(&self.path)?,
        };
        let sql = StoreError::sqlite(&self.path);
        connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([])).map_err(&sql)?;
        let answer = ask(&Reader { connection: &connection, path: &self.path });
        connection.prepare_cached("COMMIT").and_then(|mut end| end.execute([])).map_err(&sql)?;
        let mut idle = self.idle();
        if answer.is_ok() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        answer
    }

    /// Opens connections before there is a question, so that the first ones do not wait for that. Where it fails, they do.
    pub fn make_ready(&self) {
        let _open = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        while self.idle().len() < READY {
            let opened = open_existing_read_only(&self.path).and_then(|connection| {
                // It reads the schema with the first statement.
                let looked = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
                looked.map(|()| connection).map_err(StoreError::sqlite(&self.path))
            });
            match opened {
                Ok(connection) => self.idle().push(connection),
                Err(error) => return tracing::warn!(%error, "the first questions to the database will wait"),
            }
        }
    }

    /// Closes the connections that no reader has just now: the last one to be closed, which is to be a writer's, takes what lies beside
    /// the database with it.
    pub fn close_idle(&self) {
        self.idle().clear();
    }

    /// Closes every connection and keeps readers out while `change` replaces the file.
    pub fn while_closed<T>(&self, change: impl FnOnce() -> T) -> T {
        let _closed = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.idle().clear();
        change()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader, at one point in time.
#[derive(Debug)]
pub struct Reader<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

const ACCOUNT: &str = "accounts.id, accounts.name, accounts.password, accounts.acknowledged, accounts.deleted_at, accounts.shows_reads";
impl<'a> Reader<'a> {
    /// A reader on a connection of the caller's.
    pub const fn on(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path }
    }

    pub(crate) fn sql<T>(&self, result: Result<T, rusqlite::Error>) -> Result<T, StoreError> {
        result.map_err(StoreError::sqlite(self.path))
    }

    pub(crate) const fn connection(&self) -> &Connection {
        self.connection
    }

    pub(crate) const fn path(&self) -> &Path {
        self.path
    }

    /// Who the database is and how far its tables go.
    pub fn identity(&self) -> Result<DatabaseState, StoreError> {
        state::state(self.connection, self.path)
    }

    /// The tables show the log up to here.
    pub fn applied(&self) -> Result<Position, StoreError> {
        Ok(self.identity()?.applied)
    }

    /// The identity of the history, once one has begun.
    pub fn history(&self) -> Result<Option<HistoryId>, StoreError> {
        self.sql(history(self.connection))
    }

    /// The request of that id, if it took effect.
    pub fn request(&self, id: RequestId) -> Result<Option<KeptRequest>, StoreError> {
        self.sql(requests::find(self.connection, id))
    }

    /// Whether a request came with that token, or with that of another session of the same account, open or ended.
    pub fn came_with(&self, kept: &KeptRequest, token: TokenHash) -> Result<bool, StoreError> {
        self.sql(kept.came_with(self.connection, Some(token)))
    }

    /// The valid session with this token. Index: `sessions_token`.
    pub fn session(&self, token: TokenHash, now: Millis) -> Result<Session, Stop> {
        let found = self
            .connection
            .prepare_cached(&format!(
                "SELECT {ACCOUNT}, sessions.id, sessions.expires_at FROM sessions
                 JOIN accounts ON accounts.id = sessions.account
                 WHERE sessions.token = ?1 AND sessions.expires_at > ?2 AND accounts.deleted_at IS NULL"
            ))
            .and_then(|mut find| {
                find.query_row(params![token.0, millis(now)], |row| {
                    Ok(Session {
                        account: account(row)?,
                        id: SessionId(unsigned(row, 6)?),
                        expires_at: Millis(unsigned(row, 7)?),
                    })
                })
                .optional()
            });
        Ok(self.sql(found)?.ok_or(Refusal::SessionInvalid)?)
    }

    /// The living account of that name. Index: `accounts_living_key`.
    pub fn living(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.account_where("accounts.key = ?1 AND deleted_at IS NULL", [name.key()])
    }

    /// Whether a living account looks like this name, so that a new one may not have it. Index: the primary key of `looks`.
    pub fn looks_taken(&self, name: &UserName) -> Result<bool, StoreError> {
        self.sql(looks::taken(self.connection, name))
    }

    /// The living account of that name, or else the last one that had it. Index: `accounts_key`.
    pub fn living_or_last(&self, name: &UserName) -> Result<Option<Account>, StoreError> {
        self.account_where(
            "accounts.key = ?1 ORDER BY deleted_at IS NULL DESC, id DESC LIMIT 1",
            [name.key()],
        )
    }

    /// The account with that number, living or not.
    pub fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.account_where("accounts.id = ?1", [id.0.cast_signed()])
    }

    fn account_where(
        &self,
        condition: &str,
        what: impl rusqlite::Params,
    ) -> Result<Option<Account>, StoreError> {
        let found = self
            .connection
            .prepare_cached(&format!("SELECT {ACCOUNT} FROM accounts WHERE {condition}"))
            .and_then(|mut find| find.query_row(what, account).optional());
        self.sql(found)
    }

    /// Living accounts whose name matches, in the order of their keys, after `after`. Returns at most `limit` names, and the key to
    /// go on from if there may be more. A page looks at 10,000 names at most, so it may have few names or none, and others may follow.
    /// Index: `accounts_living_key`.
    pub fn accounts(
        &self,
        pattern: &NamePattern,
        after: &str,
        limit: usize,
    ) -> Result<AccountsPage, StoreError> {
        let page = || {
            let mut all = self.connection.prepare_cached(
                "SELECT id, name, key FROM accounts WHERE deleted_at IS NULL AND key > ?1 ORDER BY key",
            )?;
            let mut rows = all.query([after])?;
            let mut names = Vec::new();
            let mut last_key = None;
            let mut looked_at = 0;
            while let Some(row) = rows.next()? {
                if looked_at == NAMES_LOOKED_AT_MAX {
                    return Ok((names, last_key));
                }
                looked_at += 1;
                let name = row.get_ref(1)?.as_str()?;
                let matches = pattern.matches(name);
                if matches && names.len() == limit {
                    return Ok((names, last_key));
                }
                if matches {
                    names.push((AccountId(unsigned(row, 0)?), name.to_owned()));
                }
                if matches || looked_at == NAMES_LOOKED_AT_MAX {
                    last_key = Some(row.get(2)?);
                }
            }
            Ok((names, None))
        };
        self.sql(page())
    }

    /// Messages for an account after `after`, oldest first; with `own`, also those that it sent. A page has `limit` of them, or
    /// ends where they have `bytes_max`. It finds the account's conversations as `members::of` does, looks at most once for each
    /// side of each, and at none of their other messages. Index: `messages_conversation`.
    pub fn messages_after(
        &self,
        account: AccountId,
        after: MessageId,
        own: bool,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        let page = || {
            let mut merged = Merged::new(self.connection, Order::OldestFirst);
            for member in members::of(self.connection, account)? {
                let own = (own && member.with != account).then_some(account);
                for sender in [Some(member.with), own].into_iter().flatten() {
                    if member.may_have_sent(sender, after) {
                        merged.add(member.conversation, sender, after)?;
                    }
                }
            }
            // What is undeliverable no other account has, and its text is gone.
            let kept = merged.filter(|row| !row.as_ref().is_ok_and(|message| message.undeliverable));
            Page::gather(kept, limit, bytes_max)
        };
        self.sql(page())
    }

    /// A direct conversation before `before`, newest first. A page has `limit` messages, or ends where they have `bytes_max`.
    /// Index: `messages_conversation`.
    pub fn conversation(
        &self,
        conversation: ConversationId,
        before: MessageId,
        limit: u32,
        bytes_max: usize,
    ) -> Result<Page, StoreError> {
        let page = || {
            let mut merged = Merged::new(self.connection, Order::NewestFirst);
            if let Some((one, other)) = conversation.parties() {
                merged.add(conversation, one, before)?;
                if other != one {
                    merged.add(conversation, other, before)?;
                }
            }
            Page::gather(merged, limit, bytes_max)
        };
        self.sql(page())
    }
}

fn account(row: &Row<'_>) -> Result<Account, rusqlite::Error> {
    Ok(Account {
        id: AccountId(unsigned(row, 0)?),
        name: row.get(1)?,
        password: PasswordHash(row.get(2)?),
        acknowledged: MessageId(unsigned(row, 3)?),
        deleted_at: row.get::<_, Option<i64>>(4)?.map(|at| Millis(at.cast_unsigned())),
        shows_reads: row.get(5)?,
    })
}
