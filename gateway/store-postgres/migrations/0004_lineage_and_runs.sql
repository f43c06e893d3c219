-- 0004 lineage and runs. Adds only: what the statements of 0003 leave out stays right, so that a program that knows
-- nothing of it works on beside one that does. Such a program starts on a copy that nobody has released.

-- As work locks it: no transaction that has read it may have to wait behind this one to write it.
LOCK TABLE fence IN ACCESS EXCLUSIVE MODE;

-- One row: where this store lies, and what restores have made of its epochs. Written by `restored` alone.
CREATE TABLE lineage (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  place text NOT NULL,            -- place() where it was made, or last released: another one is a copy
  base bigint NOT NULL,           -- what the timelines of epochs stand above those of the database
  least_epoch bigint NOT NULL,    -- no fence begins below
  restored_at bigint
);

-- Where the store lies. Standbys, promotions and a new name of the database change none of it; of a dump that is
-- restored the table is another one, of a copy by CREATE DATABASE the database, of pg_upgrade the system.
CREATE FUNCTION place() RETURNS text LANGUAGE sql STABLE AS
$$ SELECT concat_ws('.', c.system_identifier, d.oid, 'lineage'::regclass::oid)
   FROM pg_control_system() c, pg_database d WHERE d.datname = current_database() $$;

INSERT INTO lineage (place, base, least_epoch) VALUES (place(), 0, 0);

-- The timeline of epochs: that of the WAL, and the base of the last restore, so that a promotion after it still counts.
CREATE OR REPLACE FUNCTION timeline() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint + l.base FROM lineage l $$;

-- A fence that the backup did not have begins where the others were raised to.
CREATE FUNCTION fence_least() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.epoch := greatest(NEW.epoch, (SELECT l.least_epoch FROM lineage l));
  RETURN NEW;
END $$;
CREATE TRIGGER fence_least BEFORE INSERT ON fence FOR EACH ROW EXECUTE FUNCTION fence_least();

-- Runs. What a program that knows nothing of them ends, suspends or answers wakes them as well: triggers do it.

-- All that is changed, in the order in which work locks it.
LOCK TABLE delivery, exchange IN ACCESS EXCLUSIVE MODE;

-- Instances of orchestrations. state: 0 ready, 1 claimed, 2 waiting, 3 suspended, 4 completed, 5 terminated. What is
-- indexed changes with the state alone, so that steps of a run that stays in hand are HOT. A step locks its run before
-- anything else of it, and nobody who holds a delivery, a key or an exchange that a step may want waits for a run: see
-- run_wake.
CREATE TABLE run (
  id uuid PRIMARY KEY,
  started_at bigint NOT NULL,
  changed_at bigint NOT NULL,     -- its last step
  since bigint NOT NULL,          -- when it came to its state; the order of claims, and of retention
  due bigint,                     -- when time wakes it
  wakes bigint NOT NULL DEFAULT 0, -- counts what wakes it: who has seen the last one may let it rest
  ordered_wakes bigint NOT NULL DEFAULT 0, -- the count that the order in `ordered` has made
  token integer NOT NULL,         -- counts claims; a step presents it
  discarded integer NOT NULL DEFAULT 0,
  state smallint NOT NULL,
  instance uuid,                  -- who works on it, in state 1
  orchestration text NOT NULL,
  definition bytea NOT NULL,
  reason text,                    -- why it is suspended or was terminated
  ordered text,                   -- the operator's order
  data bytea                      -- its state in the words of the engine; NULL once it is over
) WITH (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0
);
-- Whoever looks for work meets no run that waits for something else than time, however many there are.
CREATE INDEX run_ready ON run (orchestration, since) WHERE state = 0;
CREATE INDEX run_due ON run (orchestration, due) WHERE state = 2 AND due IS NOT NULL;
CREATE INDEX run_claimed ON run (instance) WHERE state = 1;
CREATE INDEX run_ended ON run (since) WHERE state >= 4;
-- Lists and counts, and which definitions are in use: by hops from one to the next.
CREATE INDEX run_list ON run (orchestration, definition, state, id);

-- What has happened to a run that waits, until the next claim of anybody brings it there. Rows of their own: an update of
-- the run would make two batches that wake the same two runs, or a sender that answers a run which just ends, wait for
-- each other; and a step of a run would hold up whoever wakes it.
CREATE TABLE run_wake (no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, run uuid NOT NULL) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);

