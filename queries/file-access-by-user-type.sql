-- How often files were accessed, by the type of user: 0 regular, 2 administrator, 3 and 4 the service, 5 an application,
-- 6 a service principal, 10 a guest.
-- @start = "2026-11-20T00:00:00"
-- @end = "2026-11-21T00:00:00"
SELECT c.UserType, c.Operation, COUNT(1) AS events
FROM c
WHERE c.Workload IN ('SharePoint', 'OneDrive')
  AND c.Operation IN ('FileAccessed', 'FileAccessedExtended', 'FilePreviewed', 'FileDownloaded', 'FileSyncDownloadedFull')
  AND c.CreationTime >= @start AND c.CreationTime < @end
GROUP BY c.UserType, c.Operation
