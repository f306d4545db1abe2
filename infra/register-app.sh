#!/usr/bin/env bash
# Lets the collector read the tenant's activity, without a secret: makes the managed identity, the app registration that trusts
# it, and the permission with its consent. Run it before the first deployment, and as often as you like: what is there stays.
#
# Consent is for the whole tenant, so it goes to no app that somebody else can sign in as: the app is looked up by a name that
# is unique in the tenant, never by its display name, and one with a foreign owner, a secret, a certificate or a foreign
# federated credential is refused. Whoever runs this does not stay its owner.
#
# The deployment itself is main.bicep; it finds the identity by its name.
set -euo pipefail
shopt -s inherit_errexit

usage() {
    cat <<'EOF'
Usage: infra/register-app.sh --resource-group NAME --location REGION [options]

  --resource-group NAME    where the collector is or will be deployed; made if it is missing
  --location REGION        its region, such as westeurope
  --name NAME              as the template's parameter `name`; default: activity
  --app DISPLAY-NAME       of the app registration where it is made; default: Office 365 activity collector
  --client-id ID           takes this app registration, in place of the collector's own
  --without-app            no app registration: the identity itself holds the permission
  --without-dlp            no permission to read data loss prevention events (DLP.All)
  --history                the permission of Microsoft Graph to search what is older than seven days (AuditLogsQuery.Read.All)
  --dry-run                reads only, and says what it would do
  --help                   this text

Needs the Azure CLI, signed in (az login) to the subscription and tenant meant, as Contributor of the subscription or the
resource group, and in Entra ID as Cloud Application Administrator and Privileged Role Administrator (or Global
Administrator), who alone may consent.
EOF
}

# Office 365 Management APIs: the same application in every tenant. Its roles are looked up by name.
# https://learn.microsoft.com/office/office-365-management-api/get-started-with-office-365-management-apis
readonly activity_api=c5393580-f805-4401-95e8-94b7a6ef2fc2
# Microsoft Graph, likewise. https://learn.microsoft.com/graph/permissions-reference#auditlogsqueryreadall
readonly graph_api=00000003-0000-0000-c000-000000000000

resource_group='' location='' name=activity app='Office 365 activity collector' client=''
with_app=yes with_history=no dry_run=no roles=(ActivityFeed.Read ActivityFeed.ReadDlp)

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*"; }

while [ $# -gt 0 ]; do
    case $1 in
        --resource-group | --location | --name | --app | --client-id)
            [ -n "${2-}" ] || fail "$1 needs a value; see --help"
            case $1 in
                --resource-group) resource_group=$2 ;;
                --location) location=$2 ;;
                --name) name=$2 ;;
                --app) app=$2 ;;
                --client-id) client=$2 ;;
            esac
            shift 2
            ;;
        --without-app) with_app=no; shift ;;
        --without-dlp) roles=(ActivityFeed.Read); shift ;;
        --history) with_history=yes; shift ;;
        --dry-run) dry_run=yes; shift ;;
        --help | -h) usage; exit ;;
        *) usage >&2; fail "unknown option $1" ;;
    esac
