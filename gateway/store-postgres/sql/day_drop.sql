-- day_drop: drops the partitions of days that are past their time; $1 and $2 are the moments before
-- which metadata and bodies have to have ended.
SELECT messages, bodies FROM day_drop($1::bigint, $2::bigint)
