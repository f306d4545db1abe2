-- Everything that an account did, oldest first. Services write one account in different case, so case is left out of it; that
-- reads the whole index. edges-of-a-user asks the same of the edges, by a name in lower case, and costs less.
-- @user = "Megan@contoso.com"
SELECT * FROM c
WHERE LOWER(c.UserId) = LOWER(@user)
ORDER BY c.CreationTime
