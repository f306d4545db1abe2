// Cosmos DB for NoSQL: the documents. docs/DOCUMENTS.md says what a document looks like.
param name string
param location string
param tags object
param principalId string
param readers array
param databaseName string
param containerName string
param opensByKey bool
param isContributor bool
param isPrivate bool
param isLocked bool
param auditWorkspaceId string

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' = {
  name: name
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    // Paid by the request: audit activity comes in waves, and nights are quiet.
    capabilities: [
      {
        name: 'EnableServerless'
      }
    ]
    locations: [
      {
        locationName: location
        failoverPriority: 0
        isZoneRedundant: false
      }
    ]
    consistencyPolicy: {
      defaultConsistencyLevel: 'Session'
    }
    // Seven days of going back to any second, which cost nothing; a mirror into Fabric needs it.
    backupPolicy: {
      type: 'Continuous'
      continuousModeProperties: {
        tier: 'Continuous7Days'
      }
    }
    // Azure knows no "read-only key alone": with keys on, all four open the account. The collector never uses one.
    disableLocalAuth: !opensByKey
    // Even then no key changes databases, containers or their settings.
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
  }
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-04-15' = {
  parent: account
  name: databaseName
  properties: {
    resource: {
      id: databaseName
    }
  }
}

resource container 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-04-15' = {
  parent: database
  name: containerName
  properties: {
    resource: {
      id: containerName
      partitionKey: {
        paths: [
          '/pk'
        ]
        kind: 'Hash'
        version: 2
      }
      // On, without a default: each document brings its own ttl. Without this line nothing would ever go.
      defaultTtl: -1
      // What people filter, sort and draw by. Everything else in a record can be filtered too, by a scan; not being indexed
      // makes its writing cheaper. DEPLOY.md says by how much, and how to add a path.
      indexingPolicy: {
        indexingMode: 'consistent'
        automatic: true
        includedPaths: [
          { path: '/pk/?' }
          { path: '/CreationTime/?' }
          { path: '/Workload/?' }
          { path: '/Operation/?' }
          { path: '/RecordType/?' }
          { path: '/ResultStatus/?' }
          { path: '/UserId/?' }
          { path: '/UserType/?' }
          { path: '/ClientIP/?' }
          { path: '/ObjectId/?' }
          { path: '/SiteUrl/?' }
          { path: '/MailboxOwnerUPN/?' }
          { path: '/feed/contentType/?' }
          { path: '/feed/contentCreated/?' }
          { path: '/edges/[]/from/?' }
          { path: '/edges/[]/fromType/?' }
          { path: '/edges/[]/to/?' }
          { path: '/edges/[]/toType/?' }
          { path: '/edges/[]/label/?' }
          { path: '/findings/[]/rule/?' }
          { path: '/findings/[]/title/?' }
          { path: '/findings/[]/level/?' }
        ]
        excludedPaths: [
          { path: '/*' }
        ]
      }
    }
  }
}

// What the handler needs: it creates documents, `handler check` reads one, and the SDK reads how the container is made. It can
// neither replace nor delete what is there. A transactional batch of creates has no action of its own in the reference
// below, and no public report says what Azure asks for one: `handler check` writes one, and tells.
// https://learn.microsoft.com/azure/cosmos-db/nosql/reference-data-plane-security
resource creator 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2025-04-15' = {
  parent: account
  name: guid(account.id, 'creator')
  properties: {
    roleName: 'Activity collector'
    type: 'CustomRole'
    assignableScopes: [
      account.id
    ]
    permissions: [
      {
        dataActions: [
          'Microsoft.DocumentDB/databaseAccounts/readMetadata'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/create'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/read'
        ]
      }
    ]
  }
}

// Cosmos DB Built-in Data Contributor: a choice, where Azure refuses the handler's batches under the role above.
var dataContributor = '00000000-0000-0000-0000-000000000002'

// On this container and no other. The scope says dbs and colls, as the data plane does. One name for either role, so that
// choosing the other takes the first away.
resource writer 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, principalId, 'collector')
  properties: {
    roleDefinitionId: isContributor ? '${account.id}/sqlRoleDefinitions/${dataContributor}' : creator.id
    principalId: principalId
    scope: '${account.id}/dbs/${databaseName}/colls/${containerName}'
  }
  dependsOn: [
    container
  ]
}

// Cosmos DB Built-in Data Reader: people who look at the documents, in Power BI or with a query.
var dataReader = '00000000-0000-0000-0000-000000000001'

// One after another: side by side they are known to be refused for a conflict.
@batchSize(1)
resource reader 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = [for id in readers: {
  parent: account
  name: guid(account.id, id, dataReader)
  properties: {
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/${dataReader}'
    principalId: id
    scope: '${account.id}/dbs/${databaseName}'
  }
  dependsOn: [
    container
    writer
  ]
}]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked) {
  name: 'documents'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds the collected activity.'
  }
}

// Who read documents: a row for each request, the collector's own writes too.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(auditWorkspaceId)) {
  name: 'audit'
  scope: account
  properties: {
    workspaceId: auditWorkspaceId
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      {
        category: 'DataPlaneRequests'
        enabled: true
      }
      {
        category: 'ControlPlaneRequests'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output endpoint string = account.properties.documentEndpoint
