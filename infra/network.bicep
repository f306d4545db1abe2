// Private networking: the collector in a virtual network with an address of its own to the outside, and everything it keeps
// reachable from there alone.
param name string
param location string
param tags object
param storageId string
param packageId string
param databaseId string
param vaultId string

// The collector calls the Activity API and Entra ID through here: new networks have no other way out. One fixed address,
// which a Conditional Access policy can name.
resource address 'Microsoft.Network/publicIPAddresses@2026-03-01' = {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIPAllocationMethod: 'Static'
  }
}

resource outbound 'Microsoft.Network/natGateways@2026-03-01' = {
  name: '${name}-outbound'
  location: location
  tags: tags
  sku: {
    name: 'Standard'
  }
  properties: {
    publicIpAddresses: [
      {
        id: address.id
      }
    ]
  }
}

// The built-in rules, nothing else: nothing comes in from the internet.
resource rules 'Microsoft.Network/networkSecurityGroups@2026-03-01' = {
  name: '${name}-rules'
  location: location
  tags: tags
  properties: {}
}

resource network 'Microsoft.Network/virtualNetworks@2026-03-01' = {
  name: '${name}-network'
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        '10.20.0.0/24'
      ]
    }
    subnets: [
      {
        name: 'collector'
        properties: {
          addressPrefix: '10.20.0.0/26'
          natGateway: {
            id: outbound.id
          }
          networkSecurityGroup: {
            id: rules.id
          }
          // Flex Consumption's own delegation.
          delegations: [
            {
              name: 'flex'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.20.0.64/27'
          networkSecurityGroup: {
            id: rules.id
          }
        }
      }
    ]
  }
}

var suffix = environment().suffixes.storage
var isGovernment = environment().name == 'AzureUSGovernment'
var zoneNames = concat([
  'privatelink.blob.${suffix}'
  'privatelink.queue.${suffix}'
  isGovernment ? 'privatelink.documents.azure.us' : 'privatelink.documents.azure.com'
], empty(vaultId) ? [] : [
  isGovernment ? 'privatelink.vaultcore.usgovcloudapi.net' : 'privatelink.vaultcore.azure.net'
])
// What is reached from inside alone; `zone` is the place of its name's zone in zoneNames.
var doors = concat([
  { name: 'blob', group: 'blob', target: storageId, zone: 0 }
  { name: 'queue', group: 'queue', target: storageId, zone: 1 }
  { name: 'package', group: 'blob', target: packageId, zone: 0 }
  { name: 'sql', group: 'Sql', target: databaseId, zone: 2 }
], empty(vaultId) ? [] : [
  { name: 'vault', group: 'vault', target: vaultId, zone: 3 }
])

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zoneName in zoneNames: {
  name: zoneName
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (zoneName, index) in zoneNames: {
  parent: zones[index]
  name: '${name}-network'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: network.id
    }
  }
}]

// One after another: an account takes one change of its endpoints at a time.
@batchSize(1)
resource endpoints 'Microsoft.Network/privateEndpoints@2026-03-01' = [for door in doors: {
  name: '${name}-${door.name}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: '${network.id}/subnets/endpoints'
    }
    privateLinkServiceConnections: [
      {
        name: door.name
        properties: {
          privateLinkServiceId: door.target
          groupIds: [
            door.group
          ]
        }
      }
    ]
  }
}]

@batchSize(1)
resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2026-03-01' = [for (door, index) in doors: {
  parent: endpoints[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: door.name
        properties: {
          privateDnsZoneId: zones[door.zone].id
        }
      }
    ]
  }
}]
