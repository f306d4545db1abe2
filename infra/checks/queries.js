// Checks every query of the alerts and of the documents with Kusto's own parser: its grammar, its functions, and that the
// columns asked for are those of Azure Monitor's tables. What is in the log lines is the stories' matter.
//
//     node queries.js FOLDER-OF-NODE-MODULES ALERTS.bicep DOCUMENT.md...

const fs = require('fs');
const path = require('path');
const vm = require('vm');

// https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces and so on; what is asked for of them.
const TABLES = {
  AppTraces: '(TimeGenerated: datetime, Message: string, SeverityLevel: int, Properties: dynamic, AppRoleName: string, OperationName: string)',
  CDBDataPlaneRequests: '(TimeGenerated: datetime, OperationName: string, StatusCode: int, ResponseLength: real, AadPrincipalId: string, AuthTokenType: string, ClientIpAddress: string, CollectionName: string)',
  StorageBlobLogs: '(TimeGenerated: datetime, AccountName: string, OperationName: string, ObjectKey: string, StatusText: string, RequesterObjectId: string, CallerIpAddress: string)',
  AppRequests: '(TimeGenerated: datetime, Name: string, Success: bool, ResultCode: string, DurationMs: real, OperationId: string)',
};

const [modules, alerts, ...documents] = process.argv.slice(2);

// The parser is compiled from C# into scripts for browsers, which announce themselves.
const log = console.log;
console.log = () => {};
for (const script of ['bridge.js', 'Kusto.Language.Bridge.js']) {
  vm.runInThisContext(fs.readFileSync(path.join(modules, '@kusto/language-service-next', script), 'utf8'), script);
}
console.log = log;

const { GlobalState, KustoCode, Symbols } = Kusto.Language;
const tables = Object.entries(TABLES).map(([name, columns]) => new Symbols.TableSymbol.$ctor7(name, columns, null));
const workspace = new Symbols.DatabaseSymbol.ctor('workspace', tables);
const globals = GlobalState.Default.WithDatabase(workspace);

function faults(query) {
  const found = KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, at) => found.getItem(at)).map((fault) => fault.Message);
}

/** The queries of a file, each with the line that it begins at. */
function queries(file, pattern) {
  const text = fs.readFileSync(file, 'utf8');
  return Array.from(text.matchAll(pattern), (match) => [text.slice(0, match.index).split('\n').length, match[1]]);
}

let checked = 0;
let faulty = 0;

function check(file, line, query) {
  checked += 1;
  for (const fault of faults(query)) {
    faulty += 1;
    console.log(`${file}:${line}: ${fault}`);
  }
}

for (const [line, query] of queries(alerts, /'''\n([^]*?)'''/g)) check(alerts, line, query);
for (const file of documents) {
  // What the queries of a document have in common stands first.
  let common = '';
  for (const [line, query] of queries(file, /```kusto\n([^]*?)```/g)) {
    if (query.trimEnd().endsWith(';')) common = query;
    check(file, line, query.startsWith('let ') ? `${query}\n${query.split(' ')[1]}` : `${common}\n${query}`);
  }
}
console.log(`${checked} queries checked`);
if (checked === 0 || faulty > 0) process.exit(1);
