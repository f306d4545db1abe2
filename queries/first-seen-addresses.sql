-- When each account was first seen at each IP address. Rows whose firstSeen is late are new places: compare with the start of
-- what is kept. Reads everything that is kept.
-- @user = "megan@contoso.com"
SELECT e['from'] AS who, e['to'] AS address, COUNT(1) AS events, MIN(c.CreationTime) AS firstSeen, MAX(c.CreationTime) AS lastSeen
FROM c JOIN e IN c.edges
WHERE e.toType = 'ip' AND (@user = '' OR e['from'] = @user)
GROUP BY e['from'], e['to']
