-- cluster_replicas: the standbys that follow, and whether a commit waits for any. Whoever copies the log and replays
-- nothing is none; of that a user without pg_read_all_stats sees nothing, and takes it for a standby.
SELECT current_setting('synchronous_standby_names') <> '' AS waits,
       ARRAY(SELECT r.application_name FROM pg_stat_replication r
             WHERE r.application_name NOT IN ('pg_basebackup', 'pg_receivewal')
               AND (r.state IS NULL OR r.replay_lsn IS NOT NULL)
               AND NOT EXISTS (SELECT FROM pg_replication_slots s
                               WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
             ORDER BY 1) AS standbys
