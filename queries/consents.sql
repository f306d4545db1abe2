-- Applications that were allowed to read on somebody's behalf, or got a secret, oldest first.
-- @start = "2026-11-10T00:00:00"
-- @end = "2026-11-11T00:00:00"
SELECT c.CreationTime, c.UserId, c.Operation, c.ObjectId, c.Target, c.ModifiedProperties, c.ActorIpAddress, c.id
FROM c
WHERE c.CreationTime >= @start AND c.CreationTime < @end
  AND c.Operation IN ('Consent to application.', 'Add OAuth2PermissionGrant.', 'Add delegated permission grant.', 'Add app role assignment grant to user.',
    'Add service principal.', 'Add service principal credentials.', 'Add application.', 'Update application – Certificates and secrets management ')
ORDER BY c.CreationTime
