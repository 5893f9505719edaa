-- The log is a folder of files beside the database from now on (`replica-log`), and the tables show the log up to a place.

-- Where the tables stand: they have the effects of the log up to there, and of nothing behind it. Local: replicas apply what
-- is committed at different moments.
ALTER TABLE base RENAME TO applied;
-- What was in the log is applied. When its last entry was written stands in a record, which only the program can read.
UPDATE applied SET op = log.op, chain = log.chain
    FROM (SELECT op, chain FROM log ORDER BY op DESC LIMIT 1) AS log;
DROP TABLE log;
-- 1: a log of this database was begun on the disk, so that it is a loss if there is none.
ALTER TABLE database ADD COLUMN log_begun INTEGER NOT NULL DEFAULT 0;

-- What a request that sent a message was answered stands in the message's row, and there are many of them: so they are kept apart,
-- in as few bytes as tell whether a retry asks for the same.
ALTER TABLE requests RENAME TO requests_before;
CREATE TABLE message_requests (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    -- The first bytes of the digest of what it asked for.
    digest BLOB NOT NULL CHECK (length(digest) = 8),
    message INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- All others. A request that needs no session is nobody's.
CREATE TABLE requests (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    digest BLOB NOT NULL CHECK (length(digest) = 8),
    account INTEGER,
    -- What it was answered and the passwords that came with it, as in a record.
    outcome BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- Whose the sessions were that have ended, for as long as a retry of one of their requests is accepted.
CREATE TABLE ended_sessions (
    token BLOB PRIMARY KEY CHECK (length(token) = 32),
    account INTEGER NOT NULL,
    -- No request of it has a higher id.
    last_request BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ended_sessions_last_request ON ended_sessions (last_request);
-- The rows of `requests_before` are JSON, which only the program can carry over.
