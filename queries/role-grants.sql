-- Roles, groups and mailbox rights that were granted, oldest first: who got what stands in Target, ModifiedProperties and Parameters.
-- @start = "2026-11-10T00:00:00"
-- @end = "2026-11-11T00:00:00"
SELECT c.CreationTime, c.UserId, c.Operation, c.ObjectId, c.Target, c.ModifiedProperties, c.Parameters, c.id
FROM c
WHERE c.CreationTime >= @start AND c.CreationTime < @end
  AND c.Operation IN ('Add member to role.', 'Add eligible member to role.', 'Add scoped member to role.', 'Add member to group.', 'Add owner to group.',
    'Add owner to application.', 'Add app role assignment to service principal.', 'Add-RoleGroupMember', 'New-ManagementRoleAssignment',
    'Add-MailboxPermission', 'Add-RecipientPermission', 'Add-MailboxFolderPermission', 'SiteCollectionAdminAdded')
ORDER BY c.CreationTime
