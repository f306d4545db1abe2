//! The parts that a handler runs against, started one after another, each told of on the screen. What runs the functions is
//! the callers' matter.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use chrono::TimeDelta;
use handler::operator::input::RecordReader;
use tempfile::NamedTempFile;

use crate::keep::{KeepFile, Kept, STORAGE};
use crate::paths::repository;
use crate::screen::{self, Screen};
use crate::text_table::Count;
use standins::azurite::{ACCOUNT, Azurite, AzuriteOptions};
use standins::cosmos::{Cosmos, CosmosOptions};
use standins::host::{Host, HostOptions, LineSink};
use standins::tenant::{NewBlob, Tenant, TenantOptions, generate, playback, tally};

/// App settings, by name.
pub type Settings = BTreeMap<String, String>;

/// Whose audit activity is collected.
#[derive(Clone, Debug)]
pub enum Source {
    /// A simulated tenant with the records of a file, one JSON object a line.
    Playback {
        /// The file.
        records: PathBuf,
        /// Decides how records are packed into content blobs.
        seed: u64,
    },
    /// A simulated tenant with records made up.
    Generated {
        /// How many, repeats included.
        count: usize,
        /// The same seed makes the same tenant.
        seed: u64,
        /// Without the attack that is otherwise among them.
        is_calm: bool,
    },
    /// The tenant that these settings name, as [`real_tenant`] finds them.
    Real(Settings),
}

/// The settings of the environment, if they name a real tenant: with a secret among them.
pub fn real_tenant(environment: impl Iterator<Item = (String, String)>) -> Option<Settings> {
    const TAKEN: [&str; 4] = ["OFFICE365_", "COSMOS_", "AzureWebJobsStorage", "SSL_CERT_"];
    const TUNING: [&str; 8] = [
        "WORKLOADS",
        "SCHEDULE",
        "CONTENT_QUEUE",
        "STATE_CONTAINER",
        "LOOKBACK_HOURS",
        "BATCH_SIZE",
        "RETENTION_DAYS",
        "PARTITIONS_PER_DAY",
    ];
    let is_ours = |name: &str| TAKEN.iter().any(|prefix| name.starts_with(prefix)) || TUNING.contains(&name);
    let settings: Settings = environment.filter(|(name, value)| is_ours(name) && !value.trim().is_empty()).collect();
    settings.contains_key("OFFICE365_CLIENT_SECRET").then_some(settings)
}

/// What is running. All of it ends when this is dropped.
pub struct Stack {
    /// `None` where the real one is used.
    pub tenant: Option<Tenant>,
    /// `None` where the settings name another account.
    pub azurite: Option<Azurite>,
    /// `None` where the settings name another account.
    pub cosmos: Option<Cosmos>,
    /// What the handler gets to see of it.
    pub settings: Settings,
}

/// How to start a [`Stack`].
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// The tenant.
    pub source: Source,
    /// Where Azurite keeps its data; in memory if `None`.
    pub state: Option<PathBuf>,
    /// The database. Its port and partitions matter, the names are the handler's.
    pub cosmos: CosmosOptions,
}

impl Stack {
    /// Starts what the settings do not name already.
    ///
    /// # Errors
    ///
    /// One line that says what to do.
    pub async fn start(options: StackOptions, screen: &Screen) -> Result<Self> {
        let mut settings =
            Settings::from([("SCHEDULE".to_owned(), "0 */5 * * * *".to_owned()), ("CONTENT_QUEUE".to_owned(), "content".to_owned())]);
        let tenant = match &options.source {
            Source::Real(given) => {
                settings.extend(given.clone());
                screen
                    .part("tenant", format_args!("{}, the real one", given.get("OFFICE365_TENANT_ID").map_or("not named", String::as_str)));
                None
            }
            simulated => {
                refuse_old_state(options.state.as_deref())?;
                let tenant = simulated_tenant(simulated, screen).await?;
                settings.extend(tenant.graph_settings());
                Some(tenant)
            }
        };
        let azurite = storage(&mut settings, options.state, screen).await?;
        let cosmos = database(&mut settings, options.cosmos, screen).await?;
        Ok(Self { tenant, azurite, cosmos, settings })
    }

