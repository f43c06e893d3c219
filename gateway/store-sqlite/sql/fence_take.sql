-- fence_take: gives the fence ?1 to instance ?3 under grant ?2. The epoch rises and never repeats: the row
-- stays when the fence is given back, and a restore leaves a number that a new one begins above.
INSERT INTO fence (grp, epoch, grant_id, instance)
VALUES (?1, 1 + coalesce((SELECT value FROM sequence WHERE name = 'epoch'), 0), ?2, ?3)
ON CONFLICT (grp) DO UPDATE SET epoch = epoch + 1, grant_id = excluded.grant_id,
  instance = excluded.instance
RETURNING epoch
