//! A function app on disk: `host.json` and each `*/function.json`, with the host's defaults and `%SETTING%` filled in.
//! Keys that change nothing here (logging, extension bundle) are skipped.
//! <https://learn.microsoft.com/azure/azure-functions/functions-host-json>

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The app settings, by name.
pub(super) type Settings = BTreeMap<String, String>;

/// What the host knows before it starts the handler.
#[derive(Clone, Debug)]
pub(super) struct App {
    pub(super) root: PathBuf,
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) working_directory: PathBuf,
    /// `None`: unlimited.
    pub(super) function_timeout: Option<Duration>,
    pub(super) queues: Queues,
    pub(super) functions: BTreeMap<String, Trigger>,
}

/// `extensions.queues`, app-wide.
/// <https://learn.microsoft.com/azure/azure-functions/functions-bindings-storage-queue#host-json>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Queues {
    pub(super) batch_size: u32,
    pub(super) new_batch_threshold: Option<u32>,
    pub(super) max_dequeue_count: i64,
    #[serde(deserialize_with = "time_span")]
    pub(super) visibility_timeout: Duration,
    pub(super) message_encoding: Encoding,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Encoding {
    Base64,
    None,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            batch_size: 16,
            new_batch_threshold: None,
            max_dequeue_count: 5,
            visibility_timeout: Duration::ZERO,
            message_encoding: Encoding::Base64,
        }
    }
}

impl Queues {
    /// How many messages may still be in work when the next batch is fetched.
    pub(super) fn new_batch_threshold(&self) -> u32 {
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        self.new_batch_threshold.unwrap_or(self.batch_size / 2 * u32::try_from(processors).unwrap_or(1))
    }
}

/// What starts a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trigger {
    Timer { binding: String, use_monitor: bool },
    Queue { binding: String, queue: String, connection: String },
}

impl App {
    pub(super) fn read(root: &Path, executable: Option<&Path>, settings: &Settings) -> Result<Self> {
        let root = fs::canonicalize(root).with_context(|| format!("app root {}", root.display()))?;
        let host: HostJson = read_json(&root.join("host.json"))?;
        ensure!(host.version == "2.0", "host.json: version {:?}, not \"2.0\"", host.version);
        let description = host.custom_handler.description;
        let resolve = |argument: &String| expand(argument, settings);
        Ok(Self {
            executable: executable.map_or_else(|| located(&root, &description.default_executable_path), Path::to_owned),
            arguments: description.arguments.iter().map(resolve).collect::<Result<_>>()?,
            working_directory: root.join(description.working_directory),
            function_timeout: function_timeout(&host.function_timeout)?,
            queues: host.extensions.queues,
            functions: functions(&root, settings)?,
            root,
        })
    }

    pub(super) fn trigger(&self, function: &str) -> Result<&Trigger> {
        self.functions.get(function).with_context(|| format!("the app has no function {function}"))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HostJson {
    version: String,
    #[serde(default = "default_timeout")]
    function_timeout: String,
    custom_handler: CustomHandler,
    #[serde(default)]
    extensions: Extensions,
}

/// Flex, Premium and Dedicated.
fn default_timeout() -> String {
    "00:30:00".to_owned()
}

#[derive(Deserialize)]
struct CustomHandler {
    description: Description,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    default_executable_path: String,
    #[serde(default)]
    working_directory: String,
    #[serde(default)]
    arguments: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Extensions {
    #[serde(default)]
    queues: Queues,
}

#[derive(Deserialize)]
struct FunctionJson {
    bindings: Vec<Binding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    name: String,
    r#type: String,
    schedule: Option<String>,
    use_monitor: Option<bool>,
    queue_name: Option<String>,
    connection: Option<String>,
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not as the host wants it", path.display()))
}

/// A relative path that exists under the app root, else a name that is looked for in `PATH`.
fn located(root: &Path, path: &str) -> PathBuf {
    let inside = root.join(path);
    if inside.is_file() { inside } else { path.into() }
}

fn functions(root: &Path, settings: &Settings) -> Result<BTreeMap<String, Trigger>> {
    let mut functions = BTreeMap::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let path = entry.path().join("function.json");
        if path.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let trigger = trigger(read_json(&path)?, settings).with_context(|| format!("{name}/function.json"))?;
            functions.insert(name, trigger);
        }
    }
    ensure!(!functions.is_empty(), "{} holds no function: no */function.json", root.display());
    Ok(functions)
}

fn trigger(function: FunctionJson, settings: &Settings) -> Result<Trigger> {
    let is_trigger = |binding: &Binding| binding.r#type.to_lowercase().ends_with("trigger");
    let binding = function.bindings.into_iter().find(is_trigger).context("has no trigger")?;
    match binding.r#type.to_lowercase().as_str() {
        "timertrigger" => {
            let schedule = expand(&binding.schedule.context("has no schedule")?, settings)?;
            let fields = schedule.split_whitespace().count();
            ensure!(matches!(fields, 5 | 6), "the schedule {schedule:?} is no NCRONTAB of six fields");
            Ok(Trigger::Timer { binding: binding.name, use_monitor: binding.use_monitor.unwrap_or(true) })
        }
        "queuetrigger" => Ok(Trigger::Queue {
            binding: binding.name,
            queue: expand(&binding.queue_name.context("has no queueName")?, settings)?,
            connection: binding.connection.unwrap_or_else(|| "AzureWebJobsStorage".to_owned()),
        }),
        other => bail!("{other} is not played here"),
    }
}

