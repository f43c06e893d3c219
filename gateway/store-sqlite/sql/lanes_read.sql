-- lanes_read: how many lanes port ?1 has.
SELECT lanes FROM ordered_port WHERE port = ?1
