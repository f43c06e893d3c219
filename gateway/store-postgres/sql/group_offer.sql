-- group_offer: of a group whose owner is dead or about to be. $3: what follows within $4 microseconds is no fault.
INSERT INTO cluster_group AS c (name, offered_to, offered_at, drill_at)
VALUES ($1, $2, now_us(), CASE WHEN $3 THEN now_us() END)
ON CONFLICT (name) DO UPDATE
SET offered_to = excluded.offered_to, offered_at = excluded.offered_at,
    drill_at = coalesce(excluded.drill_at, c.drill_at),
    -- A drill that was never begun is not ordered again by that.
    order_kill = c.order_kill AND (NOT $3 OR c.order_no <= c.answered_no OR c.drill_at > now_us() - $4::bigint)
RETURNING pg_notify('quayside_cluster', '')
