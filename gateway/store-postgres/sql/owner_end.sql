-- owner_end: ends the owner of fence $1 if it died with its session. Waits for the batches that it has open.
-- Later ones find that they are fenced, also those whose view of its session is older than the end of that.
UPDATE instance i SET state = 1
FROM fence f, session s
WHERE f.grp = $1 AND i.id = f.instance AND i.state = 0 AND s.id = i.session AND NOT s.live
