// What somebody must hear of: queries over the log lines that the handler and the Functions host print. The fields of those
// lines, and what to do when an alert comes, are in OPERATIONS.md. Severity 1 is Information, 2 Warning, 3 Error: the host logs
// the handler's stdout as the first and its stderr as the others.
param name string
param location string
param tags object
param workspaceId string
param databaseId string
param email string
param lagMinutes int

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: '${name}-people'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'activity'
    emailReceivers: [
      {
        name: 'people'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

// Severity: 1 data is or may become lost, 2 a person has to look, 3 it may pass by itself.
var rules = [
  {
    name: 'listing-stopped'
    text: 'For an hour no run of QueueEvents has listed any workload. What the API holds stays there for seven days.'
    severity: 1
    window: 'PT1H'
    aggregation: 'Count'
    column: null
    operator: 'LessThan'
    threshold: 1
    dimension: ''
    query: '''
AppTraces
| where SeverityLevel == 1 and Message contains '"message":"invocation"'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.function == 'QueueEvents'
| mv-expand entry = line.workloads
| where entry.outcome != 'failed'
'''
  }
  {
    name: 'listing-lag'
    text: 'A workload\'s checkpoint stands still or is behind. What the API holds stays there for seven days.'
    severity: 1
    window: 'P1D'
    aggregation: 'Maximum'
    column: 'lag_minutes'
    operator: 'GreaterThan'
    threshold: lagMinutes
    dimension: 'workload'
    query: '''
AppTraces
| where SeverityLevel == 1 and Message contains '"message":"invocation"'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.function == 'QueueEvents'
| mv-expand entry = line.workloads
| summarize checkpoint = max(todatetime(entry.checkpoint_after)) by workload = tostring(entry.workload)
| extend lag_minutes = iff(isnull(checkpoint), 10080, datetime_diff('minute', now(), checkpoint))
'''
  }
  {
    name: 'content-lost'
    text: 'Content could not be had or stored whole: lost, gap or reduced. The line names what and why; the journal has it too.'
    severity: 1
    window: 'PT30M'
    aggregation: 'Count'
    column: null
    operator: 'GreaterThan'
    threshold: 0
    dimension: ''
    query: '''
AppTraces
| where SeverityLevel == 3 and Message has_any ('lost', 'gap', 'reduced')
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.message in (
    'lost: this content cannot be had',
    'gap: content of this time can no longer be listed and is lost',
    'reduced: a record could not be stored whole')
'''
  }
  {
    name: 'all-content-refused'
    text: 'All content of a workload is refused: most likely tenant or publisher is set wrong. What is refused again after 61 minutes is lost.'
    severity: 1
    window: 'PT30M'
    aggregation: 'Count'
    column: null
    operator: 'GreaterThan'
    threshold: 0
    dimension: ''
    query: '''
AppTraces
| where SeverityLevel == 3 and Message contains 'every content blob that is asked for is refused'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.message == 'every content blob that is asked for is refused: check OFFICE365_TENANT_ID and OFFICE365_PUBLISHER_ID'
'''
  }
  {
    name: 'poison-messages'
    text: 'A queue message failed at every delivery. Its content is queued again after an hour, so a cause that stays repeats this.'
    severity: 2
    window: 'PT30M'
    aggregation: 'Count'
    column: null
    operator: 'GreaterThan'
    threshold: 0
    dimension: ''
    // The host's own words.
    query: '''
AppTraces
| where SeverityLevel == 2 and Message startswith 'Message has reached MaxDequeueCount' and Message contains '-poison'
'''
  }
  {
    name: 'failed-invocations'
    text: 'Five invocations or more failed within an hour. Each one\'s reason is in a line with the message "invocation failed".'
    severity: 2
    window: 'PT1H'
    aggregation: 'Count'
    column: null
    operator: 'GreaterThanOrEqual'
    threshold: 5
    dimension: 'Name'
    // The host's own record: it has those that were killed, too.
    query: '''
AppRequests
| where Success == false and Name in ('QueueEvents', 'StoreEvents')
'''
  }
  {
    name: 'finding'
    text: 'A rule of level high or critical fired. The line names rule, level, workload and count; FINDINGS.md says how to go on from there.'
    severity: 2
    window: 'PT30M'
    aggregation: 'Count'
    column: null
    operator: 'GreaterThan'
    threshold: 0
    dimension: 'rule'
    query: '''
AppTraces
| where SeverityLevel == 2 and Message contains '"message":"finding: '
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| extend rule = tostring(line.rule)
'''
  }
  {
    name: 'database-not-answering'
    text: 'Ten messages or more went back on the queue within an hour because the database throttled or did not answer.'
    severity: 3
    window: 'PT1H'
    aggregation: 'Count'
    column: null
    operator: 'GreaterThanOrEqual'
    threshold: 10
    dimension: ''
    query: '''
AppTraces
| where SeverityLevel == 2 and Message contains 'the database is not answering'
| extend line = parse_json(substring(Message, indexof(Message, '{')))
| where line.message == 'the database is not answering; what is not stored goes back on the queue'
'''
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [for rule in rules: {
  name: '${name}-${rule.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: rule.name
    description: rule.text
    severity: rule.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: 'PT15M'
    windowSize: rule.window
    autoMitigate: true
    // The tables come with the first log line; until then the query is no error.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: rule.aggregation
          metricMeasureColumn: rule.column
          operator: rule.operator
          threshold: rule.threshold
          dimensions: empty(rule.dimension) ? [] : [
            {
              name: rule.dimension
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: empty(email) ? [] : [
        people.id
      ]
    }
  }
}]

// 429 from the database, seen from the database: a metric, which costs no log of every request. Some are part of a first run,
// and are tried again; a thousand in an hour say that something else is reading or writing too much.
resource throttled 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: '${name}-database-throttled'
  location: 'global'
  tags: tags
  properties: {
    description: 'The database refused a thousand requests or more within an hour because they came too fast (429).'
    severity: 3
    enabled: true
    scopes: [
      databaseId
    ]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT1H'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'throttled'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.DocumentDB/databaseAccounts'
          metricName: 'TotalRequests'
          timeAggregation: 'Count'
          operator: 'GreaterThanOrEqual'
          threshold: 1000
          dimensions: [
            {
              name: 'StatusCode'
              operator: 'Include'
              values: [
                '429'
              ]
            }
          ]
        }
      ]
    }
    actions: empty(email) ? [] : [
      {
        actionGroupId: people.id
      }
    ]
  }
}
