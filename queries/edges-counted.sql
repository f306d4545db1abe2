-- All edges between two times, counted: what a graph draws. Each row is one line between two nodes.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT e['from'] AS source, e.fromType AS sourceType, e['to'] AS target, e.toType AS targetType, e.label AS label, c.Workload AS workload,
  COUNT(1) AS events, MIN(c.CreationTime) AS firstSeen, MAX(c.CreationTime) AS lastSeen
FROM c JOIN e IN c.edges
WHERE c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY e['from'], e.fromType, e['to'], e.toType, e.label, c.Workload
