//! The overlay: what the entries have changed that were decided and are not in the tables yet.
//!
//! It holds exactly the entries behind those that the tables show, up to the last one that was decided: so a request is found in
//! one of the two, whatever is in flight. What an entry changes that is not kept here makes it a *barrier*: the next batch is
//! decided once the tables show it.

use crate::cache::Cache;
use crate::caller::{Account, Caller};
use crate::requests::{KeptRequest, short};
use chat::{
    AccountId, ConversationId, Fact, MessageId, Millis, Outcome, Record, RequestId, SessionId, TokenHash,
};
use protocol::{Entry, Op};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An account that was created.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) account: AccountId,
    /// What its name looks like, and whether all of it is ASCII.
    pub(crate) looks: (Vec<String>, bool),
}

/// A session that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) session: SessionId,
    pub(crate) account: AccountId,
}

/// A message that was sent.
#[derive(Debug)]
struct Sent {
    id: MessageId,
    conversation: ConversationId,
    from: AccountId,
}

/// How much of a conversation a member has seen, and how much of that the others may know.
pub(crate) type Seen = (MessageId, MessageId);

/// What is known of a chat in one primacy, beside its tables: the overlay, and what was looked up before.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    requests: HashMap<RequestId, (Op, KeptRequest)>,
    sent: VecDeque<Sent>,
    created: Vec<Created>,
    opened: Vec<Opened>,
    /// Everything up to here is in the tables.
    applied: Op,
    /// The last entry that was decided.
    decided: Op,
    pub(crate) callers: Cache<TokenHash, Arc<Caller>>,
    pub(crate) accounts: Cache<AccountId, Account>,
    pub(crate) names: Cache<String, AccountId>,
    pub(crate) acknowledged: Cache<AccountId, MessageId>,
    pub(crate) seen: Cache<(AccountId, ConversationId), Seen>,
    pub(crate) forgotten: Cache<(), Millis>,
}

impl Overlay {
    /// The tables show everything up to there, and so will every look at them from now on.
    pub(crate) fn applied(&mut self, up_to: Op) {
        if up_to <= self.applied {
            return;
        }
        self.applied = up_to;
        self.requests.retain(|_, (op, _)| *op > up_to);
        while self.sent.pop_front_if(|sent| sent.id.0 <= up_to.0).is_some() {}
        self.created.retain(|created| created.account.0 > up_to.0);
        self.opened.retain(|opened| opened.session.0 > up_to.0);
        self.callers.applied(up_to);
        self.accounts.applied(up_to);
        self.names.applied(up_to);
        self.acknowledged.applied(up_to);
        self.seen.applied(up_to);
    }

    /// An entry was decided. Returns whether it is a barrier.
    pub(crate) fn decided(&mut self, entry: &Entry<Record>, caller: Option<&Caller>) -> bool {
        let (op, record) = (entry.op, &entry.record);
        self.decided = op;
        if let Some(mark) = record.request() {
            let kept = KeptRequest {
                digest: short(mark.digest),
                account: caller.map(|caller| caller.account),
                session: caller.map(|caller| caller.token),
                outcome: Outcome::of(mark),
            };
            self.requests.insert(mark.id, (op, kept));
        }
        self.takes_effect(op, record.fact())
    }

    fn takes_effect(&mut self, op: Op, fact: &Fact) -> bool {
        match fact {
            Fact::RequestsForgotten { before } => {
                let before = self.forgotten.get(&()).map_or(*before, |known| known.max(*before));
                self.forgotten.set((), before, op);
            }
            Fact::AccountCreated { name, key, password } => {
                let account = Account {
                    id: AccountId(op.0),
                    name: name.as_str().into(),
                    password: password.clone(),
                    lives: true,
                    shows_reads: true,
                };
                self.accounts.set(account.id, account.clone(), op);
                self.names.set(key.clone(), account.id, op);
                self.acknowledged.set(account.id, MessageId(0), op);
                let looks = (chat::looks(name, key), name.is_ascii());
                self.created.push(Created { account: account.id, looks });
            }
            Fact::SessionOpened { account, token, expires_at, closes } => {
                let session = SessionId(op.0);
                let Some(owner) = self.accounts.get(account).filter(|_| closes.is_empty()) else {
                    return true;
                };
                // It deletes the sessions that expired before all that is remembered, whatever the clock says by now.
                let expired_by = self.forgotten.get(&()).unwrap_or_default();
                self.callers.remove(|caller| caller.account == *account && caller.expires_at <= expired_by);
                let caller = Caller {
                    session,
                    token: *token,
                    account: *account,
                    name: owner.name,
                    expires_at: *expires_at,
                };
                self.callers.set(*token, Arc::new(caller), op);
                self.opened.push(Opened { session, account: *account });
            }
            Fact::MessageSent { conversation, from, .. } => {
                self.sent.push_back(Sent { id: MessageId(op.0), conversation: *conversation, from: *from });
            }
            Fact::MessagesAcknowledged { account, up_to } => {
                let Some(known) = self.acknowledged.get(account) else { return true };
                self.acknowledged.set(*account, known.max(*up_to), op);
            }
            Fact::ConversationSeen { account, conversation, up_to, shown_up_to } => {
                let key = (*account, *conversation);
                let Some((seen, shown)) = self.seen.get(&key) else { return true };
                let shown_up_to = shown_up_to.unwrap_or_default();
                self.seen.set(key, (seen.max(*up_to), shown.max(shown_up_to)), op);
            }
            Fact::SeenShown { account, shown } => {
                let Some(known) = self.accounts.get(account) else { return true };
                self.accounts.set(*account, Account { shows_reads: *shown, ..known }, op);
            }
            Fact::HistoryBegan { .. }
            | Fact::SessionClosed { .. }
            | Fact::AccountDeleted { .. }
            | Fact::PasswordChanged { .. } => return true,
        }
        false
    }

