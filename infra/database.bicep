// Cosmos DB for NoSQL: the documents. What a document looks like is in the README.
param name string
param location string
param tags object
param principalId string
param readers array
param databaseName string
param containerName string
param opensByKey bool
param isPrivate bool

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
        ]
        excludedPaths: [
          { path: '/*' }
        ]
      }
    }
  }
}

// Cosmos DB Built-in Data Contributor: the handler creates documents, and reads the container's settings. On this container
// and no other. The scope says dbs and colls, as the data plane does.
var dataContributor = '00000000-0000-0000-0000-000000000002'

resource writer 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, principalId, dataContributor)
  properties: {
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/${dataContributor}'
    principalId: principalId
    scope: '${account.id}/dbs/${databaseName}/colls/${containerName}'
  }
  dependsOn: [
    container
  ]
}

// Cosmos DB Built-in Data Reader: people who look at the documents, in Power BI or with a query.
var dataReader = '00000000-0000-0000-0000-000000000001'

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
  ]
}]

output id string = account.id
output endpoint string = account.properties.documentEndpoint
