-- Conversations, and a log of records that are protobuf. What was written before is JSON, and chains hash it: so the tables,
-- as they stand, become what a new log begins on, and its entries go. A copy of the whole is kept beside the database first.

-- What the log begins behind, and so where it ends while it is empty: the last entry that was pruned, or that was there
-- before this schema. Local: replicas prune their logs at different places.
CREATE TABLE base (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    op INTEGER NOT NULL,
    chain BLOB NOT NULL CHECK (length(chain) = 32),
    -- No entry up to there has a later time.
    at INTEGER NOT NULL,
    -- Where `forgotten` is unknown: what the entries that are gone said of it, for the first primary to say in an entry.
    forgotten INTEGER
) STRICT;
INSERT INTO base SELECT 1, op, chain, record ->> '$.at', NULL FROM log ORDER BY op DESC LIMIT 1;
INSERT OR IGNORE INTO base VALUES (1, 0, zeroblob(32), 0, NULL);
DROP TABLE log;
CREATE TABLE log (
    op INTEGER PRIMARY KEY,
    chain BLOB NOT NULL CHECK (length(chain) = 32),
    record BLOB NOT NULL
) STRICT;

ALTER TABLE messages RENAME TO messages_before;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    -- Of two accounts: their numbers, the lower one first, each in 8 bytes, the highest byte first.
    conversation BLOB NOT NULL CHECK (length(conversation) = 16),
    sender INTEGER NOT NULL,
    sender_name TEXT NOT NULL,
    to_name TEXT NOT NULL,
    text TEXT NOT NULL,
    sent_at INTEGER NOT NULL,
    -- 1: its recipient was deleted before it was delivered, and its text is gone.
    undeliverable INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO messages
    SELECT id, unhex(printf('%016x%016x', min(sender, recipient), max(sender, recipient))), sender, sender_name,
        recipient_name, text, sent_at, undeliverable
    FROM messages_before ORDER BY id;

-- Who is in which conversation, and how it stands for each.
CREATE TABLE members (
    account INTEGER NOT NULL,
    conversation BLOB NOT NULL CHECK (length(conversation) = 16),
    -- The newest message in it.
    newest INTEGER NOT NULL,
    -- Everything in it up to this message was seen.
    seen_up_to INTEGER NOT NULL DEFAULT 0,
    -- As much of that as the others may know of.
    shown_up_to INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (account, conversation)
) STRICT, WITHOUT ROWID;
INSERT INTO members
    SELECT account, unhex(printf('%016x%016x', min(account, peer), max(account, peer))), newest,
        coalesce(up_to, 0), coalesce(shown_up_to, 0)
    FROM (
        SELECT account, peer, max(newest) AS newest FROM (
            SELECT sender AS account, recipient AS peer, max(id) AS newest
            FROM messages_before GROUP BY sender, recipient
            UNION ALL
            SELECT recipient, sender, max(id) FROM messages_before GROUP BY recipient, sender
        ) GROUP BY account, peer
    ) LEFT JOIN reads USING (account, peer);
DROP TABLE reads;
DROP TABLE messages_before;
-- With the sender, so that what one of them wrote is found however much the other has: the rowid is the last column.
CREATE INDEX messages_conversation ON messages (conversation, sender);
