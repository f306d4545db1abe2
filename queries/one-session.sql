-- Everything of one session, oldest first: the id that the sign-in, mail and file records of the same session share.
-- @session = "0873ee4d-d342-44f2-8961-74c442a2fad2"
SELECT c.CreationTime, c.Workload, c.Operation, c.UserId, c.ObjectId, c.ClientIP, c.id
FROM c JOIN e IN c.edges
WHERE e.toType = 'session' AND e['to'] = @session
ORDER BY c.CreationTime
