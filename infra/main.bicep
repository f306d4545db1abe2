// The collector in one resource group: what there is and how it hangs together. Each part's own file says the rest.
targetScope = 'resourceGroup'

@description('Begins the names of all resources, and tells two collectors in one resource group apart: lower-case letters, digits, hyphens. register-app.sh takes the same one.')
@minLength(3)
@maxLength(16)
param name string = 'activity'

@description('Region of all resources.')
param location string = resourceGroup().location

@description('Tags of all resources.')
param tags object = {}

@description('OFFICE365_TENANT_ID: the tenant whose activity is collected, a GUID.')
@minLength(36)
@maxLength(36)
param tenantId string = tenant().tenantId

@description('OFFICE365_CLIENT_ID: the app registration that register-app.sh made. Empty: the managed identity itself holds the API role.')
param clientId string = ''

@description('A client secret, kept in a key vault, opens the API instead of the managed identity. DEPLOY.md says how it gets there.')
param secretInKeyVault bool = false

@description('OFFICE365_CLOUD: which Office 365 the tenant lives in.')
@allowed(['enterprise', 'gcc', 'gcc-high', 'dod'])
param cloud string = 'enterprise'

@description('OFFICE365_API_URL: for a cloud that is not listed.')
param apiUrl string = ''

@description('OFFICE365_LOGIN_URL: for a cloud that is not listed.')
param loginUrl string = ''

@description('OFFICE365_PUBLISHER_ID: whose quota of requests is used. Empty: the tenant.')
param publisherId string = ''

@description('WORKLOADS: comma-separated content types.')
param workloads string = 'Audit.AzureActiveDirectory,Audit.Exchange,Audit.SharePoint,Audit.General,DLP.All'

@description('SCHEDULE: when content is listed, an NCRONTAB expression of six fields, UTC.')
param schedule string = '0 */5 * * * *'

@description('CONTENT_QUEUE.')
param contentQueue string = 'content'

@description('STATE_CONTAINER: checkpoints and journal.')
param stateContainer string = 'activity-state'

@description('LOOKBACK_HOURS: how far back the first run starts.')
@minValue(1)
@maxValue(168)
param lookbackHours int = 168

@description('BATCH_SIZE: content URIs in a queue message.')
@minValue(1)
@maxValue(1000)
param batchSize int = 20

@description('COSMOS_DATABASE.')
param databaseName string = 'office365'

@description('COSMOS_CONTAINER.')
param containerName string = 'activity'

@description('RETENTION_DAYS: a document goes this long after its event.')
@minValue(1)
@maxValue(24855)
param retentionDays int = 90

@description('DLP_VALUES: what becomes of values that data loss prevention matched. hash needs a key in a key vault; DEPLOY.md says how it gets there.')
@allowed(['drop', 'hash', 'keep'])
param dlpValues string = 'drop'

@description('LEAVE_OUT: operations and record types that are not stored, comma-separated.')
param leaveOut string = ''

@description('FINDINGS: whether rules are asked.')
@allowed(['on', 'off'])
param findings string = 'on'

@description('PARTITIONS_PER_DAY.')
@minValue(1)
@maxValue(100)
param partitionsPerDay int = 4

@description('Version of the custom runtime, one that the region offers. Azure takes any, and an app with one that it does not have never starts; DEPLOY.md says how to ask.')
param runtimeVersion string = '1.0'

@description('Memory of an instance, for the Functions host and the handler together.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 512

@description('Instances at most. At their slowest, so many handlers together call the API as often as one tenant may.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Object ids of people and identities who may publish the program.')
param publishers array = []

@description('Core Tools and azd publish the program. Both go through the app, which writes it as the collector\'s identity; that one can then replace its own program. False: only publishers write it.')
param publishThroughApp bool = false

@description('Keys open the database, so that Power BI can read it with the read-only key. False: Entra ID alone opens it.')
param powerBiKey bool = false

@description('Object ids of people or groups who may read the documents with Entra ID.')
param readers array = []

@description('The collector has the built-in role of a contributor on its documents, which can replace and delete them. False: it creates and reads them.')
param databaseContributor bool = false

@description('Storage, database and package cannot be deleted before their locks are.')
param locks bool = true

@description('The workspace keeps who read documents, deleted state, replaced the program or read the secret.')
param logAccess bool = true

@description('Storage, database and key vault answer inside a virtual network only.')
param privateNetwork bool = false

@description('Where alerts are mailed. Empty: they are seen in the portal only.')
param alertEmail string = ''

@description('A workload whose checkpoint is older than this many minutes raises an alert.')
@minValue(15)
param lagMinutes int = 60

// As short as a storage account's name must be, and the same at every deployment of this collector to this resource group.
var unique = uniqueString(resourceGroup().id, name)
// What is kept there is put in by hand.
var needsVault = secretInKeyVault || dlpValues == 'hash'
var auditWorkspaceId = logAccess ? telemetry.outputs.workspaceId : ''

// The collector's one identity. Each role it has stands beside what the role opens.
resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-identity'
  location: location
  tags: tags
}

