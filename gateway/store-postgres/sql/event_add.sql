-- event_add
INSERT INTO cluster_event
  (stored_at, at, lasted_us, epoch, grp, node, from_state, to_state, cause, evidence)
VALUES (now_us(), $1, $2, $3, $4, $5, $6, $7, $8, $9)
