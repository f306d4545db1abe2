//! Azurite, Microsoft's storage emulator: installed from its lock file, started on free loopback ports, and gone when its
//! parent is gone. What reads and writes the state kept in it is [`Storage`]. Unix only: pausing is a signal.

mod storage;

pub use storage::Storage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use url::Url;

use crate::doors::new_key;
use crate::npm::{Package, exit, last_lines};

/// The only account. Its key is made anew at each start.
pub const ACCOUNT: &str = "devstoreaccount1";

/// From the first byte of JavaScript to both services listening; it takes one second on a small machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a clean stop may take before the process is killed; `start.mjs` gives up after three seconds itself.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How to start [`Azurite`].
#[derive(Clone, Debug)]
pub struct AzuriteOptions {
    /// Where the data is kept, made if it is missing; `None` keeps it in memory.
    pub directory: Option<PathBuf>,
    /// Serves HTTPS with this certificate, and takes the access tokens of identities; `None`: HTTP, and the key alone.
    pub certificate: Option<Certificate>,
    /// Told what takes long, such as "installing Azurite…".
    pub progress: fn(&str),
}

/// A certificate for `127.0.0.1` and its key, both PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Default for AzuriteOptions {
    fn default() -> Self {
        Self { directory: None, certificate: None, progress: |_| {} }
    }
}

/// A running Azurite. Dropping it kills the process; [`Azurite::stop`] also lets it write its last changes to disk.
#[derive(Debug)]
pub struct Azurite {
    process: Child,
    pid: Pid,
    key: String,
    blob: Url,
    queue: Url,
}

impl Azurite {
    /// Installs Azurite if it is missing, and starts it.
    ///
    /// # Errors
    ///
    /// One line that says what to do: Node.js or npm is missing, the install failed, or the process died.
    pub async fn start(options: AzuriteOptions) -> Result<Self> {
        let package = package()?;
        package.install(options.progress).await?;
        let key = new_key();
        let mut process = spawn(&package, &options, &key)?;
        let pid = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).context("Azurite has no process id")?;
        let ports = ports(&mut process).await?;
        let scheme = if options.certificate.is_some() { "https" } else { "http" };
        Ok(Self { process, pid, key, blob: endpoint(scheme, ports.blob)?, queue: endpoint(scheme, ports.queue)? })
    }

    /// A connection string as `AzureWebJobsStorage` takes it, with explicit blob and queue endpoints.
    pub fn connection_string(&self) -> String {
        format!(
            "DefaultEndpointsProtocol={};AccountName={ACCOUNT};AccountKey={};BlobEndpoint={};QueueEndpoint={};",
            self.blob.scheme(),
            self.key,
            self.blob,
            self.queue
        )
    }

    /// App settings of a collector whose managed identity opens the account: addresses, and no secret. The service takes
    /// tokens over HTTPS only, so there must be a certificate.
    pub fn identity_settings(&self) -> BTreeMap<String, String> {
        let service = |name: &str, url: &Url| (format!("AzureWebJobsStorage__{name}ServiceUri"), url.to_string());
        BTreeMap::from([service("blob", &self.blob), service("queue", &self.queue)])
    }

    /// The blob service, account included: `http://127.0.0.1:PORT/devstoreaccount1`.
    pub fn blob_endpoint(&self) -> &Url {
        &self.blob
    }

    /// The queue service, account included: `http://127.0.0.1:PORT/devstoreaccount1`.
    pub fn queue_endpoint(&self) -> &Url {
        &self.queue
    }

    /// The process that serves both.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Stops the process in its tracks (SIGSTOP): connections open, answers never come.
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Undoes [`Azurite::pause`] (SIGCONT).
    ///
    /// # Errors
    ///
    /// The process is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Not reaped before `self` is dropped, so the id cannot have gone to another process.
        kill_process(self.pid, signal).context("signal Azurite")
    }

    /// Ends the process after it has written its last changes to the directory, if it has one.
    pub async fn stop(mut self) {
        let _ = self.resume();
        drop(self.process.stdin.take());
        if timeout(STOP_LIMIT, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
    }
}

/// It pins Azurite and holds `start.mjs`.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/azurite");
/// The same, for a program that was downloaded and has no repository beside it.
const FILES: [(&str, &str); 4] = [
    (".npmrc", include_str!("../azurite/.npmrc")),
    ("package.json", include_str!("../azurite/package.json")),
    ("package-lock.json", include_str!("../azurite/package-lock.json")),
    ("start.mjs", include_str!("../azurite/start.mjs")),
];

fn package() -> Result<Package> {
    let folder = match Path::new(SOURCE).is_dir() {
        true => PathBuf::from(SOURCE),
        false => unpacked()?,
    };
    Ok(Package { folder, what: "Azurite, the storage emulator,", size: "about 350 MB" })
}

/// The files in this person's cache folder.
/// <https://specifications.freedesktop.org/basedir-spec/latest/>
fn unpacked() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache"))).context("neither XDG_CACHE_HOME nor HOME is set")?;
    let folder = cache.join("office365-activity/azurite");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in FILES {
        fs::write(folder.join(name), text).with_context(|| format!("write {name} into {}", folder.display()))?;
    }
    Ok(folder)
}

