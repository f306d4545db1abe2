//! Owns the handler's process: starts it, waits until it answers, reads what it prints, and starts it again when it dies,
//! by the host's rules. What is said to the port meanwhile is `call`'s part.
//! <https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Workers/ProcessManagement/WorkerProcess.cs>

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::app::App;
use super::call::Caller;
use crate::ports::Port;

/// Between two readiness probes.
pub(super) const PROBE_EVERY: Duration = Duration::from_millis(25);
/// `InitializationTimeout`: how long a handler may take to answer `GET /`.
const START_LIMIT: Duration = Duration::from_secs(30);
/// This exit code asks for a restart that is not counted.
const RESTART_CODE: i32 = 200;
/// So many errors end the host.
const MAX_ERRORS: usize = 3;
/// Errors further apart than this are forgiven.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30 * 60);
/// What of our own environment the handler gets to see; all else is settings.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ"];

/// Told of each line that the handler prints.
pub type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

/// How the host logs a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// A line of stdout.
    Information,
    /// A line of stderr that contains "warn".
    Warning,
    /// Any other line of stderr.
    Error,
}

/// A line that the handler printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedLine {
    /// As the host would log it.
    pub level: LogLevel,
    /// Without its line end.
    pub text: String,
}

/// How it is with the handler.
#[derive(Clone, Debug)]
pub(super) enum State {
    Starting,
    Ready {
        pid: u32,
    },
    /// It exited with 0: nobody starts it again, and every call fails.
    Gone,
    /// The host has given up, or was stopped.
    Down(String),
}

/// What a process is started with, each time.
#[derive(Clone)]
pub(super) struct Launch {
    pub(super) app: App,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) port: Port,
    pub(super) caller: Caller,
    pub(super) probe_every: Duration,
    pub(super) output: Output,
}

/// All lines so far, and who is told of new ones.
#[derive(Clone)]
pub(super) struct Output {
    lines: Arc<Mutex<Vec<LoggedLine>>>,
    sink: Option<LineSink>,
}

impl Output {
    pub(super) fn new(sink: Option<LineSink>) -> Self {
        Self { lines: Arc::default(), sink }
    }

    pub(super) fn lines(&self) -> Vec<LoggedLine> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, line: LoggedLine) {
        if let Some(sink) = &self.sink {
            sink(&line.text);
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn last(&self, count: usize) -> String {
        let lines = self.lines();
        let last: Vec<_> = lines[lines.len().saturating_sub(count)..].iter().map(|line| line.text.as_str()).collect();
        if last.is_empty() { "it printed nothing".to_owned() } else { last.join(" | ") }
    }
}

/// The handler, watched over until this is dropped.
pub(super) struct Supervisor {
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Receiver<State>,
    orphan: Arc<Mutex<Option<Orphan>>>,
    task: JoinHandle<()>,
}

/// The process that a host left behind when it died. Should it stay, it is killed with this.
struct Orphan {
    pid: u32,
    process: Option<OwnedFd>,
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }
}

enum Order {
    /// Kill and start again.
    Restart,
    /// The host itself dies, without a word to the process.
    Die,
}

impl Supervisor {
    /// Watches over a process that is ready.
    pub(super) fn new(launch: Launch, process: Process) -> Self {
        let (orders, received) = mpsc::unbounded_channel();
        let (told, state) = watch::channel(State::Ready { pid: process.pid });
        let orphan = Arc::default();
        let task = tokio::spawn(supervise(launch, process, received, told, Arc::clone(&orphan)));
        Self { orders, state, orphan, task }
    }

    /// Ends the host and leaves the process as it is.
    pub(super) async fn die(&self) {
        let _ = self.orders.send(Order::Die);
        let _ = self.state.clone().wait_for(|state| matches!(state, State::Down(_))).await;
    }

    /// The process that was left behind.
    pub(super) fn orphan(&self) -> Option<u32> {
        self.orphan.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|orphan| orphan.pid)
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Kills the process; it is started again at once.
    pub(super) fn restart(&self) {
        let _ = self.orders.send(Order::Restart);
    }

    /// Waits while the process is being started.
    pub(super) async fn settled(&self) -> State {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Starting)).await;
        settled.map_or_else(|_| State::Down("the host was stopped".to_owned()), |state| state.clone())
    }

    /// Waits until a process other than this one is there, or none ever will be.
    pub(super) async fn replaced(&self, old: u32) {
        let is_new = |state: &State| match state {
            State::Ready { pid } => *pid != old,
            State::Down(_) => true,
            State::Starting | State::Gone => false,
        };
        let _ = self.state.clone().wait_for(is_new).await;
    }

    /// Kills the process and waits until it is gone.
    pub(super) async fn stop(self) {
        drop(self.orders);
        let _ = self.task.await;
    }
}