    pub(crate) fn request(&self, id: RequestId) -> Option<KeptRequest> {
        self.requests.get(&id).map(|(_, kept)| kept.clone())
    }

    /// The last message that an account sent in a conversation, up to a place, of those that are not in the tables.
    pub(crate) fn last_sent(
        &self,
        conversation: ConversationId,
        from: AccountId,
        up_to: MessageId,
    ) -> Option<MessageId> {
        let sent = self.sent.iter().rev();
        let mut theirs = sent.filter(|sent| sent.conversation == conversation && sent.from == from);
        theirs.find(|sent| sent.id <= up_to).map(|sent| sent.id)
    }

    /// The accounts that are not in the tables.
    pub(crate) fn created(&self) -> &[Created] {
        &self.created
    }

    /// The sessions of an account that are not in the tables, oldest first.
    pub(crate) fn opened(&self, account: AccountId) -> impl Iterator<Item = SessionId> {
        self.opened.iter().filter(move |opened| opened.account == account).map(|opened| opened.session)
    }

    /// Whether the tables show everything that was decided.
    pub(crate) fn is_empty(&self) -> bool {
        self.applied >= self.decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chat::PasswordHash;
    use protocol::Position;

    const ALICE: AccountId = AccountId(1);

    fn login(token: u8, expires_at: u64, closes: Vec<SessionId>) -> Fact {
        let (token, expires_at) = (TokenHash([token; 32]), Millis(expires_at));
        Fact::SessionOpened { account: ALICE, token, expires_at, closes }
    }

    /// Decides these facts one after the other, from op 1 on. Returns for each whether it is a barrier.
    fn decide(overlay: &mut Overlay, facts: Vec<Fact>) -> Vec<bool> {
        let mut end = Position::ORIGIN;
        let decide = |fact| {
            let entry = end.follow(Record::new(Millis(1), None, fact));
            end = entry.position();
            overlay.decided(&entry, None)
        };
        facts.into_iter().map(decide).collect()
    }

    fn alice() -> Fact {
        let (name, password) = ("alice".to_owned(), PasswordHash("hash".into()));
        Fact::AccountCreated { key: name.clone(), name, password }
    }

    #[test]
    fn a_login_is_a_barrier_only_if_it_closes_a_session_or_its_account_is_not_known() {
        let opened = |overlay: &Overlay| overlay.opened(ALICE).collect::<Vec<_>>();
        let mut overlay = Overlay::default();
        let barriers =
            decide(&mut overlay, vec![alice(), login(1, 9, vec![]), login(2, 9, vec![SessionId(2)])]);
        assert_eq!(barriers, [false, false, true]);
        assert_eq!(opened(&overlay), [SessionId(2)]);
        assert_eq!(overlay.callers.get(&TokenHash([1; 32])).unwrap().name.as_ref(), "alice");
        overlay.applied(Op(2));
        assert_eq!(opened(&overlay), [], "the tables show it");
        assert_eq!(decide(&mut Overlay::default(), vec![login(1, 9, vec![])]), [true]);
    }

    #[test]
    fn a_login_ends_the_sessions_of_its_account_that_expired_before_what_is_remembered() {
        let mut overlay = Overlay::default();
        let forgotten = Fact::RequestsForgotten { before: Millis(5) };
        let facts = vec![alice(), login(1, 5, vec![]), login(2, 6, vec![]), forgotten, login(3, 9, vec![])];
        assert_eq!(decide(&mut overlay, facts), [false; 5]);
        let known = [1, 2, 3].map(|token| overlay.callers.get(&TokenHash([token; 32])).is_some());
        assert_eq!(known, [false, true, true]);
    }
}
