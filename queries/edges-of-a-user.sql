-- The edges of an account, to it and from it, oldest first. The name is in lower case, as all names of accounts in edges.
-- @user = "megan@contoso.com"
SELECT c.CreationTime, e['from'] AS source, e.fromType AS sourceType, e['to'] AS target, e.toType AS targetType, e.label, c.id
FROM c JOIN e IN c.edges
WHERE (e['from'] = @user AND e.fromType IN ('user', 'guest', 'system')) OR (e['to'] = @user AND e.toType IN ('user', 'guest', 'system'))
ORDER BY c.CreationTime
