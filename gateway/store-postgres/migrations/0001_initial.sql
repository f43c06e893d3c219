-- 0001 initial. All times are microseconds since the epoch by the database's clock.

-- Versions applied. Written by `migrate` alone.
CREATE TABLE schema_version (version integer PRIMARY KEY, applied_at bigint NOT NULL);

-- The database's clock. Volatile on purpose: wrap it in a scalar subquery where an index needs it.
CREATE FUNCTION now_us() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

-- The WAL timeline. pg_control_checkpoint() still names the old one right after a promotion.
CREATE FUNCTION timeline() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint $$;

-- A node's lease on being alive. seq rises with each renewal. Renewals change no indexed column.
CREATE TABLE session (
  id uuid PRIMARY KEY,
  node text NOT NULL,
  live boolean NOT NULL DEFAULT true,
  seq bigint NOT NULL DEFAULT 0,
  ttl_us bigint NOT NULL,
  lease_until bigint NOT NULL
) WITH (fillfactor = 50);

-- One run of a process. state: 0 live, 1 ended. UNIQUE (id, state) makes state a key column: ending an
-- instance waits for the key-share locks of its open transactions, and renewals never touch the row.
CREATE TABLE instance (
  id uuid PRIMARY KEY,
  session uuid NOT NULL,
  state smallint NOT NULL DEFAULT 0,
  node text NOT NULL,
  hosts text NOT NULL,
  since bigint NOT NULL,
  UNIQUE (id, state)
) WITH (fillfactor = 50);

-- What only one may do. epoch rises with each take and never falls; grant_id tells two takes apart.
-- All that work statements compare are key columns.
CREATE TABLE fence (
  grp text PRIMARY KEY,
  epoch bigint NOT NULL,
  grant_id uuid,
  instance uuid,
  UNIQUE (grp, epoch, grant_id)
) WITH (fillfactor = 50);

-- Messages: inserted once by publish, never changed, removed by retention. One partition a day of the
-- id, which is time-ordered, so that a look-up by id prunes. body_len and content_type repeat those of
-- the body, so that lists outlive it.
CREATE TABLE message (
  id uuid PRIMARY KEY,
  received_at bigint NOT NULL,
  stored_at bigint NOT NULL,
  config_version bigint NOT NULL,
  body_len bigint NOT NULL,
  fanout integer NOT NULL,        -- how many deliveries it had at birth
  slot smallint NOT NULL,
  origin text NOT NULL,
  type text,
  context text NOT NULL,          -- JSON of the context
  content_type text,
  exchange uuid                   -- the request it opened
) PARTITION BY RANGE (id);

-- Parts of messages; no 0 is the body. bytes is NULL when the part is kept in chunks. EXTERNAL with the
-- toast_tuple_target of the partitions: up to 8 KiB inline, nothing is ever compressed.
CREATE TABLE part (
  message uuid NOT NULL,
  no integer NOT NULL,
  name text NOT NULL,
  content_type text,
  len bigint NOT NULL,
  bytes bytea,
  body uuid,                      -- body.id of a part in chunks
  PRIMARY KEY (message, no)
) PARTITION BY RANGE (message);
ALTER TABLE part ALTER COLUMN bytes SET STORAGE EXTERNAL;
CREATE INDEX part_chunked ON part (message) WHERE body IS NOT NULL;

-- Live deliveries only: inserted by publish, deleted when they end.
-- state: 0 ready, 1 claimed, 2 held (behind its key), 3 suspended.
CREATE TABLE delivery (
  message uuid NOT NULL,
  no integer NOT NULL,
  state smallint NOT NULL,
  priority smallint NOT NULL,
  transport smallint NOT NULL DEFAULT 0, -- 0 primary, 1 backup
  slot smallint NOT NULL,
  seq bigint NOT NULL,            -- order of acceptance in this box; resumed deliveries keep it
  rank bigint NOT NULL,           -- due plus the shift of the priority: the order of claims
  due bigint NOT NULL,
  attempts integer NOT NULL DEFAULT 0,   -- of that transport
  token integer NOT NULL DEFAULT 0,      -- counts claims; a claim presents it
  lane integer,                   -- ordered ports only
  in_doubt boolean NOT NULL DEFAULT false, -- an attempt may have had its effect
  instance uuid,                  -- who holds it, in state 1
  port text NOT NULL,
  order_key bytea,
  rendered text,
  failure text,                   -- JSON of the last failure
  exchange uuid,
  PRIMARY KEY (message, no)
) WITH (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0
);
-- Disjoint. By priority, so that a claim reads only what is due: with one index by rank it would walk
-- over everything that waits for a retry within the shift of the last priority.
CREATE INDEX delivery_ready ON delivery (port, priority, due) WHERE state = 0 AND order_key IS NULL;
CREATE INDEX delivery_ready_ordered ON delivery (port, lane, due, seq)
  WHERE state = 0 AND order_key IS NOT NULL;
