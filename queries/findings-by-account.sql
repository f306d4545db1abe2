-- What rules found between two times, by account and level: what to look at first.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT c.UserId AS userId, f.level, f.title, COUNT(1) AS events, MIN(c.CreationTime) AS firstSeen, MAX(c.CreationTime) AS lastSeen
FROM c JOIN f IN c.findings
WHERE c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY c.UserId, f.level, f.title
