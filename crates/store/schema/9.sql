-- The newest message of a conversation is found in `messages`, by the index that each message goes into anyway: one page that is
-- changed by a message of a conversation that goes on, where there were three, each at another place of the file.
ALTER TABLE members DROP COLUMN newest;
