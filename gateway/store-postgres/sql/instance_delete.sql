-- instance_delete: rows of the dead that own nothing any more, a day after they began. OFFSET: see order_busy.
DELETE FROM instance i USING session s
WHERE s.id = i.session AND (i.state <> 0 OR NOT s.live) AND i.since < now_us() - 86400000000
  AND NOT EXISTS (SELECT FROM delivery d WHERE d.state = 1 AND d.instance = i.id OFFSET 0)
