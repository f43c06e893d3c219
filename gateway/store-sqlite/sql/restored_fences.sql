-- restored_fences: nobody has a fence, and none is below ?1.
UPDATE fence SET epoch = max(epoch, ?1), grant_id = NULL, instance = NULL