/// Replaces each `%NAME%` by its setting; a missing one is an error, as in the host.
fn expand(text: &str, settings: &Settings) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, (name, after))) = rest.split_once('%').and_then(|(before, rest)| Some((before, rest.split_once('%')?))) {
        let value = settings.get(name).with_context(|| format!("'%{name}%' does not resolve to a value: no setting {name}"))?;
        expanded.push_str(before);
        expanded.push_str(value);
        rest = after;
    }
    Ok(expanded + rest)
}

fn function_timeout(text: &str) -> Result<Option<Duration>> {
    if text.starts_with('-') {
        return Ok(None);
    }
    parse_time_span(text).map(Some).with_context(|| format!("functionTimeout {text:?} is no time span"))
}

fn time_span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_time_span(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time span")))
}

/// .NET's `[d.]hh:mm:ss`; a fraction of a second is not needed here.
fn parse_time_span(text: &str) -> Option<Duration> {
    let (days, time) = text.split_once('.').unwrap_or(("0", text));
    let parts = time.split(':').map(|part| part.parse().ok()).collect::<Option<Vec<u64>>>()?;
    let [hours, minutes, seconds] = parts.try_into().ok()?;
    Some(Duration::from_secs(((days.parse::<u64>().ok()? * 24 + hours) * 60 + minutes) * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_repository() -> Result<()> {
        let settings = [("SCHEDULE", "0 */5 * * * *"), ("CONTENT_QUEUE", "content")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let app = App::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), None, &settings)?;
        assert_eq!(app.executable, Path::new("handler"));
        assert_eq!(app.function_timeout, Some(Duration::from_secs(600)));
        assert_eq!((app.queues.batch_size, app.queues.new_batch_threshold()), (8, 4));
        assert_eq!(app.queues.visibility_timeout, Duration::from_secs(30));
        let [binding, queue, connection] = ["msg", "content", "AzureWebJobsStorage"].map(str::to_owned);
        assert_eq!(app.trigger("StoreEvents")?, &Trigger::Queue { binding, queue, connection });
        assert_eq!(app.trigger("QueueEvents")?, &Trigger::Timer { binding: "timer".to_owned(), use_monitor: true });
        Ok(())
    }

    #[test]
    fn a_missing_setting_is_named() {
        let error = expand("a-%CONTENT_QUEUE%", &Settings::new()).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("'%CONTENT_QUEUE%' does not resolve to a value: no setting CONTENT_QUEUE"));
    }

    #[test]
    fn time_spans() {
        assert_eq!(parse_time_span("00:10:00"), Some(Duration::from_secs(600)));
        assert_eq!(parse_time_span("1.00:00:01"), Some(Duration::from_secs(86_401)));
        assert_eq!(parse_time_span("10"), None);
    }
}
