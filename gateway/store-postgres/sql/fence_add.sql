-- fence_add: a row to lock, for a group that was never taken. Waits for one who adds it now.
INSERT INTO fence (grp, epoch) VALUES ($1, 0) ON CONFLICT DO NOTHING
