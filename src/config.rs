//! The settings: every app setting the handler reads, with its default, checked as a whole before anything starts. No
//! other file reads the environment, except that the Azure identity library finds the managed identity's endpoint itself.

use std::{cell::RefCell, fmt, net::Ipv4Addr, str::FromStr, time::Duration};

use azure_core::credentials::Secret;
use url::Url;

use crate::{azure::storage::StorageAccount, management_api::Workload};

/// Office 365 clouds: the API root and the Entra authority of each.
/// <https://learn.microsoft.com/office/office-365-management-api/office-365-management-activity-api-reference>
const CLOUDS: [(&str, &str, &str); 4] = [
    ("enterprise", "https://manage.office.com", "https://login.microsoftonline.com"),
    ("gcc", "https://manage-gcc.office.com", "https://login.microsoftonline.com"),
    ("gcc-high", "https://manage.office365.us", "https://login.microsoftonline.us"),
    ("dod", "https://manage.protection.apps.mil", "https://login.microsoftonline.us"),
];

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
    pub cosmos: Cosmos,
    /// How long a document lives, counted from its record's CreationTime.
    pub retention: Duration,
    /// Logical partitions a day of records is spread over.
    pub partitions_per_day: u8,
    /// Client id of the user-assigned managed identity; none: the system-assigned one.
    pub identity_client_id: Option<String>,
}

/// The tenant, the API's addresses and the app registration.
#[derive(Clone, Debug)]
pub struct Office365 {
    /// The tenant's GUID, lower case.
    pub tenant_id: String,
    /// The app registration; none: the managed identity itself holds the API role.
    pub client_id: Option<String>,
    /// The app's secret; none: the managed identity signs for the app.
    pub client_secret: Option<Secret>,
    /// API root, such as `https://manage.office.com/`; tokens go nowhere else.
    pub api_url: Url,
    /// Entra authority, such as `https://login.microsoftonline.com/`.
    pub login_url: Url,
    /// GUID sent as PublisherIdentifier with every call.
    pub publisher_id: String,
}

/// The Cosmos DB account, and the container in it.
#[derive(Clone, Debug)]
pub struct Cosmos {
    /// Account endpoint, such as `https://name.documents.azure.com:443/`.
    pub endpoint: Url,
    /// Account key; none: managed identity.
    pub key: Option<Secret>,
    /// Database name.
    pub database: String,
    /// Container name; its partition key path is `/pk`.
    pub container: String,
}

/// Everything wrong with the settings: the variable's name, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(Vec<(String, String)>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the settings cannot be used:", self.0.len())?;
        self.0.iter().try_for_each(|(name, reason)| write!(f, "\n  {name} {reason}"))
    }
}

impl std::error::Error for Faults {}

/// One setting as it was found, for a person to look through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The variable.
    pub name: String,
    /// What it is set to; none where it is not set.
    pub value: Option<String>,
    /// What holds where it is not set.
    pub default: Option<String>,
    /// What is wrong with it.
    pub fault: Option<String>,
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
        let mut vars = Vars { lookup: &lookup, faults: Vec::new(), asked: RefCell::default() };
        let config = Self::read(&mut vars);
        let settings = vars.settings();
        match config {
            Some(config) if vars.faults.is_empty() => (settings, Ok(config)),
            _ => (settings, Err(Faults(vars.faults))),
        }
    }

    /// Reads all, so that all faults are found, and only then gives up where one is missing.
    fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let port = vars.parsed("FUNCTIONS_CUSTOMHANDLER_PORT", "7071", "a port from 1 to 65535", |port: &u16| *port > 0);
        let office365 = Office365::read(vars);
        let workloads = read_workloads(vars);
        // The timer's schedule is the host's to read; it is checked here because a typo there silences the collector.
        let schedule = vars.parsed("SCHEDULE", "0 */5 * * * *", "an NCRONTAB expression of six fields", |text: &String| is_ncrontab(text));
        let content_queue = vars.parsed("CONTENT_QUEUE", "content", QUEUE_NAME, |name: &String| is_storage_name(name));
        let state_container = vars.parsed("STATE_CONTAINER", "activity-state", QUEUE_NAME, |name: &String| is_storage_name(name));
        let lookback = vars.parsed("LOOKBACK_HOURS", "168", "hours from 1 to 168", |hours: &u64| (1..=168).contains(hours));
        let batch_size = vars.parsed("BATCH_SIZE", "20", "a number from 1 to 1000", |size: &usize| (1..=1000).contains(size));
        let storage = StorageAccount::read(vars);
        let cosmos = Cosmos::read(vars);
        let retention = vars.parsed("RETENTION_DAYS", "90", "days from 1 to 24855", |days: &u64| (1..=24_855).contains(days));
        let partitions_per_day = vars.parsed("PARTITIONS_PER_DAY", "4", "a number from 1 to 100", |n: &u8| (1..=100).contains(n));
        let identity_client_id = vars.optional("AzureWebJobsStorage__clientId");
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
            retention: Duration::from_secs(retention? * 86_400),
            partitions_per_day: partitions_per_day?,
            identity_client_id,
        })
    }

    /// The address to listen on: IPv4 loopback, because the host speaks to `127.0.0.1` and nobody else should.
    #[must_use]
    pub fn listen_on(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.port)
    }
}

