-- session_delete: not before a day: a process that sleeps must find that its session is gone for good.
DELETE FROM session s
WHERE NOT s.live AND s.lease_until < now_us() - 86400000000
  AND NOT EXISTS (SELECT FROM instance i WHERE i.session = s.id)
