-- What this database remembers of views, so that a view register which has lost its newest views is not believed. Local: not
-- replicated, not compared, and written anew in a snapshot by the replica that takes it.
CREATE TABLE remembered (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- The identity of the register that installed the view.
    register BLOB NOT NULL CHECK (length(register) = 16),
    -- The newest view that its replica has acted in.
    view INTEGER NOT NULL,
    -- Bit i stands for replica i.
    in_sync INTEGER NOT NULL CHECK (in_sync BETWEEN 1 AND 65535),
    op INTEGER NOT NULL,
    proposer INTEGER NOT NULL CHECK (proposer BETWEEN 0 AND 15),
    incarnation INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    -- The newest view of which this database has held every acknowledged entry.
    complete INTEGER NOT NULL
) STRICT;

-- The members of that view.
CREATE TABLE remembered_members (
    replica INTEGER PRIMARY KEY CHECK (replica BETWEEN 0 AND 15),
    database BLOB NOT NULL CHECK (length(database) = 16)
) STRICT;
