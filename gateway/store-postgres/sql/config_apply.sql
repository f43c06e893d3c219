-- config_apply: the caller holds the table's lock, so that two appliers do not take the same version.
WITH newest AS (SELECT version, hash FROM config ORDER BY version DESC LIMIT 1),
added AS (
  INSERT INTO config (version, hash, text, applied_at)
  SELECT coalesce((SELECT version FROM newest), 0) + 1, $1, $2, now_us()
  WHERE NOT EXISTS (SELECT FROM newest WHERE hash = $1)
  RETURNING version
)
SELECT version FROM added UNION ALL SELECT version FROM newest WHERE hash = $1
