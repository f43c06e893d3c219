-- definition_bound: the definitions that live runs are bound to.
SELECT d.orchestration, d.fingerprint, d.text FROM definition d
WHERE EXISTS (SELECT 1 FROM run r
  WHERE r.orchestration = d.orchestration AND r.definition = d.fingerprint AND r.state < 4)
ORDER BY d.orchestration, d.fingerprint
