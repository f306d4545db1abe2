-- What was shared with people outside, or with anybody who has the link, oldest first: invitations, links made, used and mended.
-- @start = "2026-11-10T00:00:00"
-- @end = "2026-11-11T00:00:00"
SELECT c.CreationTime, c.UserId, c.Operation, c.ObjectId, c.TargetUserOrGroupName, c.TargetUserOrGroupType, c.SharingType, c.ClientIP, c.id
FROM c
WHERE c.CreationTime >= @start AND c.CreationTime < @end
  AND (c.Operation IN ('AnonymousLinkCreated', 'AnonymousLinkUpdated', 'AnonymousLinkUsed', 'SharingInvitationCreated', 'SharingInvitationAccepted', 'SecureLinkCreated', 'AddedToSecureLink')
    OR (c.Operation IN ('SharingSet', 'CompanyLinkCreated') AND c.TargetUserOrGroupType = 'Guest'))
ORDER BY c.CreationTime
