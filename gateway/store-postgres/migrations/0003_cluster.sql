-- 0003 cluster. Adds only: what the statements of 0002 leave out stays right, so that a program that knows
-- nothing of it works on beside one that does. A session that such a program has expired is not counted as
-- lost, and what it changes wakes no listener: agents poll as well.

-- All that is changed, in the order in which work statements lock it: with one table in hand and the next one wanted, this
-- and the traffic of the version before would wait for each other, try after try.
LOCK TABLE instance, session, delivery IN ACCESS EXCLUSIVE MODE;

-- That of a node's agent; other processes have sessions of their own.
ALTER TABLE session ADD COLUMN agent boolean NOT NULL DEFAULT false;
-- When another node ended it; NULL for a session that ended at its own wish.
ALTER TABLE session ADD COLUMN expired_at bigint;
-- Both are of columns that no renewal touches.
CREATE INDEX session_live ON session (node) WHERE live;
CREATE INDEX session_expired ON session (node, expired_at) WHERE expired_at IS NOT NULL;

-- What operators say about nodes. A node has a row from its first look on.
CREATE TABLE cluster_node (
  name text PRIMARY KEY,
  drained boolean NOT NULL DEFAULT false,
  cleared_at bigint NOT NULL DEFAULT 0     -- sessions lost before count no more
);

-- What operators and agents say about groups, by the host's name. Who owns one stands in `fence`, under
-- 'host.' and that name. order_no counts the orders to move; answered_no is the last one dealt with.
CREATE TABLE cluster_group (
  name text PRIMARY KEY,
  online boolean NOT NULL DEFAULT true,
  paused boolean NOT NULL DEFAULT false,
  pinned text,
  clears bigint NOT NULL DEFAULT 0,
  order_no bigint NOT NULL DEFAULT 0,
  order_to text,
  order_at bigint,                -- microseconds; not before this moment
  order_kill boolean NOT NULL DEFAULT false, -- a drill: the process is killed
  drill_at bigint,                -- when that was ordered; the move that follows is not counted
  answered_no bigint NOT NULL DEFAULT 0,
  refused text,                   -- why the order answered_no was not followed
  offered_to text,
  offered_at bigint,
  failed_at bigint
) WITH (fillfactor = 50);

-- Moves of groups because of a fault, kept for a day.
CREATE TABLE cluster_move (grp text NOT NULL, at bigint NOT NULL);
CREATE INDEX cluster_move_at ON cluster_move (at);

-- What each node last reported about its processes of each group, under its session of that time: with that
-- session the report is dead. The text is JSON.
CREATE TABLE cluster_report (
  grp text NOT NULL,
  node text NOT NULL,
  session uuid NOT NULL,
  report text NOT NULL,
  at bigint NOT NULL,
  PRIMARY KEY (grp, node)
) WITH (fillfactor = 50);

-- Changes of state of groups on nodes, and what operators said, which has no states: kept as long as history is.
-- at is by the node's clock. Of a word the node is the one through which it was said, or which it is about; then
-- grp is NULL.
CREATE TABLE cluster_event (
  no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stored_at bigint NOT NULL,
  at bigint NOT NULL,
  lasted_us bigint NOT NULL,
  epoch bigint,
  grp text,
  node text NOT NULL,
  from_state text NOT NULL,
  to_state text NOT NULL,
  cause text NOT NULL,
  evidence text[] NOT NULL
);

-- Deliveries in doubt. begun: when the send under the claim in hand began; NULL for one that was born claimed,
-- whose message says it. doubt: JSON of the owner that died while it sent it. What a program that does not know
-- them has sent is listed with the time of an earlier claim, or that of its message.
ALTER TABLE delivery ADD COLUMN begun bigint;
ALTER TABLE delivery ADD COLUMN doubt text;
CREATE INDEX delivery_doubt ON delivery (message, no) WHERE in_doubt;
-- The epoch in which a process of an agent has its host.
ALTER TABLE instance ADD COLUMN epoch bigint;
