-- restored_epochs: the moment, and the highest epoch that this copy of the store could have granted.
SELECT now_us() AS now, timeline() AS timeline,
       greatest((SELECT max(epoch) FROM fence), timeline() << 40, l.least_epoch) AS highest
FROM lineage l
