-- Of the two sides of a direct conversation the lower number's conversations lie side by side in the index of the messages, where
-- they are found: its row, and that of an account which writes to itself, is kept once it says what was seen. The first message of a
-- conversation changes two pages, each at another place of the file, where there were three.
DELETE FROM members
    WHERE seen_up_to = 0 AND shown_up_to = 0 AND substr(conversation, 1, 8) = unhex(printf('%016x', account));
