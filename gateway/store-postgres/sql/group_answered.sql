-- group_answered
SELECT answered_no, refused FROM cluster_group WHERE name = $1 AND answered_no > 0
