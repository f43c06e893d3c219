-- config_newest: the configuration in force.
SELECT version, hash FROM config ORDER BY version DESC LIMIT 1
