-- lanes_fix: unless another count is in use by live deliveries of the port or by a live instance other than
-- $3. A later statement than the one that locks: an instance is registered before it asks for its lanes.
UPDATE ordered_port o SET lanes = $2
WHERE o.port = $1 AND o.lanes <> $2
  AND NOT EXISTS (SELECT FROM delivery d WHERE d.port = $1 AND d.order_key IS NOT NULL)
  AND NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                  WHERE i.id <> $3 AND i.state = 0 AND s.live)
