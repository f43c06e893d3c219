-- 0001 initial. All times are microseconds since the epoch by the store's clock.

-- Versions applied. Written by `migrate` alone.
CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at INTEGER NOT NULL) STRICT;

-- A node's lease on being alive. seq rises with each renewal.
CREATE TABLE session (
  id BLOB PRIMARY KEY,
  node TEXT NOT NULL,
  live INTEGER NOT NULL DEFAULT 1,
  seq INTEGER NOT NULL DEFAULT 0,
  ttl_us INTEGER NOT NULL,
  lease_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One run of a process. state: 0 live, 1 ended. Renewals never touch it.
CREATE TABLE instance (
  id BLOB PRIMARY KEY,
  session BLOB NOT NULL,
  state INTEGER NOT NULL DEFAULT 0,
  node TEXT NOT NULL,
  hosts TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What only one may do. epoch rises with each take and never falls; grant_id tells two takes apart.
CREATE TABLE fence (
  grp TEXT PRIMARY KEY,
  epoch INTEGER NOT NULL,
  grant_id BLOB,
  instance BLOB
) STRICT, WITHOUT ROWID;

-- Messages: inserted once by publish, never changed, removed by retention.
CREATE TABLE message (
  id BLOB PRIMARY KEY,
  slot INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  stored_at INTEGER NOT NULL,
  origin TEXT NOT NULL,
  type TEXT,
  context TEXT NOT NULL,          -- JSON of the context
  config_version INTEGER NOT NULL,
  fanout INTEGER NOT NULL,        -- how many deliveries it had at birth
  exchange BLOB                   -- the request it opened
) STRICT, WITHOUT ROWID;

-- Parts of messages; no 0 is the body. bytes is NULL when the part is kept in chunks, or was removed.
-- A table with rowid: WITHOUT ROWID trees carry no large rows well.
CREATE TABLE part (
  message BLOB NOT NULL,
  no INTEGER NOT NULL,
  name TEXT NOT NULL,
  content_type TEXT,
  len INTEGER NOT NULL,
  bytes BLOB,
  body BLOB,                      -- body.id of a part in chunks
  PRIMARY KEY (message, no)
) STRICT;

-- Live deliveries only: inserted by publish, deleted when they end.
-- state: 0 ready and due, 1 claimed, 2 held (behind its key), 3 suspended, 4 ready but not due yet.
-- 4 is apart from 0 so that a claim never walks over deliveries that wait for their next attempt.
-- A skipped delivery of an ordered port has lost lane and order_key: nothing waits for it any more.
CREATE TABLE delivery (
  message BLOB NOT NULL,
  no INTEGER NOT NULL,
  seq INTEGER NOT NULL,           -- order of acceptance in this box; resumed deliveries keep it
  slot INTEGER NOT NULL,
  port TEXT NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  rank INTEGER NOT NULL,          -- due plus the shift of the priority: the order of claims
  due INTEGER NOT NULL,
  transport INTEGER NOT NULL DEFAULT 0,  -- 0 primary, 1 backup
  attempts INTEGER NOT NULL DEFAULT 0,   -- of that transport
  token INTEGER NOT NULL DEFAULT 0,      -- counts claims; a claim presents it
  instance BLOB,                  -- who holds it, in state 1
  in_doubt INTEGER NOT NULL DEFAULT 0,   -- an attempt may have had its effect
  lane INTEGER,                   -- ordered ports only
  order_key BLOB,
  rendered TEXT,
  failure TEXT,                   -- JSON of the last failure
  exchange BLOB,
  PRIMARY KEY (message, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_ready ON delivery (port, rank) WHERE state = 0;
CREATE INDEX delivery_waiting ON delivery (port, due) WHERE state = 4;
CREATE INDEX delivery_claimed ON delivery (instance) WHERE state = 1;
-- Held and suspended ones are few or cold; operators look for them.
CREATE INDEX delivery_parked ON delivery (port, state) WHERE state IN (2, 3);
-- The live deliveries of one key in their order. Rows of unordered ports are not in it and pay nothing.
CREATE INDEX delivery_order ON delivery (port, order_key, seq) WHERE order_key IS NOT NULL;

-- box: the last number given to delivery.seq and history.id, one number space for both.
-- swept_bodies, swept_messages: up to which history.id retention has looked.
-- probe: how often readiness has asked whether the store takes writes.
CREATE TABLE sequence (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO sequence VALUES
  ('box', 0), ('control', 0), ('probe', 0), ('swept_bodies', 0), ('swept_messages', 0);

-- Ordered ports. A lane is owned by one instance at a time; worth nothing when that is not live.
CREATE TABLE lane (
  port TEXT NOT NULL,
  no INTEGER NOT NULL,
  instance BLOB,
  epoch INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (port, no)
) STRICT, WITHOUT ROWID;
-- A key that has held deliveries. They come back, in batches, when the delivery with head_seq leaves the
-- order; it is alive and stands before all of them.
CREATE TABLE order_key (
  port TEXT NOT NULL,
  key BLOB NOT NULL,
  head_seq INTEGER NOT NULL,
  PRIMARY KEY (port, key)
) STRICT, WITHOUT ROWID;

-- Dedupe keys, in slices of one window length each: a key lives in its slice and is looked for in that
-- and the previous one. slice = window in seconds << 32 | number of the slice.
CREATE TABLE dedupe (
  slice INTEGER NOT NULL,
  key BLOB NOT NULL,
  fingerprint BLOB NOT NULL,
  message BLOB NOT NULL,
  stored_at INTEGER NOT NULL,
  exchange BLOB,
  PRIMARY KEY (slice, key)
) STRICT, WITHOUT ROWID;

-- What became of messages: one row per event. Ended deliveries, replays, operators' deeds. Retention walks
-- it by id, once: the last end of a message is the row by which the message goes.
CREATE TABLE history (
  id INTEGER PRIMARY KEY,         -- from sequence 'box'
  message BLOB NOT NULL,
  at INTEGER NOT NULL,
  no INTEGER,
  event TEXT NOT NULL,
  port TEXT,
  attempts INTEGER NOT NULL,
  token INTEGER,                  -- of the claim that ended it: tells a rerun from a stale owner
  detail TEXT NOT NULL
) STRICT;
CREATE INDEX history_message ON history (message);

-- Large bodies. state: 0 open (its instance writes chunks), 1 sealed (a message names it), 2 abandoned.
CREATE TABLE body (
  id BLOB PRIMARY KEY,
  instance BLOB NOT NULL,
  state INTEGER NOT NULL,
  chunks INTEGER NOT NULL DEFAULT 0,
  len INTEGER NOT NULL DEFAULT 0,
  sha256 BLOB,
  opened_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX body_unsealed ON body (state) WHERE state <> 1;
CREATE TABLE chunk (
  body BLOB NOT NULL,
  no INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (body, no)
) STRICT;

-- Requests that wait for an answer. answered_at is NULL until the one answer comes.
CREATE TABLE exchange (
  id BLOB PRIMARY KEY,
  message BLOB NOT NULL,
  keep_until INTEGER NOT NULL,
  answered_at INTEGER,
  status INTEGER,
  content_type TEXT,
  bytes BLOB
) STRICT;
CREATE INDEX exchange_keep ON exchange (keep_until);

-- Marks at sources, committed with their message, removed when the adapter has cleaned up.
CREATE TABLE source (
  location TEXT NOT NULL,
  key TEXT NOT NULL,
  state TEXT NOT NULL,
  message BLOB NOT NULL,
  stored_at INTEGER NOT NULL,
  PRIMARY KEY (location, key)
) STRICT, WITHOUT ROWID;
-- Leases of adapters on parts of their sources; worth nothing when the instance is not live.
CREATE TABLE source_lease (key TEXT PRIMARY KEY, instance BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- Operators' word about ports and locations: JSON of the control. version from sequence 'control'.
CREATE TABLE control (
  name TEXT PRIMARY KEY,
  control TEXT NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Applied configurations; the newest version is in force.
CREATE TABLE config (
  version INTEGER PRIMARY KEY,
  hash TEXT NOT NULL,
  text TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT;
