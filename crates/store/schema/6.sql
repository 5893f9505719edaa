-- Whose request each was, the hash of the token that it came with, and with which passwords, so that nobody else is given its
-- answer. A request that needs no session is nobody's. The passwords are Argon2id hashes, in a JSON array.
ALTER TABLE requests ADD COLUMN account INTEGER;
ALTER TABLE requests ADD COLUMN session BLOB CHECK (session IS NULL OR length(session) = 32);
ALTER TABLE requests ADD COLUMN passwords TEXT;

-- Of requests from before, the sender of a message is known. The others that belong to an account are forgotten: repeated,
-- they change nothing more, or are refused. So are logins, whose tokens are not kept.
UPDATE requests SET account = (SELECT sender FROM messages WHERE messages.id = answer ->> '$.message_sent.id');
DELETE FROM requests
    WHERE account IS NULL AND answer -> '$.account_created' IS NULL AND answer <> '"history_begun"';