async fn supervise(
    launch: Launch,
    mut process: Process,
    mut orders: mpsc::UnboundedReceiver<Order>,
    told: watch::Sender<State>,
    orphan: Arc<Mutex<Option<Orphan>>>,
) {
    let mut errors = Errors::default();
    loop {
        let ending = tokio::select! {
            status = process.parent.wait() => Ending::Exited(code(status.ok())),
            order = orders.recv() => match order {
                Some(Order::Restart) => Ending::Killed,
                Some(Order::Die) => {
                    let left = process.leave().await;
                    *orphan.lock().unwrap_or_else(PoisonError::into_inner) = Some(left);
                    return died(&told);
                }
                None => Ending::Stopped,
            },
        };
        // At once: calls that come from now on wait for the next process.
        told.send_replace(if matches!(ending, Ending::Exited(0)) { State::Gone } else { State::Starting });
        process.end().await;
        match ending {
            Ending::Stopped => return,
            Ending::Killed | Ending::Exited(RESTART_CODE) => {}
            Ending::Exited(0) => match orders.recv().await {
                Some(Order::Restart) => {}
                Some(Order::Die) => return died(&told),
                None => return,
            },
            Ending::Exited(code) => {
                if errors.add(format!("the handler exited with code {code}: {}", launch.output.last(3)), &told) {
                    return;
                }
            }
        }
        told.send_replace(State::Starting);
        process = tokio::select! {
            process = started(&launch, &mut errors, &told) => match process {
                Some(process) => process,
                None => return,
            },
            order = last_order(&mut orders) => match order {
                Some(_) => return died(&told),
                None => return,
            },
        };
        told.send_replace(State::Ready { pid: process.pid });
    }
}

enum Ending {
    Exited(i32),
    Killed,
    Stopped,
}

/// Starts a process until one is ready; `None` when the host gives up.
async fn started(launch: &Launch, errors: &mut Errors, told: &watch::Sender<State>) -> Option<Process> {
    loop {
        match launch.start().await {
            Ok(process) => return Some(process),
            Err(error) if errors.add(format!("{error:#}"), told) => return None,
            Err(_) => {}
        }
    }
}

fn died(told: &watch::Sender<State>) {
    told.send_replace(State::Down("the host died".to_owned()));
}

