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
