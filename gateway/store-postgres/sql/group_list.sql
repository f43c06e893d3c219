-- group_list: every group that has a fence or of which something was said, and who owns it, live or not. A drill that
-- nobody has begun for $1 microseconds is not ordered any more.
SELECT g.name, coalesce(f.epoch, 0) AS epoch,
       i.id AS instance, i.node, i.session, f.grant_id, coalesce(i.state = 0 AND s.live, false) AS live,
       coalesce(c.online, true) AS online, coalesce(c.paused, false) AS paused, c.pinned,
       coalesce(c.clears, 0) AS clears,
       CASE WHEN c.order_no > c.answered_no AND (NOT c.order_kill OR c.drill_at > now_us() - $1::bigint)
            THEN c.order_no END AS order_no, c.order_to, c.order_at,
       CASE WHEN c.order_kill THEN c.order_no END AS drill_no,
       c.offered_to, now_us() - c.offered_at AS offered_us, now_us() - c.failed_at AS failed_us
FROM (SELECT substr(grp, 6) AS name FROM fence WHERE grp LIKE 'host.%'
      UNION SELECT name FROM cluster_group
      UNION SELECT grp FROM cluster_report) g
LEFT JOIN cluster_group c ON c.name = g.name
LEFT JOIN fence f ON f.grp = 'host.' || g.name
LEFT JOIN instance i ON i.id = f.instance
LEFT JOIN session s ON s.id = i.session
ORDER BY g.name
