-- lanes_lock: who fixes the lanes of a port takes turns.
SELECT lanes FROM ordered_port WHERE port = $1 FOR UPDATE
