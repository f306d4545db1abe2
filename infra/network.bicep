// Private networking: the collector in a virtual network with an address of its own to the outside, and everything it keeps
// reachable from there alone.
param name string
param location string
param tags object
param storageId string
param databaseId string
param vaultId string

// The collector calls the Activity API and Entra ID through here: new networks have no other way out. One fixed address,
// which a Conditional Access policy can name.
resource address 'Microsoft.Network/publicIPAddresses@2024-07-01' = {
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

resource outbound 'Microsoft.Network/natGateways@2024-07-01' = {
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
resource rules 'Microsoft.Network/networkSecurityGroups@2024-07-01' = {
  name: '${name}-rules'
  location: location
  tags: tags
  properties: {}
}

resource network 'Microsoft.Network/virtualNetworks@2024-07-01' = {
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
var always = [
  { service: 'blob', target: storageId, zone: 'privatelink.blob.${suffix}' }
  { service: 'queue', target: storageId, zone: 'privatelink.queue.${suffix}' }
  { service: 'Sql', target: databaseId, zone: isGovernment ? 'privatelink.documents.azure.us' : 'privatelink.documents.azure.com' }
]
var secret = [
  { service: 'vault', target: vaultId, zone: isGovernment ? 'privatelink.vaultcore.usgovcloudapi.net' : 'privatelink.vaultcore.azure.net' }
]
var doors = concat(always, empty(vaultId) ? [] : secret)

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for door in doors: {
  name: door.zone
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (door, index) in doors: {
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

resource endpoints 'Microsoft.Network/privateEndpoints@2024-07-01' = [for door in doors: {
  name: '${name}-${toLower(door.service)}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: '${network.id}/subnets/endpoints'
    }
    privateLinkServiceConnections: [
      {
        name: toLower(door.service)
        properties: {
          privateLinkServiceId: door.target
          groupIds: [
            door.service
          ]
        }
      }
    ]
  }
}]

resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [for (door, index) in doors: {
  parent: endpoints[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: toLower(door.service)
        properties: {
          privateDnsZoneId: zones[index].id
        }
      }
    ]
  }
}]
