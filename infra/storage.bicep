// The storage account: the content queue, the collector's state, and what the Functions host keeps for itself.
param name string
param location string
param tags object
param principalId string
param contentQueue string
param stateContainer string
param journalDays int
param isPrivate bool
param isLocked bool
param auditWorkspaceId string

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
    // State that was deleted or overwritten, by mistake or to hide something, comes back within a month. The collector's own
    // identity may delete blobs, but cannot make a deletion final.
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 30
    }
    deleteRetentionPolicy: {
      enabled: true
      days: 30
      allowPermanentDelete: false
    }
  }
}

resource state 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: blobs
  name: stateContainer
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-01-01' = {
  parent: account
  name: 'default'
}

resource content 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01' = {
  parent: queues
  name: contentQueue
}

// Where the host puts a message that failed at every delivery. The name is the host's rule.
resource poison 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-01-01' = {
  parent: queues
  name: '${contentQueue}-poison'
}

// The journal is kept as long as the documents, to answer what became of a content blob; the handler reads it for some ten
// days, and for up to 39 where it stood still meanwhile.
resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-01-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'journal'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'appendBlob'
              ]
              prefixMatch: [
                '${stateContainer}/journal/'
              ]
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: journalDays
                }
              }
            }
          }
        }
      ]
    }
  }
  dependsOn: [
    blobs
  ]
}

// Storage Blob Data Owner: what the Functions host asks for on its own account (leases, host keys, timer status). It covers
// the state, whose container the handler makes again when it is missing.
var storageBlobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
// Storage Queue Data Contributor: the handler makes the queue and sends; the host receives, hides, deletes, counts for
// scaling, and moves to the poison queue. Reader and Message Processor together could not make or send.
var storageQueueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var roles = [
  storageBlobDataOwner
  storageQueueDataContributor
]

// One after another: side by side they are known to be refused for a conflict.
@batchSize(1)
resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in roles: {
  name: guid(account.id, principalId, role)
  scope: account
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}]

// No table role: the host would write diagnostic events of its own with it, which nobody here reads.

resource lock 'Microsoft.Authorization/locks@2020-05-01' = if (isLocked) {
  name: 'state'
  scope: account
  properties: {
    level: 'CanNotDelete'
    notes: 'Holds the collector\'s checkpoints and journal.'
  }
}

// Who deleted a checkpoint or a journal.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(auditWorkspaceId)) {
  name: 'audit'
  scope: blobs
  properties: {
    workspaceId: auditWorkspaceId
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output id string = account.id
output name string = account.name
output blobEndpoint string = account.properties.primaryEndpoints.blob
output queueEndpoint string = account.properties.primaryEndpoints.queue
