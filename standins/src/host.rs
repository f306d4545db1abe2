//! A stand-in for the Azure Functions host, for machines without Core Tools and for tests: reads the app's `host.json` and
//! `function.json` files, runs the custom handler, and speaks to it as the real host does, faults included. Timers fire when
//! told to; schedules, scaling and HTTP triggers are not played. Unix only.

mod app;
mod call;
mod payload;
mod process;
mod queue;

pub use payload::{HostMessage, ScheduleStatus, System, queue_payload, timer_payload};
pub use process::{LineSink, LogLevel, LoggedLine};
pub use queue::{QueueSummary, QueueUntil};

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use serde_json::Value;
use uuid::Uuid;

use crate::azurite::Storage;
use crate::ports::Port;
use app::{App, Trigger};
use call::Caller;
use process::{Launch, Output, PROBE_EVERY, State, Supervisor};

/// Another process may take the port between our look and the handler's; then another one is tried.
const PORT_TRIES: u32 = 3;

/// What to run, and how.
#[derive(Clone, Default)]
pub struct HostOptions {
    /// The folder of `host.json`.
    pub app_root: PathBuf,
    /// Runs this file in place of `defaultExecutablePath`.
    pub executable: Option<PathBuf>,
    /// The app settings: all that the handler sees in its environment but for `PATH`, `HOME` and the like.
    pub settings: BTreeMap<String, String>,
    /// Holds the queues; `None`: the account that a trigger's connection setting names.
    pub storage: Option<Storage>,
    /// Sends requests with a Content-Length, as under Core Tools, and not in chunks, as in Azure.
    pub buffered_bodies: bool,
    /// In place of host.json's `functionTimeout`.
    pub function_timeout: Option<Duration>,
    /// In place of host.json's `visibilityTimeout`: the wait after a failure. Whole seconds.
    pub visibility_timeout: Option<Duration>,
    /// In place of the ten minutes for which a received message is hidden. Whole seconds, at least one.
    pub message_lease: Option<Duration>,
    /// In place of the 25 ms between two readiness probes.
    pub probe_every: Option<Duration>,
    /// Told of each line that the handler prints.
    pub on_line: Option<LineSink>,
}

impl fmt::Debug for HostOptions {
    /// Names the settings without their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<_> = self.settings.keys().collect();
        f.debug_struct("HostOptions").field("app_root", &self.app_root).field("settings", &settings).finish_non_exhaustive()
    }
}

/// One call of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The function's name.
    pub function: String,
    /// `X-Azure-Functions-InvocationId`.
    pub id: Uuid,
    /// How it ended.
    pub outcome: InvocationOutcome,
    /// From the request to the end, without waiting for a handler that was being started.
    pub duration: Duration,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum InvocationOutcome {
    /// 2xx with a JSON object.
    Succeeded {
        /// `Logs`, which the host logs as Information.
        logs: Vec<String>,
        /// The whole object.
        reply: Value,
    },
    /// Anything else that ended.
    Failed {
        /// The host's exception.
        reason: String,
    },
    /// No end, or an empty or null one, within `functionTimeout`. The handler was killed for it.
    TimedOut,
}

impl InvocationOutcome {
    /// Whether a queue message would be deleted for it.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded { .. })
    }
}

/// A running host with its handler. Dropping it kills the handler; so does killing our own process.
pub struct Host {
    core: Arc<Core>,
    storage: Option<Storage>,
    ready_after: Duration,
    /// The last run of each timer, as its monitor would keep it.
    last_runs: Mutex<BTreeMap<String, DateTime<Utc>>>,
}

/// What invocations in parallel share.
struct Core {
    launch: Launch,
    supervisor: Supervisor,
    function_timeout: Option<Duration>,
    visibility_timeout: Option<Duration>,
    lease: Option<Duration>,
    /// The process that was last ended because an invocation timed out.
    timed_out: Mutex<Option<u32>>,
}

