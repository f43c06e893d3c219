-- control_list: every control.
SELECT name, control, changed_at FROM control ORDER BY name
