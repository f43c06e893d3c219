-- fence_lock: contenders take turns. By itself, so that the statements after it see what the last one did.
SELECT FROM fence WHERE grp = $1 FOR UPDATE
