//! The settings: every app setting the handler reads, with its default, checked as a whole before anything starts. No
//! other file reads the environment, except that the Azure identity library finds the managed identity's endpoint itself.

mod cosmos;
mod documents;
mod leave_out;
mod office365;
mod schedule;
#[cfg(test)]
mod settings;
mod storage;
mod vars;

use std::{net::Ipv4Addr, time::Duration};

pub use self::vars::is_guid;
pub use self::{
    cosmos::CosmosAccount,
    documents::{DlpValues, Documents},
    leave_out::{LeaveOut, NoPattern},
    office365::Office365,
    storage::{Access, StorageAccount},
    vars::{Faults, Setting},
};
pub(crate) use self::{leave_out::NOTHING, storage::IDENTITY_SETTINGS};
use self::{office365::read_workloads, storage::read_name, vars::Vars};
use crate::workload::Workload;

/// All settings, valid together.
#[derive(Debug, Clone)]
pub struct Config {
    /// The loopback port that the Functions host chose (`FUNCTIONS_CUSTOMHANDLER_PORT`).
    pub port: u16,
    /// The Office 365 tenant and how to speak to it.
    pub office365: Office365,
    /// Which content types are collected.
    pub workloads: Vec<Workload>,
    /// Name of the queue that carries batches of content URIs.
    pub content_queue: String,
    /// Name of the blob container that holds checkpoints and journal.
    pub state_container: String,
    /// Where a workload without a checkpoint starts, counted back from now.
    pub lookback: Duration,
    /// Content URIs in one queue message, at most.
    pub batch_size: usize,
    /// The storage account of queue and state.
    pub storage: StorageAccount,
    /// The database.
    pub cosmos: CosmosAccount,
    /// The settings that decide a document, besides its record.
    pub documents: Documents,
    /// Client id of the user-assigned managed identity; none: the system-assigned one.
    pub identity_client_id: Option<String>,
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`Faults`] holds every fault found, not only the first.
    pub fn from_env() -> Result<Self, Faults> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Reads settings from any source of variables; an empty one counts as absent, as it does in Azure.
    ///
    /// # Errors
    /// See [`Config::from_env`].
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        Self::survey(lookup).1
    }

    /// Reads settings from any source of variables, and tells of each one that was looked for, in the order of looking.
    pub fn survey(lookup: impl Fn(&str) -> Option<String>) -> (Vec<Setting>, Result<Self, Faults>) {
        let mut vars = Vars::new(&lookup);
        let config = Self::read(&mut vars);
        let settings = vars.settings();
        (settings, vars.judge(config))
    }

    /// Reads all, so that all faults are found, and only then gives up where one is missing.
    fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let port = vars.parsed("FUNCTIONS_CUSTOMHANDLER_PORT", "7071", "a port from 1 to 65535", |port: &u16| *port > 0);
        let office365 = Office365::read(vars);
        let workloads = read_workloads(vars);
        let schedule = schedule::read(vars);
        let content_queue = read_name(vars, "CONTENT_QUEUE", "content");
        let state_container = read_name(vars, "STATE_CONTAINER", "activity-state");
        let lookback = vars.parsed("LOOKBACK_HOURS", "168", "hours from 1 to 168", |hours: &u64| (1..=168).contains(hours));
        let batch_size = vars.parsed("BATCH_SIZE", "20", "a number from 1 to 1000", |size: &usize| (1..=1000).contains(size));
        let storage = StorageAccount::read(vars);
        let cosmos = CosmosAccount::read(vars);
        let documents = Documents::read(vars);
        let identity_client_id = vars.optional(IDENTITY).and_then(|id| vars.guid(IDENTITY, id));
        schedule?;
        Some(Self {
            port: port?,
            office365: office365?,
            workloads: workloads?,
            content_queue: content_queue?,
            state_container: state_container?,
            lookback: Duration::from_secs(lookback? * 3600),
            batch_size: batch_size?,
            storage: storage?,
            cosmos: cosmos?,
            documents: documents?,
            identity_client_id,
        })
    }

    /// The address to listen on: IPv4 loopback, because the host speaks to `127.0.0.1` and nobody else should.
    #[must_use]
    pub fn listen_on(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.port)
    }
}

