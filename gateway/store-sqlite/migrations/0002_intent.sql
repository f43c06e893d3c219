-- 0002 intent. Adds only: what the statements of 0001 leave out stays right.

-- The token of a claim under which nothing was sent yet. A claim under any other token is an intent to send:
-- so are the claims of programs that do not know this column, because each claim counts the token up.
ALTER TABLE delivery ADD COLUMN unsent INTEGER NOT NULL DEFAULT 0;

-- How many lanes the keys of an ordered port fall into, the same for all who publish to it.
CREATE TABLE ordered_port (port TEXT PRIMARY KEY, lanes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
