//! What deciding a batch looks at: the tables as one look shows them, and what the overlay has beside them.

use crate::caller::{Account, Caller};
use crate::columns::unsigned;
use crate::overlay::{Overlay, Seen};
use crate::requests::{self, KeptRequest};
use crate::stop::Stop;
use crate::taken::Taken;
use crate::{forgotten, looks, members, message, state};
use chat::{
    AccountId, ConversationId, HistoryId, MessageId, Millis, PasswordHash, Refusal, RequestId,
    SESSIONS_AN_ACCOUNT_MAX, SessionId, TokenHash, UserName,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

/// The tables, and what is known beside them.
pub(crate) struct Known<'batch> {
    pub(crate) connection: &'batch Connection,
    pub(crate) overlay: &'batch mut Overlay,
    pub(crate) taken: &'batch mut Taken,
}

impl Known<'_> {
    /// The request of that id, if it took effect.
    pub(crate) fn request(&self, id: RequestId) -> Result<Option<KeptRequest>, rusqlite::Error> {
        match self.overlay.request(id) {
            Some(kept) => Ok(Some(kept)),
            None if self.taken.may_have(id) => requests::find(self.connection, id),
            None => Ok(None),
        }
    }

    /// Who a token belongs to, by a session that has not expired.
    pub(crate) fn caller(
        &mut self,
        token: TokenHash,
        now: Millis,
    ) -> Result<Arc<Caller>, Stop<rusqlite::Error>> {
        let found = self.overlay.callers.get_or_read(token, || find_caller(self.connection, token))?;
        Ok(found.filter(|caller| caller.expires_at > now).ok_or(Refusal::SessionInvalid)?)
    }

    /// How far an account has received what was sent to it.
    pub(crate) fn acknowledged(&mut self, account: AccountId) -> Result<MessageId, rusqlite::Error> {
        let read = || message::acknowledged(self.connection, account);
        self.overlay.acknowledged.get_or_read(account, read).map(Option::unwrap_or_default)
    }

    /// The account of that number, living or not.
    pub(crate) fn account(&mut self, id: AccountId) -> Result<Option<Account>, rusqlite::Error> {
        self.overlay.accounts.get_or_read(id, || find_account(self.connection, id))
    }

    /// The account of that number, if it lives.
    pub(crate) fn living_account(&mut self, id: AccountId) -> Result<Option<Account>, rusqlite::Error> {
        Ok(self.account(id)?.filter(|account| account.lives))
    }

    /// The living account that has a name.
    pub(crate) fn living(&mut self, name: &UserName) -> Result<Option<Account>, rusqlite::Error> {
        let key = name.key().to_owned();
        let id = self.overlay.names.get_or_read(key, || find_living(self.connection, name))?;
        id.map_or(Ok(None), |id| self.living_account(id))
    }

    /// Whether a living account looks like this name.
    pub(crate) fn looks_taken(&self, name: &UserName) -> Result<bool, rusqlite::Error> {
        let (looks, ascii) = (name.looks(), name.shown().is_ascii());
        let created = self.overlay.created().iter().any(|created| {
            let (others, other_ascii) = &created.looks;
            !(ascii && *other_ascii) && looks.iter().any(|look| others.contains(look))
        });
        if created { Ok(true) } else { looks::taken(self.connection, name) }
    }

    /// The sessions of an account that end when one more is opened: the oldest beyond what an account can have. Whether they
    /// have expired is not asked: a clock that is wrong for a moment must not end any that has not. Index: `sessions_account`.
    pub(crate) fn closed_by_one_more(&self, account: AccountId) -> Result<Vec<SessionId>, rusqlite::Error> {
        let mut open: Vec<SessionId> = self
            .connection
            .prepare_cached("SELECT id FROM sessions WHERE account = ?1 ORDER BY id")?
            .query_map([account.0.cast_signed()], |row| unsigned(row, 0).map(SessionId))?
            .collect::<Result<_, _>>()?;
        // The tables may show some of them by now.
        let newest = open.last().copied();
        open.extend(
            self.overlay.opened(account).filter(|opened| newest.is_none_or(|newest| *opened > newest)),
        );
        let kept = usize::try_from(SESSIONS_AN_ACCOUNT_MAX).unwrap_or(usize::MAX);
        open.truncate((open.len() + 1).saturating_sub(kept));
        Ok(open)
    }

    /// How much of a conversation a member has seen, and how much of that the others may know.
    pub(crate) fn seen(
        &mut self,
        account: AccountId,
        conversation: ConversationId,
    ) -> Result<Seen, rusqlite::Error> {
        let read = || members::seen_up_to(self.connection, account, conversation).map(Some);
        self.overlay.seen.get_or_read((account, conversation), read).map(Option::unwrap_or_default)
    }

    /// The last message that an account sent in a conversation, up to a place.
    pub(crate) fn last_sent(
        &self,
        conversation: ConversationId,
        from: AccountId,
        up_to: MessageId,
    ) -> Result<Option<MessageId>, rusqlite::Error> {
        match self.overlay.last_sent(conversation, from, up_to) {
            Some(id) => Ok(Some(id)),
            None => message::last_sent(self.connection, conversation, from, up_to),
        }
    }

    /// The date before which ids are refused; `None` where no entry has set one yet.
    pub(crate) fn forgotten(&mut self) -> Result<Option<Millis>, rusqlite::Error> {
        self.overlay.forgotten.get_or_read((), || forgotten::forgotten(self.connection))
    }

    /// The identity of the history, once one has begun.
    pub(crate) fn history(&self) -> Result<Option<HistoryId>, rusqlite::Error> {
        state::history(self.connection)
    }
}

/// Index: `sessions_token`.
fn find_caller(connection: &Connection, token: TokenHash) -> Result<Option<Arc<Caller>>, rusqlite::Error> {
    connection
        .prepare_cached(
            "SELECT sessions.id, accounts.id, accounts.name, sessions.expires_at
             FROM sessions JOIN accounts ON accounts.id = sessions.account
             WHERE sessions.token = ?1 AND accounts.deleted_at IS NULL",
        )?
        .query_row(params![token.0], |row| {
            let name: Box<str> = row.get(2)?;
            Ok(Arc::new(Caller {
                session: SessionId(unsigned(row, 0)?),
                token,
                account: AccountId(unsigned(row, 1)?),
                name: name.into(),
                expires_at: Millis(unsigned(row, 3)?),
            }))
        })
        .optional()
}

fn find_account(connection: &Connection, id: AccountId) -> Result<Option<Account>, rusqlite::Error> {
    let read = |row: &Row<'_>| {
        let name: Box<str> = row.get(0)?;
        Ok(Account {
            id,
            name: name.into(),
            password: PasswordHash(row.get(1)?),
            lives: row.get(2)?,
            shows_reads: row.get(3)?,
        })
    };
    connection
        .prepare_cached("SELECT name, password, deleted_at IS NULL, shows_reads FROM accounts WHERE id = ?1")?
        .query_row([id.0.cast_signed()], read)
        .optional()
}

/// Index: `accounts_living_key`.
fn find_living(connection: &Connection, name: &UserName) -> Result<Option<AccountId>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT id FROM accounts WHERE key = ?1 AND deleted_at IS NULL")?
        .query_row([name.key()], |row| unsigned(row, 0).map(AccountId))
        .optional()
}
