-- cluster_who: which database answers, and which of its histories.
SELECT system_identifier AS system, timeline() AS timeline FROM pg_control_system()
