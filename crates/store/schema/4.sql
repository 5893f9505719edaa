-- Which requests are forgotten: those with ids dated before this (milliseconds since 1970). It only grows, unless an operator
-- sets the time back. Unknown where the log was begun by a version that forgot by the times of entries; the first primary of
-- this version finds it out and says it in an entry, and until that entry is applied, entries are applied as that version did.
CREATE TABLE forgotten (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    before INTEGER
) STRICT;
INSERT INTO forgotten (only_row, before) VALUES (1, NULL);
