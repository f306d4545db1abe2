//! The settings, one line each, without what may be a secret.

use super::Check;
use crate::config::{IDENTITY_SETTINGS, Setting};

/// The host's, not the operator's: shown only where it is wrong.
const HOST: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// Opens storage by a key or signature where it is set.
const CONNECTION_STRING: &str = "AzureWebJobsStorage";
/// Settings that are never shown.
const SECRETS: [&str; 4] = ["OFFICE365_CLIENT_SECRET", "COSMOS_KEY", "DLP_HASH_KEY", CONNECTION_STRING];

/// Letters and digits in a row that are no word any more.
const MIN_SECRET: usize = 24;

pub(super) fn checks(settings: &[Setting]) -> Vec<Check> {
    let shown = settings.iter().filter(|setting| setting.name != HOST || setting.fault.is_some());
    let has_key = settings.iter().any(|setting| setting.name == CONNECTION_STRING && setting.value.is_some());
    shown
        .map(|setting| if has_key && IDENTITY_SETTINGS.contains(&setting.name.as_str()) { ignored(&setting.name) } else { check(setting) })
        .collect()
}

/// The host takes the connection string, and so does the handler: a key opens what somebody wanted an identity to open.
fn ignored(name: &str) -> Check {
    let next = format!("remove {CONNECTION_STRING}, so that the identity opens storage; or else remove {name}");
    Check::wrong(name, format!("ignored: {CONNECTION_STRING} is set too, and opens storage by key or signature"), next)
}

fn check(setting: &Setting) -> Check {
    let name = setting.name.as_str();
    match (&setting.fault, &setting.value, &setting.default) {
        (Some(fault), ..) => Check::wrong(name, fault, next_step(name)),
        (None, Some(value), _) => Check::well(name, shown(name, value)),
        (None, None, Some(default)) => Check::well(name, format!("{default} (default)")),
        (None, None, None) => Check::well(name, absent(name)),
    }
}

/// The value, unless something secret may be in it: secrets are pasted into the neighbour's field.
fn shown(name: &str, value: &str) -> String {
    let may_be_secret = SECRETS.contains(&name)
        || value.contains(['@', ';', '?']) && name != "SCHEDULE"
        || !value.contains("://") && longest_word(value) >= MIN_SECRET;
    if may_be_secret { "set".to_owned() } else { value.to_owned() }
}

/// Letters and digits in a row.
fn longest_word(text: &str) -> usize {
    text.split(|c: char| !c.is_alphanumeric()).map(|word| word.chars().count()).max().unwrap_or(0)
}

fn absent(name: &str) -> &'static str {
    match name {
        "OFFICE365_CLIENT_ID" => "not set: the managed identity itself holds the permissions",
        "OFFICE365_CLIENT_SECRET" => "not set: the managed identity signs",
        "OFFICE365_PUBLISHER_ID" => "not set: the tenant",
        "COSMOS_KEY" | "AzureWebJobsStorage" => "not set: managed identity",
        "AzureWebJobsStorage__clientId" => "not set: the system-assigned identity, where one is needed",
        "DLP_HASH_KEY" => "not set: DLP_VALUES is not hash",
        "LEAVE_OUT" => "not set: every record is stored",
        _ => "not set",
    }
}

fn next_step(name: &str) -> String {
    match name {
        "OFFICE365_TENANT_ID" => "set it to the tenant's GUID: Microsoft Entra admin center, Overview".to_owned(),
        "AzureWebJobsStorage" => {
            "set it to the storage account's connection string, or AzureWebJobsStorage__accountName to the account's name".to_owned()
        }
        "COSMOS_ENDPOINT" => "set it to the account's URI: Azure portal, Azure Cosmos DB, Overview".to_owned(),
        HOST => "the Functions host sets it; leave it out elsewhere".to_owned(),
        _ => format!("correct the app setting {name}, or remove it for the default"),
    }
}
