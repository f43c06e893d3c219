-- control_list: one row without a name gives the version when there is no control.
SELECT (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM control_seq) AS version,
       c.name, c.control, c.changed_at
FROM (SELECT) one LEFT JOIN control c ON true
ORDER BY c.name
