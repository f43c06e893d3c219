-- 0004 deaths. Adds only: what the statements of 0003 leave out stays right.

-- How many owners have died over it. Of a run: since its last step.
ALTER TABLE delivery ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