impl Host {
    /// Reads the app and starts its handler.
    ///
    /// # Errors
    ///
    /// A file of the app or a setting that it names is missing; or the handler could not be started, died (with its exit
    /// code and last lines), or did not answer `GET /` within 30 seconds.
    pub async fn start(options: HostOptions) -> Result<Self> {
        let app = App::read(&options.app_root, options.executable.as_deref(), &options.settings)?;
        let function_timeout = options.function_timeout.or(app.function_timeout);
        let mut launch = Launch {
            app,
            settings: options.settings,
            port: Port::lease()?,
            caller: Caller::new(options.buffered_bodies)?,
            probe_every: options.probe_every.unwrap_or(PROBE_EVERY),
            output: Output::new(options.on_line),
        };
        let begin = Instant::now();
        let process = start_on_free_port(&mut launch).await?;
        let ready_after = begin.elapsed();
        let core = Core {
            supervisor: Supervisor::new(launch.clone(), process),
            launch,
            function_timeout,
            visibility_timeout: options.visibility_timeout,
            lease: options.message_lease,
            timed_out: Mutex::default(),
        };
        Ok(Self { core: Arc::new(core), storage: options.storage, ready_after, last_runs: Mutex::default() })
    }

    /// Where the handler listens, the same over restarts.
    pub fn port(&self) -> u16 {
        self.core.launch.port.number()
    }

    /// The handler's process, if one is ready.
    pub fn pid(&self) -> Option<u32> {
        match self.core.supervisor.state() {
            State::Ready { pid } => Some(pid),
            State::Starting | State::Gone | State::Down(_) => None,
        }
    }

    /// From the first start to the first answered probe.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Why the host has given up its handler, if it has.
    pub fn failure(&self) -> Option<String> {
        match self.core.supervisor.state() {
            State::Down(reason) => Some(reason),
            State::Ready { .. } | State::Starting | State::Gone => None,
        }
    }

    /// Fires a timer now. Its schedule status tells of the last run in this host's life.
    pub async fn run_timer(&self, function: &str) -> Invocation {
        let (binding, use_monitor) = match self.core.launch.app.trigger(function) {
            Ok(Trigger::Timer { binding, use_monitor }) => (binding, *use_monitor),
            Ok(_) => return Invocation::not_made(function, "is no timer"),
            Err(_) => return Invocation::not_made(function, "is not in the app"),
        };
        let system = System::new(function);
        let last = self.last_runs.lock().unwrap_or_else(PoisonError::into_inner).insert(function.to_owned(), system.now);
        let status = use_monitor.then_some(ScheduleStatus { last, next: system.now });
        self.core.invoke(function, timer_payload(binding, status.as_ref(), false, &system)).await
    }

    /// Hands a message's text to the handler as if it had just been received for the first time. No queue takes part.
    pub async fn run_queue_message(&self, function: &str, text: &str) -> Invocation {
        let binding = match self.core.launch.app.trigger(function) {
            Ok(Trigger::Queue { binding, .. }) => binding,
            Ok(_) => return Invocation::not_made(function, "is no queue function"),
            Err(_) => return Invocation::not_made(function, "is not in the app"),
        };
        let payload = queue_payload(binding, &HostMessage::new(text), &System::new(function));
        self.core.invoke(function, payload).await
    }

    /// Listens to the app's queues, each with its function, in parallel as host.json says.
    ///
    /// # Errors
    ///
    /// The storage account is not known, or could not be reached over and over.
    pub async fn run_queue(&self, until: QueueUntil) -> Result<QueueSummary> {
        let listeners = self.core.launch.app.functions.iter().filter_map(|(function, trigger)| match trigger {
            Trigger::Queue { binding, queue, connection } => Some((function, binding, queue, connection)),
            Trigger::Timer { .. } => None,
        });
        let runs = listeners.map(|(function, binding, queue, connection)| async move {
            let listener = queue::Listener {
                core: self.core.clone(),
                storage: self.storage(connection)?,
                function: function.clone(),
                binding: binding.clone(),
                queue: queue.clone(),
            };
            listener.run(until).await
        });
        Ok(QueueSummary::sum(try_join_all(runs).await?))
    }

