//! The meaning of each setting, for docs/SETTINGS.md, which is generated from here and from the reading of the settings.

/// Each setting with what it means, in the order of the page.
pub(super) const MEANINGS: &[(&str, &str)] = &[
    ("OFFICE365_TENANT_ID", "the tenant's GUID"),
    ("OFFICE365_CLIENT_ID", "the app registration; without it the managed identity itself holds the API role"),
    ("OFFICE365_CLIENT_SECRET", "the app's secret; without it the managed identity signs for the app (federated credential)"),
    ("OFFICE365_CLOUD", "`enterprise`, `gcc`, `gcc-high` or `dod`: API root and login authority"),
    ("OFFICE365_API_URL", "the API root of a cloud that is not listed; https, or http on this machine"),
    ("OFFICE365_LOGIN_URL", "the login authority of such a cloud"),
    ("OFFICE365_PUBLISHER_ID", "the GUID whose quota of requests is used; without it the tenant's"),
    ("WORKLOADS", "any of `Audit.AzureActiveDirectory`, `Audit.Exchange`, `Audit.SharePoint`, `Audit.General`, `DLP.All`, comma-separated"),
    ("SCHEDULE", "the timer, an NCRONTAB expression of six fields, UTC. The host needs it set"),
    ("CONTENT_QUEUE", "the queue of content URIs. The host needs it set"),
    ("STATE_CONTAINER", "the blob container of checkpoints and journal: [STATE.md](STATE.md)"),
    (
        "LOOKBACK_HOURS",
        "1 to 168: how long ago a workload without checkpoint starts; nothing that became available before it is collected, unless a person rewinds the checkpoint",
    ),
    ("BATCH_SIZE", "1 to 1000: content URIs in a message, at most"),
    ("AzureWebJobsStorage", "the storage account's connection string, with key or shared access signature, as the host reads it"),
    ("AzureWebJobsStorage__accountName", "in its place: the account's name, which a managed identity then opens"),
    ("AzureWebJobsStorage__blobServiceUri", "in place of the name: the address of its blob service, in any cloud"),
    ("AzureWebJobsStorage__queueServiceUri", "likewise the address of its queue service"),
    (
        "AzureWebJobsStorage__clientId",
        "a user-assigned managed identity, for storage, database and API; without it the system-assigned one",
    ),
    ("COSMOS_ENDPOINT", "the Cosmos DB account, such as `https://ACCOUNT.documents.azure.com:443/`"),
    ("COSMOS_KEY", "the account's key; without it the managed identity opens the database"),
    ("COSMOS_DATABASE", "the database"),
    ("COSMOS_CONTAINER", "the container; its partition key is `/pk`"),
    ("RETENTION_DAYS", "1 to 24855: a document goes this long after its event"),
    ("PARTITIONS_PER_DAY", "1 to 100: logical partitions that a day of records is spread over"),
    ("DLP_VALUES", "`drop`, `hash` or `keep`: treatment of values that data loss prevention matched"),
    ("DLP_HASH_KEY", "secret: the key of the tokens that `hash` puts in place of values"),
    ("LEAVE_OUT", "records not to store, which are counted: `workload/operation`, `workload/#recordtype` or `*/…`, comma-separated"),
    ("FINDINGS", "`off`: no rule is asked of a record"),
    ("FUNCTIONS_CUSTOMHANDLER_PORT", "the loopback port to listen on. The host sets it, nobody else"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Config, Setting};

    /// Sets of variables that together ask for all settings: what is set decides what is asked for. The last tells what is required.
    const WAYS: [&[(&str, &str)]; 3] = [
        &[("AzureWebJobsStorage", "UseDevelopmentStorage=true"), ("COSMOS_ENDPOINT", "https://c.example/")],
        &[("AzureWebJobsStorage__blobServiceUri", "https://b.example/"), ("AzureWebJobsStorage__queueServiceUri", "https://q.example/")],
        &[],
    ];

    /// Settings that the handler asks for, each with its default; "required" where it cannot do without, "none" where it can.
    fn defaults() -> BTreeMap<String, String> {
        let survey = |vars: &[(&str, &str)]| {
            Config::survey(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())).0
        };
        let default = |setting: Setting| match setting.default {
            Some(default) if default.contains("://") => "the cloud's".to_owned(),
            Some(default) if default.starts_with(char::is_alphabetic) && default.contains(' ') => default,
            Some(default) => format!("`{default}`"),
            None if setting.fault.is_some() => "required".to_owned(),
            None => "none".to_owned(),
        };
        WAYS.into_iter().flat_map(survey).map(|setting| (setting.name.clone(), default(setting))).collect()
    }

    fn page() -> String {
        let defaults = defaults();
        let rows = MEANINGS.iter().map(|(name, meaning)| {
            let default = defaults.get(*name).unwrap_or_else(|| panic!("{name} has a meaning, and nothing reads it"));
            format!("| `{name}` | {default} | {meaning} |\n")
        });
        format!(
            "# Settings\n\nApp settings, so environment variables. The handler reads all of them at its start, reports every fault at \
             once by its\nvariable's name, and then ends. An empty one counts as absent. `handler check` shows what each is set to.\n\n\
             | name | default | meaning |\n| --- | --- | --- |\n{}\nThis page is generated: `UPDATE_DOCS=1 cargo test -p handler \
             settings` writes it anew.\n",
            rows.collect::<String>()
        )
    }

    #[test]
    fn every_setting_has_a_meaning_and_the_page_is_as_generated() {
        let missing: Vec<_> = defaults().into_keys().filter(|name| !MEANINGS.iter().any(|(known, _)| known == name)).collect();
        assert!(missing.is_empty(), "settings without a meaning: {missing:?}");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SETTINGS.md");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == page(), "docs/SETTINGS.md is old: UPDATE_DOCS=1 writes it anew");
    }
}
