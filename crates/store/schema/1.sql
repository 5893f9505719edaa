-- One replica's database. The log and the chat state change in the same transaction, so a crash leaves both or neither.
-- Every table but `database`, and those that a later script calls derived, is the same on every replica at the same op;
-- `trialogue verify` compares them row by row.

-- Who this database is; drawn when it is created, and anew when a snapshot is installed.
CREATE TABLE database (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    id BLOB NOT NULL CHECK (length(id) = 16),
    opened INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The replicated log, pruned at its old end. `chain` is the running hash up to and including this entry.
CREATE TABLE log (
    op INTEGER PRIMARY KEY,
    chain BLOB NOT NULL CHECK (length(chain) = 32),
    record TEXT NOT NULL
) STRICT;

-- The histories that this log went through, oldest first; the last one counts.
CREATE TABLE histories (
    began_op INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16)
) STRICT;

CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    password TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    deleted_at INTEGER,
    -- Everything addressed to the account up to this message id has been delivered.
    acknowledged INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX accounts_living_key ON accounts (key) WHERE deleted_at IS NULL;
CREATE INDEX accounts_key ON accounts (key);

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    token BLOB NOT NULL CHECK (length(token) = 32),
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX sessions_token ON sessions (token);
CREATE INDEX sessions_account ON sessions (account, id);

CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    sender INTEGER NOT NULL,
    sender_name TEXT NOT NULL,
    recipient INTEGER NOT NULL,
    recipient_name TEXT NOT NULL,
    text TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    -- 1: its recipient was deleted before it was delivered, and its text is gone.
    undeliverable INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_recipient ON messages (recipient, id);
CREATE INDEX messages_conversation ON messages (sender, recipient, id);

-- Requests that took effect, with their answers, for as long as a retry is accepted. An id is a UUIDv7, so the order of
-- ids is the order of their dates.
CREATE TABLE requests (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    digest BLOB NOT NULL CHECK (length(digest) = 16),
    answer TEXT NOT NULL
) STRICT, WITHOUT ROWID;
