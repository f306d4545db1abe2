-- Who did what to a file, oldest first. The file is its address, as ObjectId has it; edges have it in lower case.
-- @file = "https://contoso.sharepoint.com/sites/Sales/Shared Documents/Prices.xlsx"
SELECT c.CreationTime, e['from'] AS source, e.fromType AS sourceType, e['to'] AS target, e.toType AS targetType, e.label, c.id
FROM c JOIN e IN c.edges
WHERE e.toType = 'file' AND e['to'] = LOWER(@file)
ORDER BY c.CreationTime
