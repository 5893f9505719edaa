-- What the names of living accounts look like, so that no new one looks like another's. Derived from `accounts` by each
-- replica for itself, and not compared: `looks.rs` says why.
CREATE TABLE looks (
    look TEXT NOT NULL,
    account INTEGER NOT NULL,
    -- Whether the name has no character outside ASCII.
    ascii INTEGER NOT NULL,
    PRIMARY KEY (look, account)
) STRICT, WITHOUT ROWID;
CREATE INDEX looks_account ON looks (account);

-- By which version of its rules each derived table was derived; one that lacks here is derived when the database is opened.
CREATE TABLE derived (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL
) STRICT, WITHOUT ROWID;
