-- How much each SharePoint or OneDrive site was used between two times, service accounts left out.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT e['to'] AS site, COUNT(1) AS events
FROM c JOIN e IN c.edges
WHERE e.toType = 'site' AND e.fromType IN ('user', 'guest') AND c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY e['to']
