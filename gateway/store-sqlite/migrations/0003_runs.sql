-- 0003 runs. Adds only: what the statements of 0001 and 0002 leave out stays right.

-- Instances of orchestrations. state: 0 ready, 1 claimed, 2 waiting, 3 suspended, 4 completed, 5 terminated.
-- wakes counts what has come for it; a step rests only if it has seen all of them.
CREATE TABLE run (
  id BLOB PRIMARY KEY,
  orchestration TEXT NOT NULL,
  definition BLOB NOT NULL,
  state INTEGER NOT NULL,
  token INTEGER NOT NULL,         -- counts claims; a step presents it
  instance BLOB,                  -- who holds it, in state 1
  wakes INTEGER NOT NULL DEFAULT 0,
  due INTEGER,                    -- when time wakes it
  data BLOB,                      -- its state; NULL once it is over
  ordered TEXT,                   -- an operator's order that nobody has read
  ordered_wakes INTEGER NOT NULL DEFAULT 0, -- the count that it has made of `wakes`
  reason TEXT,                    -- why it is suspended or was terminated
  discarded INTEGER NOT NULL DEFAULT 0,
  started_at INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX run_ready ON run (orchestration, changed_at) WHERE state = 0;
CREATE INDEX run_due ON run (orchestration, due) WHERE state = 2 AND due IS NOT NULL;
CREATE INDEX run_claimed ON run (instance) WHERE state = 1;
CREATE INDEX run_listed ON run (orchestration, definition, state, id);
CREATE INDEX run_over ON run (changed_at) WHERE state >= 4;

-- By which keys messages find a run. One run has a key.
CREATE TABLE subscription (
  orchestration TEXT NOT NULL,
  key BLOB NOT NULL,
  run BLOB NOT NULL,
  PRIMARY KEY (orchestration, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX subscription_run ON subscription (run);

-- Definitions that runs are bound to, with what they were compiled against.
CREATE TABLE definition (
  orchestration TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  text TEXT NOT NULL,
  kept_at INTEGER NOT NULL,
  PRIMARY KEY (orchestration, fingerprint)
) STRICT;

-- State 5: with a run. In its inbox while it has a route, kept by it without.
ALTER TABLE delivery ADD COLUMN run BLOB;
ALTER TABLE delivery ADD COLUMN route TEXT;
CREATE INDEX delivery_run ON delivery (run, seq) WHERE run IS NOT NULL;

-- A run that waits for what becomes of the message of a request. Whatever that is, it wakes the run, also when an
-- operator does it; messages of nobody's request pay nothing for it.
ALTER TABLE exchange ADD COLUMN run BLOB;
-- Work that a program does under a lease. Once the program has answered with its token, nothing is leased.
ALTER TABLE exchange ADD COLUMN lease INTEGER;        -- how long it is
ALTER TABLE exchange ADD COLUMN lease_until INTEGER;
ALTER TABLE exchange ADD COLUMN attempt INTEGER;      -- which attempt has it
ALTER TABLE exchange ADD COLUMN token BLOB;           -- of all of its attempts
CREATE INDEX exchange_run ON exchange (run) WHERE run IS NOT NULL;
CREATE INDEX exchange_asked ON exchange (message) WHERE run IS NOT NULL;
CREATE TRIGGER exchange_answered AFTER UPDATE OF answered_at ON exchange
WHEN NEW.run IS NOT NULL AND NEW.answered_at IS NOT NULL AND OLD.answered_at IS NULL BEGIN
  UPDATE run SET wakes = wakes + 1, state = CASE state WHEN 2 THEN 0 ELSE state END
  WHERE id = NEW.run AND state < 4;
END;
CREATE TRIGGER delivery_ended AFTER DELETE ON delivery WHEN OLD.exchange IS NOT NULL BEGIN
  UPDATE run SET wakes = wakes + 1, state = CASE state WHEN 2 THEN 0 ELSE state END
  WHERE id = (SELECT run FROM exchange WHERE id = OLD.exchange) AND state < 4;
END;
CREATE TRIGGER delivery_suspended AFTER UPDATE OF state ON delivery
WHEN NEW.state = 3 AND NEW.exchange IS NOT NULL BEGIN
  UPDATE run SET wakes = wakes + 1, state = CASE state WHEN 2 THEN 0 ELSE state END
  WHERE id = (SELECT run FROM exchange WHERE id = NEW.exchange) AND state < 4;
END;
