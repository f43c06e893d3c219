-- dedupe_retract: takes back what a loser wrote into the slice beside the winner's.
DELETE FROM dedupe d USING unnest($1::bytea[], $2::bigint[], $3::uuid[]) AS k(key, slice, message)
WHERE d.slice IN (k.slice - 1, k.slice, k.slice + 1) AND d.key = k.key AND d.message = k.message
