-- restored_sessions: nodes whose sessions may be in use, how long the last of them still lasts in microseconds, and whether
-- a session of the store lasts longer than sessions can: then the clock of the database is behind that of the backup.
SELECT coalesce(array_agg(DISTINCT s.node ORDER BY s.node) FILTER (WHERE s.live AND s.lease_until >= c.now), '{}') AS nodes,
       coalesce(max(s.lease_until - c.now) FILTER (WHERE s.live AND s.lease_until >= c.now), 0) AS lasts,
       coalesce(bool_or(s.lease_until - c.now > s.ttl_us), false) AS ahead
FROM (SELECT now_us() AS now) c LEFT JOIN session s ON true
