-- What happened from an IP address, oldest first: every edge of each record that came from it, so that it shows not only who
-- was there but what they touched.
-- @address = "203.0.113.7"
SELECT c.CreationTime, e['from'] AS source, e.fromType AS sourceType, e['to'] AS target, e.toType AS targetType, e.label, c.id
FROM c JOIN a IN c.edges JOIN e IN c.edges
WHERE a.toType = 'ip' AND a['to'] = @address
ORDER BY c.CreationTime
