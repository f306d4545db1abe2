-- Everything that was done to files of this name, wherever they lie, oldest first.
-- @file = "Prices.xlsx"
SELECT * FROM c
WHERE c.SourceFileName = @file
ORDER BY c.CreationTime