impl Office365 {
    fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let tenant_id = vars.required("OFFICE365_TENANT_ID").and_then(|id| vars.guid("OFFICE365_TENANT_ID", id));
        let client_id = vars.optional("OFFICE365_CLIENT_ID");
        let client_secret = vars.optional("OFFICE365_CLIENT_SECRET").map(Secret::from);
        if client_secret.is_some() && client_id.is_none() {
            vars.fault("OFFICE365_CLIENT_SECRET", "is set but OFFICE365_CLIENT_ID is not: name the app that the secret belongs to");
        }
        let cloud = vars.or_default("OFFICE365_CLOUD", "enterprise");
        let known = CLOUDS.iter().find(|(name, _, _)| *name == cloud);
        if known.is_none() {
            vars.fault("OFFICE365_CLOUD", format!("is {cloud:?}; it must be one of enterprise, gcc, gcc-high, dod"));
        }
        let (_, api, login) = known.unwrap_or(&CLOUDS[0]);
        let api_url = vars.secure_url("OFFICE365_API_URL", Some(api));
        let login_url = vars.secure_url("OFFICE365_LOGIN_URL", Some(login));
        let publisher_id = match vars.optional("OFFICE365_PUBLISHER_ID") {
            Some(id) => vars.guid("OFFICE365_PUBLISHER_ID", id),
            None => tenant_id.clone(),
        };
        Some(Self {
            tenant_id: tenant_id?,
            client_id,
            client_secret,
            api_url: api_url?,
            login_url: login_url?,
            publisher_id: publisher_id?,
        })
    }
}

impl Cosmos {
    fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let endpoint = vars.required("COSMOS_ENDPOINT").and_then(|_| vars.secure_url("COSMOS_ENDPOINT", None));
        Some(Self {
            endpoint: endpoint?,
            key: vars.optional("COSMOS_KEY").map(Secret::from),
            database: vars.or_default("COSMOS_DATABASE", "office365"),
            container: vars.or_default("COSMOS_CONTAINER", "activity"),
        })
    }
}

fn read_workloads(vars: &mut Vars<'_>) -> Option<Vec<Workload>> {
    let Some(list) = vars.ask("WORKLOADS", Some("all five")) else {
        return Some(Workload::ALL.to_vec());
    };
    let mut workloads = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match Workload::from_str(name) {
            Ok(workload) if !workloads.contains(&workload) => workloads.push(workload),
            Ok(_) => {}
            Err(reason) => vars.fault("WORKLOADS", reason),
        }
    }
    if workloads.is_empty() {
        vars.fault("WORKLOADS", "names no workload");
    }
    Some(workloads)
}

/// The variables, which of them were asked for, and what was found wrong with them so far.
pub(crate) struct Vars<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<(String, String)>,
    /// Names, each with its default.
    asked: RefCell<Vec<(String, Option<String>)>>,
}

