-- Everything that came from an IP address, oldest first. The address is plain: no port, no brackets.
-- @address = "203.0.113.7"
SELECT VALUE c FROM c JOIN e IN c.edges
WHERE e.toType = 'ip' AND e['to'] = @address
ORDER BY c.CreationTime
