-- Which accounts were seen at which IP address between two times, service accounts left out. An address with several rows is
-- shared: by an office, or by whoever took over several accounts.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT e['to'] AS address, e['from'] AS who, COUNT(1) AS events, MIN(c.CreationTime) AS firstSeen, MAX(c.CreationTime) AS lastSeen
FROM c JOIN e IN c.edges
WHERE e.toType = 'ip' AND e.fromType IN ('user', 'guest') AND c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY e['to'], e['from']
