-- history_resubmitted: of a message that is still there; an event of one that is gone would stay.
INSERT INTO history (at, message, event, attempts, detail)
SELECT now_us(), id, 'resubmitted', 0, $2::text FROM message WHERE id = $1
RETURNING message
