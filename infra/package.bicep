// The storage account of the program, which the collector reads and does not write.
param name string
param location string
param tags object
param principalId string
param publishers array
param writesItself bool
param isPrivate bool
param isLocked bool
param auditWorkspaceId string

var containerName = 'app-package'

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    // No key opens it: identities alone.
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    // Each program that ran is kept as a version of the blob, also where it was replaced by somebody who should not have.
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: 30
      allowPermanentDelete: false
    }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: blobs
  name: containerName
}

// Storage Blob Data Reader: the platform fetches the program as the collector's identity.
var storageBlobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
// Storage Blob Data Contributor: who publishes puts the program there. Core Tools and azd have the app itself put it there.
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, 'collector')
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', writesItself ? storageBlobDataContributor : storageBlobDataReader)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// One after another: side by side they are known to be refused for a conflict.
@batchSize(1)
resource publisher 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for id in publishers: {
  name: guid(account.id, id, storageBlobDataContributor)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
    principalId: id
  }
  dependsOn: [
    access
  ]
}]

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked) {
  name: 'package'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds the program that the collector runs.'
  }
}

// Who replaced the program.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(auditWorkspaceId)) {
  name: 'audit'
  scope: blobs
  properties: {
    workspaceId: auditWorkspaceId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output name string = account.name
output container string = '${account.properties.primaryEndpoints.blob}${containerName}'