-- Under which keys messages find a run. Who enters by a key locks its row FOR KEY SHARE; who ends the run deletes the
-- row first and then looks into the inbox: nobody comes later.
CREATE TABLE subscription (
  orchestration text NOT NULL,
  key bytea NOT NULL,
  run uuid NOT NULL,
  PRIMARY KEY (orchestration, key)
);
CREATE INDEX subscription_run ON subscription (run);

-- Definitions of orchestrations that runs are bound to.
CREATE TABLE definition (
  orchestration text NOT NULL,
  fingerprint bytea NOT NULL,
  kept_at bigint NOT NULL,        -- the last time that somebody began to work with it
  text text NOT NULL,
  PRIMARY KEY (orchestration, fingerprint)
);

-- A delivery in state 5 is with a run: in its inbox while it has a route, kept for it once it has none.
ALTER TABLE delivery ADD COLUMN run uuid;
ALTER TABLE delivery ADD COLUMN route text;
CREATE INDEX delivery_run ON delivery (run, seq) WHERE run IS NOT NULL;
-- Which run waits for what becomes of the message.
ALTER TABLE exchange ADD COLUMN run uuid;
-- Work that a program does under a lease. Once the program has answered with its token, nothing is leased.
ALTER TABLE exchange ADD COLUMN lease bigint;       -- how long it is
ALTER TABLE exchange ADD COLUMN lease_until bigint;
ALTER TABLE exchange ADD COLUMN attempt integer;    -- which attempt has it
ALTER TABLE exchange ADD COLUMN token uuid;         -- of all of its attempts
CREATE INDEX exchange_run ON exchange (run) WHERE run IS NOT NULL;

-- The conditions of the triggers are looked at before any of them is called: what has no exchange pays nothing.
CREATE FUNCTION wake_answered() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_wake (run) VALUES (NEW.run);
  RETURN NULL;
END $$;
CREATE TRIGGER run_answered AFTER UPDATE OF answered_at ON exchange
FOR EACH ROW WHEN (NEW.run IS NOT NULL) EXECUTE FUNCTION wake_answered();

-- A message that has nobody, or is suspended from birth, has come to its end before its exchange is there.
CREATE FUNCTION wake_stillborn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_wake (run)
  SELECT NEW.run
  WHERE coalesce((SELECT bool_or(d.state = 3) FROM delivery d WHERE d.message = NEW.message), true);
  RETURN NULL;
END $$;
CREATE TRIGGER run_stillborn AFTER INSERT ON exchange
FOR EACH ROW WHEN (NEW.run IS NOT NULL) EXECUTE FUNCTION wake_stillborn();

CREATE FUNCTION wake_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO run_wake (run)
  SELECT x.run FROM exchange x WHERE x.id = OLD.exchange AND x.run IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER run_delivered AFTER DELETE ON delivery
FOR EACH ROW WHEN (OLD.exchange IS NOT NULL) EXECUTE FUNCTION wake_delivery();
CREATE TRIGGER run_suspended AFTER UPDATE OF state ON delivery
FOR EACH ROW WHEN (NEW.state = 3 AND NEW.exchange IS NOT NULL) EXECUTE FUNCTION wake_delivery();

-- Takes keys from the run $1 and gives it others, in one ascending order, so that two runs that exchange their keys do
-- not wait for each other. Gives another run that has one of them.
CREATE FUNCTION run_keys(me uuid, fewer bytea[], more bytea[]) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
  of text;
  its bytea;
  by_run uuid;
BEGIN
  SELECT r.orchestration INTO of FROM run r WHERE r.id = me;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  FOR its IN SELECT k FROM unnest(fewer || more) AS u(k) GROUP BY k ORDER BY k LOOP
    IF its = ANY (more) THEN
      LOOP
        INSERT INTO subscription (orchestration, key, run) VALUES (of, its, me) ON CONFLICT DO NOTHING;
        EXIT WHEN FOUND;
        SELECT s.run INTO by_run FROM subscription s WHERE s.orchestration = of AND s.key = its;
        EXIT WHEN by_run = me;
        IF by_run IS NOT NULL THEN
          RETURN by_run;
        END IF;
      END LOOP;
    ELSE
      DELETE FROM subscription s WHERE s.orchestration = of AND s.key = its AND s.run = me;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;
