-- Records at which somebody must look, newest first.
-- @start = "2026-11-20T00:00:00"
SELECT c.CreationTime, f.level, f.title, c.Operation, c.UserId AS userId, c.ClientIP AS clientIp, c.ObjectId AS objectId, c.id
FROM c JOIN f IN c.findings
WHERE c.CreationTime >= @start AND f.level IN ('medium', 'high', 'critical')
ORDER BY c.CreationTime DESC