    fn storage(&self, connection: &str) -> Result<Storage> {
        if let Some(storage) = &self.storage {
            return Ok(storage.clone());
        }
        let setting = self.core.launch.settings.get(connection);
        Storage::new(setting.with_context(|| format!("no setting {connection} with the storage account's connection string"))?)
    }

    /// What the handler printed so far, over all its lives.
    pub fn output(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| line.text).collect()
    }

    /// As [`Host::output`], with the level that the host would log each line at.
    pub fn lines(&self) -> Vec<LoggedLine> {
        self.core.launch.output.lines()
    }

    /// Kills the handler with SIGKILL, now. The host starts it again by itself. Not counted among the handler's own deaths,
    /// three of which end the host.
    pub fn kill(&self) {
        self.core.supervisor.restart();
    }

    /// Kills the handler and waits until the next one is ready.
    pub async fn restart(&self) {
        let old = self.pid().unwrap_or_default();
        self.kill();
        self.core.supervisor.replaced(old).await;
    }

    /// Dies, as the real host does when several invocations time out together: the handler is left behind, listening, and nobody
    /// starts another. Returns its process id.
    pub async fn die(&self) -> Option<u32> {
        self.core.supervisor.die().await;
        self.orphan()
    }

    /// The handler that this host left behind when it died.
    pub fn orphan(&self) -> Option<u32> {
        self.core.supervisor.orphan()
    }

    /// Kills the handler, as the host does when it shuts down: without a word.
    pub async fn stop(self) {
        if let Some(core) = Arc::into_inner(self.core) {
            core.supervisor.stop().await;
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("port", &self.port()).field("pid", &self.pid()).finish_non_exhaustive()
    }
}

async fn start_on_free_port(launch: &mut Launch) -> Result<process::Process> {
    let mut tries = 0;
    loop {
        tries += 1;
        match launch.start().await {
            Err(error) if tries < PORT_TRIES && error.to_string().to_lowercase().contains("in use") => launch.port = Port::lease()?,
            result => return result,
        }
    }
}

impl Core {
    async fn invoke(&self, function: &str, payload: String) -> Invocation {
        let state = self.supervisor.settled().await;
        if let State::Down(reason) = state {
            return Invocation::not_made(function, &reason);
        }
        let (begin, id) = (Instant::now(), Uuid::new_v4());
        let outcome = self.launch.caller.invoke(self.launch.port.number(), function, id, payload, self.function_timeout).await;
        let duration = begin.elapsed();
        if let (InvocationOutcome::TimedOut, State::Ready { pid }) = (&outcome, state) {
            self.replace(pid).await;
        }
        Invocation { function: function.to_owned(), id, outcome, duration }
    }

    /// One invocation that timed out ends the process, and with it all others in flight. Where several time out together, the
    /// host itself dies, and leaves the process behind that it had just started. The real one was seen to with ten; here two are
    /// enough.
    async fn replace(&self, pid: u32) {
        let last = self.timed_out.lock().unwrap_or_else(PoisonError::into_inner).replace(pid);
        let is_first = last != Some(pid);
        if is_first && matches!(self.supervisor.state(), State::Ready { pid: current } if current == pid) {
            self.supervisor.restart();
        }
        self.supervisor.replaced(pid).await;
        if !is_first {
            self.supervisor.die().await;
        }
    }

    fn is_down(&self) -> bool {
        matches!(self.supervisor.state(), State::Down(_))
    }
}

impl Invocation {
    fn not_made(function: &str, reason: &str) -> Self {
        let outcome = InvocationOutcome::Failed { reason: format!("{function}: {reason}") };
        Self { function: function.to_owned(), id: Uuid::new_v4(), outcome, duration: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests;