CREATE INDEX delivery_claimed ON delivery (instance) WHERE state = 1;
-- Suspended and held ones are few or cold; operators look for them.
CREATE INDEX delivery_parked ON delivery (port, state, message, no) WHERE state IN (2, 3);
-- The head of a key is its first row here, whatever its state: no table of heads can go stale.
CREATE INDEX delivery_order ON delivery (port, order_key, seq) WHERE order_key IS NOT NULL;

-- CACHE 1: cached numbers would not follow the order of acceptance.
CREATE SEQUENCE delivery_seq CACHE 1;
CREATE SEQUENCE control_seq CACHE 1;

-- Ordered ports. A lane is owned by one instance at a time. Whoever claims from a lane or ends a
-- delivery of it locks its row first: otherwise a claim could park a row behind a head that is ending.
CREATE TABLE lane (
  port text NOT NULL,
  no integer NOT NULL,
  instance uuid,
  epoch bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (port, no)
) WITH (fillfactor = 50);

-- Dedupe keys, in slices of one window length each: a key lives in its slice and is looked for in that
-- and the previous one. slice = window in seconds << 32 | number of the slice.
CREATE TABLE dedupe (
  slice bigint NOT NULL,
  stored_at bigint NOT NULL,
  message uuid NOT NULL,
  exchange uuid,
  key bytea NOT NULL,
  fingerprint bytea NOT NULL,
  PRIMARY KEY (slice, key)
);

-- What became of messages: one row per event. Ended deliveries, replays, operators' deeds. One partition
-- a day of `at`. token is that of the claim that ended the delivery: a batch that is run again finds by
-- it that it was this very claim.
CREATE TABLE history (
  message uuid NOT NULL,
  at bigint NOT NULL,
  no integer,
  attempts integer NOT NULL,
  token integer,
  event text NOT NULL,
  port text,
  detail text NOT NULL
) PARTITION BY RANGE (at);
CREATE INDEX history_message ON history (message);

-- Large bodies. state: 0 open (its instance writes chunks), 1 sealed (a message names it), 2 abandoned.
CREATE TABLE body (
  id uuid PRIMARY KEY,
  instance uuid NOT NULL,
  state smallint NOT NULL,
  chunks integer NOT NULL DEFAULT 0,
  len bigint NOT NULL DEFAULT 0,
  sha256 bytea,
  opened_at bigint NOT NULL
);
CREATE INDEX body_unsealed ON body (state, id) WHERE state IN (0, 2);
CREATE TABLE chunk (
  body uuid NOT NULL,
  no integer NOT NULL,
  bytes bytea NOT NULL,
  PRIMARY KEY (body, no)
);
ALTER TABLE chunk ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- Requests that wait for an answer. answered_at is NULL until the one answer comes.
CREATE TABLE exchange (
  id uuid PRIMARY KEY,
  message uuid NOT NULL,
  keep_until bigint NOT NULL,
  answered_at bigint,
  status integer,
  content_type text,
  bytes bytea
);
CREATE INDEX exchange_keep ON exchange (keep_until);

-- Marks at sources, committed with their message, removed when the adapter has cleaned up.
CREATE TABLE source (
  location text NOT NULL,
  key text NOT NULL,
  state text NOT NULL,
  message uuid NOT NULL,
  stored_at bigint NOT NULL,
  PRIMARY KEY (location, key)
);
CREATE INDEX source_pending ON source (location, stored_at, message);
-- Leases of adapters on parts of their sources; worth nothing when the instance is not live.
CREATE TABLE source_lease (key text PRIMARY KEY, instance uuid NOT NULL);

-- Operators' word about ports and locations: JSON of the control. version from control_seq.
CREATE TABLE control (
  name text PRIMARY KEY,
  control text NOT NULL,
  changed_at bigint NOT NULL
);

