-- day_add: $1 is the first day, $2 the last, counted from 1970-01-01.
SELECT count(*) FILTER (WHERE day_add(date '1970-01-01' + d)) FROM generate_series($1::int, $2::int) d