impl Vars<'_> {
    pub(crate) fn fault(&mut self, name: &str, reason: impl fmt::Display) {
        self.faults.push((name.to_owned(), reason.to_string()));
    }

    /// All that was asked for, and what was found fault with, each once.
    fn settings(&self) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        let asked = self.asked.borrow();
        let faulty = self.faults.iter().map(|(name, _)| (name, None));
        for (name, default) in asked.iter().map(|(name, default)| (name, default.clone())).chain(faulty) {
            if settings.iter().any(|setting| setting.name == *name) {
                continue;
            }
            let faults: Vec<_> = self.faults.iter().filter(|(faulty, _)| faulty == name).map(|(_, reason)| reason.as_str()).collect();
            let fault = (!faults.is_empty()).then(|| faults.join("; "));
            settings.push(Setting { name: name.clone(), value: self.value(name), default, fault });
        }
        settings
    }

    fn ask(&self, name: &str, default: Option<&str>) -> Option<String> {
        self.asked.borrow_mut().push((name.to_owned(), default.map(str::to_owned)));
        self.value(name)
    }

    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        self.ask(name, None)
    }

    fn value(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&mut self, name: &str) -> Option<String> {
        let value = self.optional(name);
        if value.is_none() {
            self.fault(name, "is missing");
        }
        value
    }

    fn or_default(&self, name: &str, default: &str) -> String {
        self.ask(name, Some(default)).unwrap_or_else(|| default.to_owned())
    }

    fn parsed<T: FromStr>(&mut self, name: &str, default: &str, expected: &str, valid: impl Fn(&T) -> bool) -> Option<T> {
        let text = self.or_default(name, default);
        let value = text.parse().ok().filter(valid);
        if value.is_none() {
            self.fault(name, format!("is {text:?}; it must be {expected}"));
        }
        value
    }

    fn guid(&mut self, name: &str, text: String) -> Option<String> {
        let shape = is_guid(&text);
        if !shape {
            // Not what it is: secrets are pasted into the neighbour's field.
            self.fault(name, "is no GUID; it must be one such as 0873ee4d-d342-44f2-8961-74c442a2fad2");
        }
        shape.then(|| text.to_ascii_lowercase())
    }

    pub(crate) fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        match Url::parse(text) {
            Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => Some(url),
            _ => {
                // Not what it is: a connection string is easily pasted here, key and all.
                self.fault(name, "is no address; it must be one such as https://name.example");
                None
            }
        }
    }

    /// An address that tokens and keys travel to: https, or http where it stays on this machine.
    fn secure_url(&mut self, name: &str, default: Option<&str>) -> Option<Url> {
        let text = self.ask(name, default).or_else(|| default.map(str::to_owned))?;
        let url = self.url(name, &text)?;
        if url.scheme() != "https" && !is_loopback(&url) {
            self.fault(name, "is http: beyond this machine, tokens and keys travel over https only");
        }
        Some(url)
    }
}

/// Whether a text has the shape of a GUID, in either case.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Whether an address stays on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

const QUEUE_NAME: &str = "3 to 63 lower-case letters, digits and single hyphens, with a letter or digit at each end";

/// <https://learn.microsoft.com/rest/api/storageservices/naming-queues-and-metadata>; containers follow the same rule.
fn is_storage_name(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// <https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions>, its shape only.
fn is_ncrontab(text: &str) -> bool {
    let fields: Vec<_> = text.split_whitespace().collect();
    fields.len() == 6
        && fields.iter().all(|field| field.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '*' | '/' | ',' | '-' | '?')))
}

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
        assert_eq!((config.batch_size, config.partitions_per_day), (20, 4));
        assert_eq!(config.lookback, Duration::from_secs(168 * 3600));
        assert_eq!(config.retention, Duration::from_secs(90 * 86_400));
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
        vars.extend([("OFFICE365_CLIENT_ID", "app"), ("OFFICE365_CLIENT_SECRET", "s3cret-one"), ("COSMOS_KEY", "s3cret-two")]);
        let print = format!("{:?}", read(&vars).unwrap());
        for secret in ["s3cret-one", "s3cret-two", "c2VjcmV0LWtleQ"] {
            assert!(!print.contains(secret), "{print}");
        }
    }
}
