-- instance_list: instances that are live or still named by a claim, oldest first.
SELECT id, node, hosts, is_live, since, claims FROM (
  SELECT i.id, i.node, i.hosts, i.state = 0 AND s.live = 1 AS is_live, i.since,
    (SELECT count(*) FROM delivery d WHERE d.state = 1 AND d.instance = i.id) AS claims
  FROM instance i JOIN session s ON s.id = i.session)
WHERE is_live OR claims > 0 ORDER BY since, id
