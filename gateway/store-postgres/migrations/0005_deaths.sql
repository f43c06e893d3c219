-- 0005 deaths. Adds only: what the statements of 0004 leave out stays right.

-- All that is changed, in the order in which work locks it.
LOCK TABLE delivery, run IN ACCESS EXCLUSIVE MODE;

-- How many owners have died over it. Of a run: since its last step.
ALTER TABLE delivery ADD COLUMN deaths smallint NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN deaths smallint NOT NULL DEFAULT 0;

-- What somebody has died over is few, and is looked for beside any backlog.
CREATE INDEX delivery_deaths ON delivery (port, deaths) WHERE state = 0 AND order_key IS NULL AND deaths > 0;
CREATE INDEX run_deaths ON run (orchestration, state, deaths) WHERE deaths > 0;
