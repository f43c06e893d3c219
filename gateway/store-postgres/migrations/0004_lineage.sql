-- 0004 lineage. Adds only: what the statements of 0003 leave out stays right, so that a program that knows
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
