-- event_delete: from the oldest on, up to the first that is kept.
DELETE FROM cluster_event WHERE no IN
  (SELECT no FROM (SELECT no, stored_at FROM cluster_event ORDER BY no LIMIT $2::bigint) first
   WHERE stored_at < $1)
