-- run_kept: what each of the runs $1 has consumed and keeps.
SELECT r.id AS run, d.message, d.no FROM unnest($1::uuid[]) AS r(id)
CROSS JOIN LATERAL (
  SELECT message, no, seq FROM delivery WHERE run = r.id AND state + 0 = 5 AND route IS NULL OFFSET 0) d
ORDER BY r.id, d.seq
