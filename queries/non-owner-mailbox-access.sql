-- Who read, sent from or changed a mailbox that is not their own, oldest first: mailbox audit records (RecordType 2, 3 and 50).
-- LogonType: 0 owner, 1 administrator, 2 delegate.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT c.CreationTime, e['from'] AS source, e.fromType AS sourceType, e['to'] AS mailbox, e.label, c.LogonType, c.ClientIPAddress, c.id
FROM c JOIN e IN c.edges
WHERE e.toType = 'mailbox' AND c.RecordType IN (2, 3, 50) AND c.CreationTime >= @start AND c.CreationTime < @end
ORDER BY c.CreationTime
