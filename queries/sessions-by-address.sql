-- From which IP addresses each session was seen between two times, and whose it is. A session with several rows went on at another
-- address: at home after the office, or with whoever took its token.
-- @start = "2026-11-10T00:00:00"
-- @end = "2026-11-11T00:00:00"
SELECT e['from'] AS session, u['from'] AS who, e['to'] AS address, COUNT(1) AS events, MIN(c.CreationTime) AS firstSeen, MAX(c.CreationTime) AS lastSeen
FROM c JOIN u IN c.edges JOIN e IN c.edges
WHERE u.toType = 'session' AND u['to'] = e['from'] AND e.fromType = 'session' AND e.toType = 'ip'
  AND c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY e['from'], u['from'], e['to']