fn spawn(package: &Package, options: &AzuriteOptions, key: &str) -> Result<Child> {
    let mut command = Command::new("node");
    command.arg("--no-deprecation").arg(package.folder.join("start.mjs"));
    if let Some(Certificate { certificate, key }) = &options.certificate {
        command.arg("--tls").arg(certificate).arg(key);
    }
    command
        .args(&options.directory)
        // Azurite's own setting: <https://github.com/Azure/Azurite#customized-storage-accounts--keys>
        .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{key}"))
        .stdin(Stdio::piped()) // held open: its end is how the child learns that we are gone
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A process group of its own: a terminal's Ctrl-C does not reach it before our own clean-up, and when we are
        // killed while it is paused, the system wakes and ends it, as it does for every orphaned group with a stopped member.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| package.cannot_run("node", &error))
}

#[derive(Deserialize)]
struct Ports {
    blob: u16,
    queue: u16,
}

/// Reads the line with which `start.mjs` says that it is ready, and from then on lets its output go.
async fn ports(process: &mut Child) -> Result<Ports> {
    let mut stdout = BufReader::new(process.stdout.take().context("Azurite has no stdout")?);
    let mut stderr = process.stderr.take().context("Azurite has no stderr")?;
    let mut line = String::new();
    timeout(START_LIMIT, stdout.read_line(&mut line))
        .await
        .map_err(|_| anyhow!("Azurite did not start within {} s", START_LIMIT.as_secs()))?
        .context("read Azurite's first line")?;
    if line.is_empty() {
        let mut errors = String::new();
        let _ = stderr.read_to_string(&mut errors).await;
        bail!("Azurite did not start ({}): {}", exit(process.wait().await.ok()), last_lines(&errors));
    }
    tokio::spawn(async move { tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await });
    tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
    serde_json::from_str(&line).with_context(|| format!("Azurite's first line is not its ports: {line}"))
}

fn endpoint(scheme: &str, port: u16) -> Result<Url> {
    Ok(Url::parse(&format!("{scheme}://127.0.0.1:{port}/{ACCOUNT}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Taken out: without the key of its own, the second account opens the first; without `refuseOtherPages`, 400 or 403 of
    /// another kind comes from Azurite itself.
    #[tokio::test]
    async fn opens_to_its_own_key_and_to_no_web_page() -> Result<()> {
        let azurite = Azurite::start(AzuriteOptions::default()).await?;
        let stolen = azurite.connection_string().replace(&azurite.key, &new_key());
        assert!(Storage::new(&stolen)?.create_container("state").await.is_err());
        assert!(Storage::new(&azurite.connection_string())?.create_container("state").await.is_ok());
        let client = reqwest::Client::new();
        let list = azurite.blob_endpoint().as_str().to_owned() + "?comp=list";
        let body = async |name: &str, value: &str| -> Result<(u16, bool)> {
            let answer = client.get(&list).header(name, value).send().await?;
            Ok((answer.status().as_u16(), answer.text().await?.is_empty()))
        };
        assert_eq!(body("host", "rebound.example").await?, (403, true));
        assert_eq!(body("origin", "https://evil.example").await?, (403, true));
        assert!(!body("host", "localhost").await?.1, "Azurite's own answer says why");
        Ok(())
    }

    #[tokio::test]
    async fn keeps_blobs_and_messages() -> Result<()> {
        let azurite = Azurite::start(AzuriteOptions::default()).await?;
        let storage = Storage::new(&azurite.connection_string())?;

        storage.create_container("state").await?;
        storage.create_container("state").await?;
        storage.write_blob("state", "journal/a b.ndjson", "{}\n").await?;
        assert_eq!(storage.read_blob("state", "journal/a b.ndjson").await?.as_deref(), Some("{}\n"));
        assert_eq!(storage.read_blob("state", "none").await?, None);
        assert_eq!(storage.read_blob("none", "none").await?, None);
        assert_eq!(storage.list_blobs("state").await?, ["journal/a b.ndjson"]);
        storage.delete_blob("state", "journal/a b.ndjson").await?;
        assert_eq!(storage.list_blobs("state").await?, [] as [&str; 0]);

        storage.create_queue("content").await?;
        storage.create_queue("content").await?;
        storage.send_message("content", r#"["ü<&>"]"#).await?;
        assert_eq!(storage.messages("content").await?, [r#"["ü<&>"]"#]);
        assert_eq!(storage.message_count("content").await?, 1);
        storage.clear_queue("content").await?;
        assert_eq!(storage.message_count("content").await?, 0);
        assert_eq!(storage.message_count("none").await?, 0);
        azurite.stop().await;
        Ok(())
    }

    #[tokio::test]
    async fn keeps_a_directory_over_restarts() -> Result<()> {
        let directory = tempfile::tempdir()?;
        for round in 0..2 {
            let directory = Some(directory.path().join("azurite"));
            let azurite = Azurite::start(AzuriteOptions { directory, ..AzuriteOptions::default() }).await?;
            let storage = Storage::new(&azurite.connection_string())?;
            storage.create_container("state").await?;
            assert_eq!(storage.list_blobs("state").await?.len(), round);
            storage.write_blob("state", "kept", "text").await?;
            azurite.stop().await;
        }
        Ok(())
    }

    #[tokio::test]
    async fn pauses_and_dies_with_its_owner() -> Result<()> {
        let azurite = Azurite::start(AzuriteOptions::default()).await?;
        let storage = Storage::new(&azurite.connection_string())?;
        azurite.pause()?;
        assert!(timeout(Duration::from_millis(300), storage.create_queue("content")).await.is_err());
        azurite.resume()?;
        storage.create_queue("content").await?;

        azurite.pause()?;
        let pid = azurite.pid;
        drop(azurite);
        for _ in 0..100 {
            if rustix::process::test_kill_process(pid).is_err() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("Azurite outlived its owner");
    }
}