/// The user-assigned managed identity.
const IDENTITY: &str = "AzureWebJobsStorage__clientId";

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "0873EE4D-d342-44f2-8961-74c442a2fad2";

    fn read(vars: &[(&str, &str)]) -> Result<Config, Faults> {
        Config::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    fn least() -> Vec<(&'static str, &'static str)> {
        vec![
            ("OFFICE365_TENANT_ID", TENANT),
            ("AzureWebJobsStorage", "UseDevelopmentStorage=true"),
            ("COSMOS_ENDPOINT", "https://name.documents.azure.com:443/"),
        ]
    }

    #[test]
    fn the_least_settings_give_the_documented_defaults() {
        let config = read(&least()).unwrap();
        assert_eq!(config.office365.tenant_id, TENANT.to_lowercase());
        assert_eq!(config.office365.publisher_id, TENANT.to_lowercase());
        assert_eq!(config.office365.api_url.as_str(), "https://manage.office.com/");
        assert_eq!(config.workloads, Workload::ALL);
        assert_eq!((config.content_queue.as_str(), config.state_container.as_str()), ("content", "activity-state"));
        assert_eq!((config.batch_size, config.documents.partitions_per_day), (20, 4));
        assert_eq!(config.lookback, Duration::from_secs(168 * 3600));
        assert_eq!(config.documents.retention, Duration::from_secs(90 * 86_400));
        assert_eq!((config.cosmos.database.as_str(), config.cosmos.container.as_str()), ("office365", "activity"));
    }

    #[test]
    fn each_cloud_has_its_own_addresses_and_an_override_wins() {
        let mut vars = least();
        vars.push(("OFFICE365_CLOUD", "gcc-high"));
        vars.push(("OFFICE365_LOGIN_URL", "https://login.partner.example"));
        let config = read(&vars).unwrap();
        assert_eq!(config.office365.api_url.as_str(), "https://manage.office365.us/");
        assert_eq!(config.office365.login_url.as_str(), "https://login.partner.example/");
    }

    #[test]
    fn every_fault_is_told_at_once_and_names_its_variable() {
        let faults = read(&[
            ("OFFICE365_TENANT_ID", "contoso"),
            ("OFFICE365_CLIENT_SECRET", "s3cret"),
            ("OFFICE365_CLOUD", "mars"),
            ("OFFICE365_API_URL", "http://manage.office.com"),
            ("WORKLOADS", "Audit.Exchange,Audit.Echange"),
            ("SCHEDULE", "every day"),
            ("CONTENT_QUEUE", "Not A Queue"),
            ("LOOKBACK_HOURS", "0"),
            ("BATCH_SIZE", "many"),
            ("PARTITIONS_PER_DAY", "101"),
            ("RETENTION_DAYS", "-1"),
        ])
        .unwrap_err()
        .to_string();
        for name in [
            "OFFICE365_TENANT_ID",
            "OFFICE365_CLIENT_SECRET",
            "OFFICE365_CLOUD",
            "OFFICE365_API_URL",
            "WORKLOADS",
            "SCHEDULE",
            "CONTENT_QUEUE",
            "LOOKBACK_HOURS",
            "BATCH_SIZE",
            "PARTITIONS_PER_DAY",
            "RETENTION_DAYS",
            "AzureWebJobsStorage",
            "COSMOS_ENDPOINT",
        ] {
            assert!(faults.contains(name), "{name} is missing from: {faults}");
        }
        assert!(!faults.contains("s3cret"), "a secret is printed: {faults}");
    }

    #[test]
    fn secrets_are_not_in_the_debug_print() {
        let mut vars = least();
        vars[1] = (
            "AzureWebJobsStorage",
            "DefaultEndpointsProtocol=https;AccountName=name;AccountKey=c2VjcmV0LWtleQ==;EndpointSuffix=core.windows.net",
        );
        vars.extend([("OFFICE365_CLIENT_ID", TENANT), ("OFFICE365_CLIENT_SECRET", "s3cret-one"), ("COSMOS_KEY", "s3cret-two")]);
        let print = format!("{:?}", read(&vars).unwrap());
        for secret in ["s3cret-one", "s3cret-two", "c2VjcmV0LWtleQ"] {
            assert!(!print.contains(secret), "{print}");
        }
    }
}
