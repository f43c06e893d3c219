-- 0004 deaths. Adds only: what the statements of 0003 leave out stays right.

-- How many owners have died over it. Of a run: since its last step.
ALTER TABLE delivery ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0;

-- What somebody has died over is few, and is looked for beside any backlog.
CREATE INDEX delivery_deaths ON delivery (port, deaths) WHERE state = 0 AND deaths > 0;
CREATE INDEX run_deaths ON run (orchestration, state, deaths) WHERE deaths > 0;
