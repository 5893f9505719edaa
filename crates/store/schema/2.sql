-- What each account has seen of each conversation, and whether it lets others know.
ALTER TABLE accounts ADD COLUMN shows_reads INTEGER NOT NULL DEFAULT 1;

CREATE TABLE reads (
    account INTEGER NOT NULL,
    peer INTEGER NOT NULL,
    -- Everything that the peer sent to the account, up to this message id, was seen.
    up_to INTEGER NOT NULL,
    -- As much of it as the peer may know of.
    shown_up_to INTEGER NOT NULL,
    PRIMARY KEY (account, peer)
) STRICT, WITHOUT ROWID;

-- Who wrote to an account, and how much of it is new.
CREATE INDEX messages_received ON messages (recipient, sender, id);
