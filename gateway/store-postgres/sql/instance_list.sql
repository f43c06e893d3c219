-- instance_list
SELECT * FROM (
  SELECT i.id, i.node, i.hosts, i.state = 0 AND s.live AS live, i.since,
         (SELECT count(*) FROM delivery d WHERE d.state = 1 AND d.instance = i.id) AS claims
  FROM instance i JOIN session s ON s.id = i.session) i
WHERE live OR claims > 0
ORDER BY since, id
