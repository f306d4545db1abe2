-- Mailboxes and mail flow rules that were set to send mail to an address outside a domain, oldest first. Who set them is userId;
-- for more domains of your own, write the last condition once more.
-- @domain = "@contoso.com"
SELECT c.CreationTime, e['from'] AS source, e['to'] AS target, e.label, c.UserId AS userId, c.ClientIP AS clientIp, c.id
FROM c JOIN e IN c.edges
WHERE e.toType = 'address' AND e.fromType IN ('mailbox', 'object') AND NOT ENDSWITH(e['to'], @domain, true)
ORDER BY c.CreationTime
