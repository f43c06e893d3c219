-- restored_epochs: the highest epoch that this copy of the store could have granted.
SELECT max(coalesce((SELECT max(epoch) FROM fence), 0),
           coalesce((SELECT value FROM sequence WHERE name = 'epoch'), 0))
