// Your choices. Each one's meaning and default are in main.bicep; what is not named here keeps its default.
using './main.bicep'

// From register-app.sh, in the environment or written here. Empty: the managed identity itself holds the API role.
param clientId = readEnvironmentVariable('OFFICE365_CLIENT_ID', '')

// Who publishes the program: your object id, for example.
param publishers = empty(readEnvironmentVariable('PUBLISHER_ID', '')) ? [] : [
  readEnvironmentVariable('PUBLISHER_ID', '')
]

// Where alerts are mailed.
param alertEmail = readEnvironmentVariable('ALERT_EMAIL', '')