/// The order to die, or none once nobody can give orders any more. An order to restart while starting is carried out already.
async fn last_order(orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<Order> {
    loop {
        match orders.recv().await {
            Some(Order::Restart) => {}
            order => return order,
        }
    }
}

/// The host's bucket of errors.
#[derive(Default)]
struct Errors {
    count: usize,
    last: Option<Instant>,
}

impl Errors {
    /// Whether that was one too many.
    fn add(&mut self, error: String, told: &watch::Sender<State>) -> bool {
        if self.last.is_some_and(|last| last.elapsed() > FORGIVEN_AFTER) {
            self.count = 0;
        }
        self.count += 1;
        self.last = Some(Instant::now());
        let full = self.count >= MAX_ERRORS;
        if full {
            let reason = format!("Exceeded http worker restart retry count. Shutting down Functions Host: {error}");
            told.send_replace(State::Down(reason));
        }
        full
    }
}

/// .NET's exit code: 128 and the signal's number for a process that was killed.
fn code(status: Option<ExitStatus>) -> i32 {
    status.and_then(|status| status.code().or(status.signal().map(|signal| 128 + signal))).unwrap_or(-1)
}

/// A handler that answers.
pub(super) struct Process {
    pid: u32,
    // Before the parent, so that it is gone before the handler's id can be given to another.
    guard: Child,
    /// The host as the handler sees it: its parent, a process of its own, which can die without us. Its exit code is the handler's.
    parent: Child,
    readers: Vec<JoinHandle<()>>,
}

impl Launch {
    /// Starts the handler and waits until it answers.
    ///
    /// # Errors
    ///
    /// It cannot be run, died, or did not answer in time; the message ends with what it printed last.
    pub(super) async fn start(&self) -> Result<Process> {
        let mut process = self.spawn().await?;
        let ready = async {
            while !self.caller.probe(self.port.number()).await {
                sleep(self.probe_every).await;
            }
        };
        tokio::select! {
            ready = timeout(START_LIMIT, ready) => match ready {
                Ok(()) => Ok(process),
                Err(_) => {
                    process.end().await;
                    bail!("the handler did not answer GET / within {} s: {}", START_LIMIT.as_secs(), self.output.last(10));
                }
            },
            status = process.parent.wait() => {
                let code = code(status.ok());
                process.end().await;
                bail!("the handler exited with code {code} before it was ready: {}", self.output.last(10));
            }
        }
    }

    async fn spawn(&self) -> Result<Process> {
        self.can_start()?;
        let mut parent = Command::new("sh")
            .args(["-c", PARENT, "sh"])
            .arg(&self.app.executable)
            .args(&self.app.arguments)
            .current_dir(&self.app.working_directory)
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?))))
            .envs(&self.settings)
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // a terminal's Ctrl-C is for us; we end the handler
            .kill_on_drop(true)
            .spawn()
            .context("start the handler's parent (sh)")?;
        let mut stdout = BufReader::new(parent.stdout.take().context("the handler has no stdout")?);
        let mut pid = String::new();
        stdout.read_line(&mut pid).await.context("read the handler's process id")?;
        let pid = pid.trim().parse().context("the handler has no process id")?;
        let mut readers = vec![self.read(stdout, |_| LogLevel::Information)];
        readers.extend(parent.stderr.take().map(|stderr| self.read(stderr, stderr_level)));
        Ok(Process { pid, guard: guard(pid)?, parent, readers })
    }

    /// Says what is wrong with a path; a bare name is looked up later.
    fn can_start(&self) -> Result<()> {
        if self.app.executable.components().count() == 1 {
            return Ok(());
        }
        let metadata = fs::metadata(&self.app.executable).map_err(|error| self.cannot_start(&error))?;
        if metadata.permissions().mode() & 0o111 == 0 {
            return Err(self.cannot_start(&ErrorKind::PermissionDenied.into()));
        }
        Ok(())
    }

    /// What the host sets on top of the app settings.
    fn environment(&self) -> [(&'static str, String); 5] {
        let worker = Uuid::new_v4().to_string();
        [
            ("FUNCTIONS_CUSTOMHANDLER_PORT", self.port.number().to_string()),
            ("FUNCTIONS_HTTPWORKER_PORT", self.port.number().to_string()),
            ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", worker.clone()),
            ("FUNCTIONS_HTTPWORKER_ID", worker),
            ("FUNCTIONS_APP_ROOT_PATH", self.app.root.to_string_lossy().into_owned()),
        ]
    }

    fn cannot_start(&self, error: &std::io::Error) -> anyhow::Error {
        let path = self.app.executable.display();
        match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("the handler {path} is not there: build it first (cargo build)")
            }
            ErrorKind::PermissionDenied => {
                anyhow!("the handler {path} may not be executed (chmod +x)")
            }
            _ => anyhow!("the handler {path} cannot be started: {error}"),
        }
    }

    fn read(&self, stream: impl AsyncRead + Send + Unpin + 'static, level: fn(&str) -> LogLevel) -> JoinHandle<()> {
        let output = self.output.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut bytes = Vec::new();
            while stream.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
                output.push(LoggedLine { level: level(&text), text });
                bytes.clear();
            }
        })
    }
}

fn stderr_level(text: &str) -> LogLevel {
    if text.to_lowercase().contains("warn") { LogLevel::Warning } else { LogLevel::Error }
}

/// Kills the handler if we are killed ourselves: its standard input ends when we do.
fn guard(pid: u32) -> Result<Child> {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -9 "$1""#, "sh", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("start the handler's guard (sh)")
}

/// Tells the id under which the handler will run, and becomes its parent.
const PARENT: &str = r#"sh -c 'echo $$; exec "$0" "$@"' "$@" & wait $!; exit $?"#;

impl Process {
    /// Ends its parent alone.
    async fn leave(&mut self) -> Orphan {
        let id = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let orphan = Orphan { pid: self.pid, process: id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) };
        let _ = self.guard.kill().await;
        let _ = self.parent.kill().await;
        orphan
    }

    /// Kills what is left of it and reads its last lines.
    async fn end(&mut self) {
        let _ = self.guard.kill().await;
        self.kill();
        let _ = self.parent.wait().await;
        for reader in &mut self.readers {
            // A grandchild may hold the pipe open.
            let _ = timeout(Duration::from_secs(1), reader).await;
        }
    }
}

impl Process {
    /// Kills the handler with its parent, whose group it is in.
    fn kill(&self) {
        if let Some(group) = self.parent.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_guard_outlives_us_and_kills() -> Result<()> {
        let mut child = Command::new("sleep").arg("60").kill_on_drop(true).spawn()?;
        let mut guard = guard(child.id().context("no process id")?)?;
        drop(guard.stdin.take()); // what is left of us when we are killed
        assert_eq!(code(timeout(Duration::from_secs(5), child.wait()).await?.ok()), 128 + 9);
        guard.wait().await?;
        Ok(())
    }
}
