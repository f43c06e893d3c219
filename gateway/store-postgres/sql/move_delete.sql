-- move_delete: those that count no more.
DELETE FROM cluster_move WHERE at <= (SELECT now_us() - $1::bigint)
