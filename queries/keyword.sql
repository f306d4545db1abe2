-- Records with a word in one of the fields that people search in, whatever its case, oldest first. Reads every record between
-- the two times.
-- @word = "prices"
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT c.CreationTime, c.Workload, c.Operation, c.UserId, c.ObjectId
FROM c
WHERE c.CreationTime >= @start AND c.CreationTime < @end
  AND (CONTAINS(c.Operation, @word, true) OR CONTAINS(c.UserId, @word, true) OR CONTAINS(c.ObjectId, @word, true)
    OR CONTAINS(c.SiteUrl, @word, true) OR CONTAINS(c.Item.Subject, @word, true) OR CONTAINS(c.MailboxOwnerUPN, @word, true)
    OR CONTAINS(c.TargetUserOrGroupName, @word, true) OR CONTAINS(c.UserAgent, @word, true)
    OR CONTAINS(c.ClientInfoString, @word, true))
ORDER BY c.CreationTime
