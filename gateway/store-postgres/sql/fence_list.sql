-- fence_list: every fence that was ever taken, and who has it if that one is live.
SELECT f.grp, f.epoch, live.id, live.node FROM fence f
LEFT JOIN (SELECT i.id, i.node FROM instance i JOIN session s ON s.id = i.session
           WHERE i.state = 0 AND s.live) live ON live.id = f.instance
WHERE f.epoch > 0
ORDER BY f.grp