    /// Starts a handler of it, whose lines go to the sink.
    ///
    /// # Errors
    ///
    /// The handler died, or did not answer; the error ends with its last lines.
    pub async fn host(&self, executable: &Path, on_line: Option<LineSink>) -> Result<Host> {
        Host::start(HostOptions { on_line, ..self.host_options(executable) }).await
    }

    /// What [`Stack::host`] starts a handler with.
    pub fn host_options(&self, executable: &Path) -> HostOptions {
        HostOptions {
            app_root: repository().to_owned(),
            executable: Some(executable.to_owned()),
            settings: self.settings.clone(),
            ..HostOptions::default()
        }
    }

    /// Starts the handler that is staged in a folder, as its `host.json` says, from there.
    ///
    /// # Errors
    ///
    /// As [`Stack::host`]; or something is missing in the folder.
    pub async fn staged_host(&self, folder: &Path, on_line: Option<LineSink>) -> Result<Host> {
        let options = HostOptions { app_root: folder.to_owned(), settings: self.settings.clone(), on_line, ..HostOptions::default() };
        Host::start(options).await
    }

    /// The settings as a file that a shell reads, for its owner alone and gone when dropped; `None` where the tenant is a real
    /// one, whose secret is not ours to write down.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn settings_file(&self) -> Result<Option<NamedTempFile>> {
        if self.tenant.is_none() {
            return Ok(None);
        }
        let mut file = tempfile::Builder::new().prefix("handler-").suffix(".env").tempfile()?;
        for (name, value) in &self.settings {
            writeln!(file, "export {name}='{}'", value.replace('\'', r"'\''"))?;
        }
        Ok(Some(file))
    }

    /// Notes for `graph` and `query` where the database is; `None` where it is none of ours, and its key not ours to write down.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn keep_file(&self) -> Result<Option<KeepFile>> {
        let Some(cosmos) = &self.cosmos else { return Ok(None) };
        let setting = |name| self.settings.get(name).cloned().unwrap_or_default();
        let kept = Kept {
            endpoint: cosmos.endpoint().to_string(),
            key: cosmos.key().to_owned(),
            database: setting("COSMOS_DATABASE"),
            container: setting("COSMOS_CONTAINER"),
            storage: self.azurite.as_ref().map(Azurite::connection_string),
            process: std::process::id(),
        };
        KeepFile::write(kept).map(Some)
    }

    /// Ends it all in good order, so that Azurite writes its last changes to disk.
    pub async fn stop(self) {
        if let Some(azurite) = self.azurite {
            azurite.stop().await;
        }
        if let Some(cosmos) = self.cosmos {
            cosmos.stop().await;
        }
        if let Some(tenant) = self.tenant {
            tenant.stop().await;
        }
    }
}

/// A simulated tenant is a new one each time: a checkpoint of the last one would hide what is old in it.
fn refuse_old_state(state: Option<&Path>) -> Result<()> {
    let Some(path) = state else { return Ok(()) };
    let is_empty = fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
    ensure!(
        is_empty,
        "--state {}: there is something in it, and a simulated tenant is new each time: name an empty directory",
        path.display()
    );
    Ok(())
}

/// A tenant with its records published.
async fn simulated_tenant(source: &Source, screen: &Screen) -> Result<Tenant> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    // Whoever tries a search of it need not wait for minutes.
    tenant.set_search(|search| search.takes = TimeDelta::seconds(20));
    let (blobs, origin) = match source {
        Source::Playback { records, seed } => {
            let converted = records_of_csv(records)?;
            let lines = converted.as_ref().map_or(records.as_path(), |file| file.path());
            (playback::blobs(lines, *seed, tenant.now())?, format!("of {}", records.display()))
        }
        Source::Generated { count, seed, is_calm } => {
            let make = if *is_calm { generate::generate_calm } else { generate::generate };
            (make(*seed, *count, tenant.now()), format!("made from seed {seed}"))
        }
        Source::Real(_) => (Vec::new(), String::new()),
    };
    let records: usize = tally(&blobs).values().map(|tally| tally.records).sum();
    screen.part(
        "tenant",
        format_args!(
            "{} simulated: {} records {origin} in {} content blobs",
            tenant.api_url(),
            Count(records as u64),
            Count(blobs.len() as u64)
        ),
    );
    publish(&tenant, blobs);
    Ok(tenant)
}