module telemetry 'telemetry.bicep' = {
  name: 'telemetry'
  params: {
    name: name
    location: location
    tags: tags
    principalId: identity.properties.principalId
  }
}

module storage 'storage.bicep' = {
  name: 'storage'
  params: {
    name: 'activity${unique}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
    contentQueue: contentQueue
    stateContainer: stateContainer
    journalDays: max(retentionDays, 45)
    isPrivate: privateNetwork
    isLocked: locks
    auditWorkspaceId: auditWorkspaceId
  }
}

module package 'package.bicep' = {
  name: 'package'
  params: {
    name: 'package${unique}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
    publishers: publishers
    writesItself: publishThroughApp
    isPrivate: privateNetwork
    isLocked: locks
    auditWorkspaceId: auditWorkspaceId
  }
}

module database 'database.bicep' = {
  name: 'database'
  params: {
    name: '${name}-${unique}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
    readers: readers
    databaseName: databaseName
    containerName: containerName
    opensByKey: powerBiKey
    isContributor: databaseContributor
    isPrivate: privateNetwork
    isLocked: locks
    auditWorkspaceId: auditWorkspaceId
  }
}

module vault 'vault.bicep' = if (needsVault) {
  name: 'vault'
  params: {
    name: 'kv-${unique}'
    location: location
    tags: tags
    principalId: identity.properties.principalId
    isPrivate: privateNetwork
    auditWorkspaceId: auditWorkspaceId
  }
}

module network 'network.bicep' = if (privateNetwork) {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
    storageId: storage.outputs.id
    packageId: package.outputs.id
    databaseId: database.outputs.id
    vaultId: needsVault ? resourceId('Microsoft.KeyVault/vaults', 'kv-${unique}') : ''
  }
  dependsOn: [
    vault
  ]
}

// Every app setting that the handler reads, and no other; the host's own are in collector.bicep.
var settings = {
  OFFICE365_TENANT_ID: tenantId
  OFFICE365_CLIENT_ID: clientId
  OFFICE365_CLOUD: cloud
  OFFICE365_API_URL: apiUrl
  OFFICE365_LOGIN_URL: loginUrl
  OFFICE365_PUBLISHER_ID: publisherId
  WORKLOADS: workloads
  SCHEDULE: schedule
  CONTENT_QUEUE: contentQueue
  STATE_CONTAINER: stateContainer
  LOOKBACK_HOURS: string(lookbackHours)
  BATCH_SIZE: string(batchSize)
  COSMOS_ENDPOINT: database.outputs.endpoint
  COSMOS_DATABASE: databaseName
  COSMOS_CONTAINER: containerName
  RETENTION_DAYS: string(retentionDays)
  PARTITIONS_PER_DAY: string(partitionsPerDay)
  DLP_VALUES: dlpValues
  LEAVE_OUT: leaveOut
  FINDINGS: findings
}

// The only secrets there can be, and only if they were asked for. The platform reads them from the vault; no template ever has one.
var secretSettings = secretInKeyVault ? {
  OFFICE365_CLIENT_SECRET: '@Microsoft.KeyVault(SecretUri=https://kv-${unique}${environment().suffixes.keyvaultDns}/secrets/office365-client-secret)'
} : {}
var hashSettings = dlpValues == 'hash' ? {
  DLP_HASH_KEY: '@Microsoft.KeyVault(SecretUri=https://kv-${unique}${environment().suffixes.keyvaultDns}/secrets/dlp-hash-key)'
} : {}

module collector 'collector.bicep' = {
  name: 'collector'
  params: {
    name: '${name}-${unique}'
    location: location
    tags: tags
    identityId: identity.id
    identityClientId: identity.properties.clientId
    blobEndpoint: storage.outputs.blobEndpoint
    queueEndpoint: storage.outputs.queueEndpoint
    packageContainer: package.outputs.container
    storageName: storage.outputs.name
    telemetryConnection: telemetry.outputs.connectionString
    settings: union(settings, secretSettings, hashSettings)
    subnetId: privateNetwork ? resourceId('Microsoft.Network/virtualNetworks/subnets', '${name}-network', 'collector') : ''
    runtimeVersion: runtimeVersion
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
  }
  dependsOn: [
    network
    vault
  ]
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  params: {
    name: name
    location: location
    tags: tags
    workspaceId: telemetry.outputs.workspaceId
    databaseId: database.outputs.id
    email: alertEmail
    lagMinutes: lagMinutes
  }
}

@description('Runs the program.')
output functionAppName string = collector.outputs.name

@description('Holds the program, as released-package.zip in the container app-package.')
output packageStorageName string = package.outputs.name

@description('Subject of the app registration\'s federated credential.')
output identityPrincipalId string = identity.properties.principalId

@description('For Power BI.')
output databaseEndpoint string = database.outputs.endpoint

@description('Holds queue and state.')
output storageName string = storage.outputs.name
