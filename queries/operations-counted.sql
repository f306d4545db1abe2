-- How often each operation occurred between two times.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT c.Workload, c.Operation, COUNT(1) AS events, MIN(c.CreationTime) AS firstSeen, MAX(c.CreationTime) AS lastSeen
FROM c
WHERE c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY c.Workload, c.Operation
