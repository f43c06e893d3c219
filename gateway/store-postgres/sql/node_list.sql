-- node_list: every node, and how many microseconds ago its agent lost sessions, the last one first.
SELECT n.name, n.drained,
       ARRAY(SELECT now_us() - s.expired_at FROM session s
             WHERE s.node = n.name AND s.agent
               AND s.expired_at > (SELECT greatest(n.cleared_at, now_us() - $1::bigint))
             ORDER BY s.expired_at DESC) AS lost
FROM cluster_node n ORDER BY n.name
