-- run_inbox_behind: the first $4 messages that wait for the run $1 behind the delivery $2, $3.
SELECT d.message, d.no, d.route FROM delivery d
WHERE d.run = $1 AND d.state + 0 = 5 AND d.route IS NOT NULL
  AND d.seq > (SELECT b.seq FROM delivery b WHERE b.message = $2 AND b.no = $3)
ORDER BY d.run, d.seq LIMIT $4::bigint
