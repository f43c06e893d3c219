-- restored_lineage: the store lies here from now on, its timelines are $1 above those of the database, and no fence begins
-- below $2.
WITH raised AS (
  UPDATE fence SET epoch = greatest(epoch, $2::bigint), grant_id = NULL, instance = NULL
)
UPDATE lineage SET place = place(), base = base + $1::bigint, least_epoch = $2::bigint, restored_at = now_us()