done
[ -n "$resource_group" ] || fail '--resource-group is needed; see --help'
[ -n "$location" ] || fail '--location is needed; see --help'
[[ $name =~ ^[a-z][a-z0-9-]{2,15}$ ]] || fail '--name takes 3 to 16 lower-case letters, digits and hyphens, a letter first'
[[ $app != *[\'\"]* ]] || fail '--app takes no quotation marks'
[[ $resource_group =~ ^[A-Za-z0-9_.()-]+$ ]] || fail '--resource-group takes letters, digits and _.()-'
[[ -z $client || $client =~ ^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$ ]] || fail '--client-id takes a GUID'
[ -z "$client" ] || [ "$with_app" = yes ] || fail '--client-id and --without-app exclude each other'
# History is asked for from somebody's machine, where no managed identity is.
[ "$with_history" = no ] || [ "$with_app" = yes ] || fail '--history and --without-app exclude each other'
command -v az >/dev/null || fail 'the Azure CLI (az) is not installed: https://aka.ms/azure-cli'

# What is made is not known everywhere at once: Entra ID needs up to a minute.
change() { # WHAT az-arguments...
    local what=$1 try answer word
    shift
    if [ "$dry_run" = yes ]; then
        say "would $what:"
        printf '    az'
        for word in "$@"; do [[ $word =~ ^[[:alnum:]./:=_-]+$ ]] && printf ' %s' "$word" || printf ' %s' "${word@Q}"; done
        printf '\n'
        return
    fi
    say "$what"
    for try in 1 2 3 4 5 6; do
        answer=$(az "$@" --only-show-errors --output none 2>&1) && return
        [[ $answer != *[Pp]rivileges* && $answer != *AuthorizationFailed* ]] || break
        [ "$try" = 6 ] || { say '  not yet; once more in 10 seconds'; sleep "${RETRY_SECONDS:-10}"; }
    done
    fail "could not $what: $answer"
}

# An answer's value as text; empty where there is none.
ask() { az "$@" --only-show-errors --output tsv; }

# As ask, and empty where there is no such object.
ask_if_there() {
    local answer
    if answer=$(ask "$@" 2>&1); then
        printf '%s' "$answer"
    elif [[ $answer != *ResourceNotFound* && $answer != *'does not exist'* ]]; then
        fail "$answer"
    fi
}

# In a dry run, what would be made has no id yet.
or_new() { # ID WHAT
    [ -n "$1" ] || [ "$dry_run" = yes ] || fail "the $2 is not there"
    printf '%s' "${1:-<$2>}"
}

make_resource_group() {
    [ "$(ask group exists --name "$resource_group")" = true ] ||
        change "make the resource group $resource_group" group create --name "$resource_group" --location "$location"
}

identity_principal() { ask identity list --resource-group "$resource_group" --query "[?name=='$name-identity'].principalId"; }

make_identity() {
    local known=''
    [ "$(ask group exists --name "$resource_group")" != true ] || known=$(identity_principal)
    if [ -n "$known" ]; then
        say "found the managed identity $name-identity"
    else
        change "make the managed identity $name-identity" \
            identity create --name "$name-identity" --resource-group "$resource_group" --location "$location"
        [ "$dry_run" = yes ] || known=$(identity_principal)
    fi
    identity=$(or_new "$known" 'id of the identity')
}

# Object id and client id of the app, by its key: the client id that was given, or else the collector's own unique name.
# https://learn.microsoft.com/graph/api/application-upsert
app_ids() { ask_if_there rest --method get --url "$app_url" --query "join(' ', [id, appId])"; }

# A new app is not found everywhere at once.
new_app_ids() {
    local try known
    for try in 1 2 3 4 5 6; do
        known=$(app_ids)
        [ -z "$known" ] || break
        [ "$try" = 6 ] || sleep "${RETRY_SECONDS:-10}"
    done
    printf '%s' "$known"
}

make_app() {
    local known
    if [ -n "$client" ]; then
        app_url="$graph/v1.0/applications(appId='$client')"
    else
        app_url="$graph/v1.0/applications(uniqueName='office365-activity-$subscription-$resource_group-$name')"
    fi
    known=$(app_ids)
    if [ -n "$known" ]; then
        say "found the app registration ${known#* }"
    elif [ -n "$client" ]; then
        fail "there is no app registration $client in this tenant"
    else
        change "make the app registration '$app'" rest --method patch --url "$app_url" \
            --headers Content-Type=application/json Prefer=create-if-missing \
            --body "{\"displayName\":\"$app\",\"signInAudience\":\"AzureADMyOrg\"}"
        [ "$dry_run" = yes ] || known=$(new_app_ids)
    fi
    app_object=$(or_new "${known% *}" 'object id of the app')
    client=$(or_new "${known#* }" 'client id of the app')
}

# Whoever owns the app, or holds a credential of it, reads the tenant in its name.
refuse_foreign() { # OBJECT-URL WHAT
    local found
    [[ $1 != *'<'* ]] || return 0
    found=$(ask rest --method get --url "$1/owners" --query "value[?id!='$me'].join(' ', [id, displayName || ''])")
    [ -z "$found" ] || fail "$2 has other owners than you, who could sign in as it: $found. Remove them, or name another app with --client-id"
    found=$(ask rest --method get --url "$1" --query '[passwordCredentials, keyCredentials][].keyId')
    [ -z "$found" ] || fail "$2 has secrets or certificates: $found. Remove them, or name another app with --client-id"
}

refuse_foreign_trust() {
    local found
    [[ $app_object != '<'* ]] || return 0
    found=$(ask rest --method get --url "$graph/v1.0/applications/$app_object/federatedIdentityCredentials" \
        --query "value[?!(subject=='$identity' && issuer=='$issuer')].name")
    [ -z "$found" ] || fail "the app trusts others than the collector's identity: $found. Remove these federated credentials, or name another app with --client-id"
}

# Whoever makes an app is its owner, and could give it a secret at any time.
disown() { # OBJECT-URL WHAT
    local found
    [[ $1 != *'<'* ]] || return 0
    found=$(ask rest --method get --url "$1/owners" --query "value[?id=='$me'].id")
    [ -z "$found" ] || change "remove you from the owners of $2" rest --method delete --url "$1/owners/$me/\$ref"
}

# The tenant's own record of an application, which roles are given to and by.
service_principal() { # APPLICATION-ID WHAT
    local known=''
    [[ $1 == '<'* ]] || known=$(ask ad sp list --filter "appId eq '$1'" --query '[].id')
    if [ -z "$known" ]; then
        change "make the service principal of $2" ad sp create --id "$1" >&2
        [ "$dry_run" = yes ] || known=$(ask ad sp list --filter "appId eq '$1'" --query '[].id')
    fi
    or_new "$known" "service principal of $2"
}

# What the app asks for, as the portal shows it under "API permissions".
list_permission() { # API ROLE-ID ROLE
    local known=''
    [[ $client == '<'* ]] || known=$(ask ad app permission list --id "$client" --query "[?resourceAppId=='$1'].resourceAccess[].id")
    grep -qF -- "$2" <<<"$known" ||
        change "list the permission $3 on the app" ad app permission add --id "$client" --api "$1" --api-permissions "$2=Role"
}

# The consent itself. https://learn.microsoft.com/graph/api/serviceprincipal-post-approleassignments
grant() { # PRINCIPAL API-PRINCIPAL ROLE-ID ROLE
    local known='' url="$graph/v1.0/servicePrincipals/$1/appRoleAssignments"
    [[ $1 == '<'* ]] || known=$(ask rest --method get --url "$url" --query "value[?resourceId=='$2'].appRoleId")
    grep -qF -- "$3" <<<"$known" ||
        change "consent to $4" rest --method post --url "$url" --headers Content-Type=application/json \
            --body "{\"principalId\":\"$1\",\"resourceId\":\"$2\",\"appRoleId\":\"$3\"}"
}

# Asks for roles of an API, and consents to them.
permit() { # API API-NAME ROLE...
    local api=$1 principal role role_id
    principal=$(service_principal "$api" "$2")
    shift 2
    for role in "$@"; do
        role_id=''
        [[ $principal == '<'* ]] || role_id=$(ask ad sp show --id "$api" --query "appRoles[?value=='$role'].id")
        role_id=$(or_new "$role_id" "id of the role $role")
        [ "$with_app" = no ] || list_permission "$api" "$role_id" "$role"
        grant "$holder" "$principal" "$role_id" "$role"
    done
}

# https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
trust_identity() {
    local known=''
    [[ $client == '<'* ]] || known=$(ask ad app federated-credential list --id "$client" --query '[].subject')
    grep -qF -- "$identity" <<<"$known" ||
        change "let the identity sign for the app" ad app federated-credential create --id "$client" --parameters \
            "{\"name\":\"$name-identity\",\"issuer\":\"$issuer\",\"subject\":\"$identity\",\"audiences\":[\"api://AzureADTokenExchange\"]}"
}

tenant=$(ask account show --query tenantId) || fail 'not signed in: run az login'
subscription=$(ask account show --query id)
say "tenant $tenant, subscription $(ask account show --query name)"
graph=$(ask cloud show --query endpoints.microsoftGraphResourceId)
graph=${graph%/}
login=$(ask cloud show --query endpoints.activeDirectory)
issuer=${login%/}/$tenant/v2.0
# A signed-in application is no user and owns nothing here.
me=$(ask ad signed-in-user show --query id 2>/dev/null) || me=''

make_resource_group
make_identity
if [ "$with_app" = yes ]; then
    make_app
    refuse_foreign "$graph/v1.0/applications/$app_object" 'the app'
    refuse_foreign_trust
    holder=$(service_principal "$client" 'the app')
    refuse_foreign "$graph/v1.0/servicePrincipals/$holder" "the app's service principal"
    trust_identity
else
    client=''
    holder=$identity
fi
permit "$activity_api" 'Office 365 Management APIs' "${roles[@]}"
[ "$with_history" = no ] || permit "$graph_api" 'Microsoft Graph' AuditLogsQuery.Read.All

if [ "$with_app" = yes ]; then
    disown "$graph/v1.0/servicePrincipals/$holder" "the app's service principal"
    disown "$graph/v1.0/applications/$app_object" 'the app'
fi

if [ "$dry_run" = yes ]; then
    say 'nothing was changed'
else
    say 'done. The deployment needs this:'
    say "OFFICE365_CLIENT_ID=$client"
fi
