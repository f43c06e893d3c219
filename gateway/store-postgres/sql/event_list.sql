-- event_list: newest first.
SELECT no, stored_at, at, lasted_us, epoch, grp, node, from_state, to_state, cause, evidence
FROM cluster_event
WHERE ($1::text IS NULL OR grp = $1) AND ($2::text IS NULL OR node = $2)
ORDER BY no DESC LIMIT $3::bigint
