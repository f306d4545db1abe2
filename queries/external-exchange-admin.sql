-- Exchange cmdlets that someone from outside the organisation ran, Microsoft's own accounts included (UserType 3), oldest first.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT c.CreationTime, c.UserId, c.UserType, c.Operation, c.ObjectId, c.ClientIP, c.Parameters
FROM c
WHERE c.Workload = 'Exchange' AND c.RecordType = 1 AND c.ExternalAccess = true
  AND c.CreationTime >= @start AND c.CreationTime < @end
ORDER BY c.CreationTime
