-- move_list: how many microseconds ago groups moved because of a fault, the last one first.
SELECT grp, now_us() - at AS age FROM cluster_move
WHERE at > (SELECT now_us() - $1::bigint) ORDER BY grp, at DESC