/// The records of Purview's CSV export, one a line; none where the file is no such export.
fn records_of_csv(path: &Path) -> Result<Option<NamedTempFile>> {
    let what = || format!("the records {} cannot be read", path.display());
    let file = fs::File::open(path).with_context(|| format!("the records {} cannot be opened", path.display()))?;
    let mut records = RecordReader::new(BufReader::new(file)).with_context(what)?;
    if !records.is_csv() {
        return Ok(None);
    }
    let mut lines = NamedTempFile::new()?;
    let mut out = BufWriter::new(&mut lines);
    let mut record = Vec::new();
    while records.read(&mut record).with_context(what)? {
        // A line break between two fields of a record is a space; within a text JSON has none.
        record.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        out.write_all(&record)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    drop(out);
    Ok(Some(lines))
}

fn publish(tenant: &Tenant, blobs: Vec<NewBlob>) {
    for blob in blobs {
        tenant.publish(blob);
    }
}

async fn storage(settings: &mut Settings, directory: Option<PathBuf>, screen: &Screen) -> Result<Option<Azurite>> {
    if let Some(given) = settings.get(STORAGE).cloned() {
        ensure!(directory.is_none(), "{STORAGE} names a storage account already: leave out --state");
        screen.part("storage", format_args!("the account that {STORAGE} names"));
        if given.trim_end_matches(';') == "UseDevelopmentStorage=true" {
            settings.insert(STORAGE.to_owned(), development_storage());
        }
        return Ok(None);
    }
    if let Some(name) = settings.keys().find(|name| name.starts_with(STORAGE)) {
        bail!(
            "{name} opens storage with a managed identity, which there is none of here: set {STORAGE} to a connection string, or leave both out"
        );
    }
    let kept = directory.as_ref().map_or_else(|| "in memory".to_owned(), |path| format!("in {}", path.display()));
    let azurite =
        Azurite::start(AzuriteOptions { directory, certificate: None, progress: |what| screen::line(format_args!("storage   {what}")) })
            .await?;
    settings.insert(STORAGE.to_owned(), azurite.connection_string());
    screen.part("storage", format_args!("{} Azurite, {kept}", azurite.blob_endpoint()));
    Ok(Some(azurite))
}

/// What the shorthand stands for: Azurite on its usual ports.
fn development_storage() -> String {
    /// <https://learn.microsoft.com/azure/storage/common/storage-connect-azurite#connection-strings>
    const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
    format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};\
         BlobEndpoint=http://127.0.0.1:10000/{ACCOUNT};QueueEndpoint=http://127.0.0.1:10001/{ACCOUNT};"
    )
}

async fn database(settings: &mut Settings, options: CosmosOptions, screen: &Screen) -> Result<Option<Cosmos>> {
    if let Some(endpoint) = settings.get("COSMOS_ENDPOINT") {
        screen.part("database", format_args!("{endpoint} as COSMOS_ENDPOINT says"));
        return Ok(None);
    }
    let advice = if options.port == 0 { "" } else { "; choose another --port, or none for a free one" };
    let cosmos = Cosmos::start(CosmosOptions { takes_tokens: false, ..options }).await.map_err(|error| anyhow!("{error:#}{advice}"))?;
    settings.extend(cosmos.settings());
    screen.part("database", format_args!("{} Cosmos DB, in memory", cosmos.endpoint()));
    Ok(Some(cosmos))
}
