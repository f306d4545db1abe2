-- What an account did between two times in a workload ('' for all), oldest first. Services write one account in different case, so
-- case is left out of it; that reads the whole index. edges-of-a-user asks the same of the edges, by a name in lower case, and costs less.
-- @user = "Megan@contoso.com"
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
-- @workload = ""
SELECT * FROM c
WHERE LOWER(c.UserId) = LOWER(@user) AND c.CreationTime >= @start AND c.CreationTime < @end
  AND (@workload = '' OR c.Workload = @workload)
ORDER BY c.CreationTime