-- Applied configurations; the newest version is in force.
CREATE TABLE config (
  version bigint PRIMARY KEY,
  hash text NOT NULL,
  text text NOT NULL,
  applied_at bigint NOT NULL
);

-- The first id of a day.
CREATE FUNCTION day_floor(day date) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT (lpad(to_hex((day - date '1970-01-01')::bigint * 86400000), 12, '0')
           || repeat('0', 20))::uuid $$;

-- Adds the partition of one day to one table, unless it is there. Built aside and attached: attaching
-- takes a lock that lets publishers pass, creating in place takes one that does not.
CREATE FUNCTION partition_add(parent text, day date, low text, high text, storage text)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  child text := parent || '_' || to_char(day, 'YYYYMMDD');
BEGIN
  IF to_regclass(child) IS NOT NULL THEN
    RETURN false;
  END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) %s', child, parent, storage);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                 parent, child, low, high);
  RETURN true;
END $$;

-- Adds the partitions of one day. Two that find a day missing take turns; neither makes a publisher wait.
CREATE FUNCTION day_add(day date) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = '10s' AS $$
DECLARE
  low text := day_floor(day)::text;
  high text := day_floor(day + 1)::text;
  midnight bigint := (day - date '1970-01-01')::bigint * 86400000000;
  wide text := 'WITH (toast_tuple_target = 8160)';
  added boolean;
BEGIN
  IF to_regclass('history_' || to_char(day, 'YYYYMMDD')) IS NOT NULL
     AND to_regclass('message_' || to_char(day, 'YYYYMMDD')) IS NOT NULL
     AND to_regclass('part_' || to_char(day, 'YYYYMMDD')) IS NOT NULL THEN
    RETURN false;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('quayside days'));
  added := partition_add('message', day, low, high, wide);
  added := partition_add('part', day, low, high, wide) OR added;
  added := partition_add('history', day, midnight::text, (midnight + 86400000000)::text, '') OR added;
  RETURN added;
END $$;

-- Drops partitions of days that are past their time and hold nothing live: one of each table at most in
-- a call. Nothing that has ended comes to life again and no id of a past day is new, so that a check
-- before the lock holds. Whoever has to wait behind the lock of the drop waits for 50 ms at most. A day
-- that still holds something live is left to the small deletes.
CREATE FUNCTION day_drop(metadata_before bigint, bodies_before bigint,
                         OUT messages bigint, OUT bodies bigint)
LANGUAGE plpgsql SET lock_timeout = '50ms' AS $$
DECLARE
  parent text;
  child text;
  day date;
  low uuid;
  high uuid;
  before bigint;
  rows bigint;
  alive bigint;
BEGIN
  messages := 0;
  bodies := 0;
  FOREACH parent IN ARRAY ARRAY['part', 'message', 'history'] LOOP
    before := CASE parent WHEN 'part' THEN bodies_before ELSE metadata_before END;
    SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD'), greatest(c.reltuples, 0)::bigint
    INTO child, day, rows
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(parent)
    ORDER BY c.relname LIMIT 1;
    -- A day of grace: ids carry the clock of the node that made them.
    CONTINUE WHEN child IS NULL OR (day + 2 - date '1970-01-01')::bigint * 86400000000 > before;
    low := day_floor(day);
    high := day_floor(day + 1);
    BEGIN
      IF parent = 'history' THEN
        EXECUTE format('SELECT 1 FROM %I h JOIN delivery d ON d.message = h.message LIMIT 1', child)
        INTO alive;
        CONTINUE WHEN alive IS NOT NULL;
      ELSE
        CONTINUE WHEN EXISTS (SELECT FROM delivery d WHERE d.message >= low AND d.message < high)
          OR EXISTS (SELECT FROM history h WHERE h.message >= low AND h.message < high AND h.at > before)
          OR EXISTS (SELECT FROM exchange x WHERE x.keep_until > now_us()
                     AND x.message >= low AND x.message < high)
          OR EXISTS (SELECT FROM part p WHERE p.message >= low AND p.message < high
                     AND p.body IS NOT NULL);
      END IF;
      EXECUTE format('DROP TABLE %I', child);
      IF parent = 'part' THEN
        bodies := bodies + rows;
      ELSIF parent = 'message' THEN
        messages := messages + rows;
      END IF;
    EXCEPTION WHEN lock_not_available THEN
      NULL; -- a reader is in the way: the next sweep tries again
    END;
  END LOOP;
END $$;
