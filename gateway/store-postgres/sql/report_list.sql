-- report_list: those of nodes that live.
SELECT r.grp, r.node, r.report FROM cluster_report r JOIN session s ON s.id = r.session
WHERE s.live ORDER BY r.grp, r.node
