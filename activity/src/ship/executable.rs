//! Builds the handler's executable, in a separate cargo process: by itself, as it ships, so that nothing of the stand-ins becomes
//! part of it through shared features; or beside this program, of what was compiled for it.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::paths::repository;
use crate::screen::Screen;

/// The package, and the name of its executable.
const HANDLER: &str = "handler";
/// The package of this program.
const BESIDE: &str = "activity";
/// Set by `cargo run` for the program that it runs. In a build they would make build scripts run again each time.
const NOT_FOR_BUILDS: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// How the handler is built.
#[derive(Clone, Debug)]
pub struct Build {
    /// As it ships, or fast to build.
    pub release: bool,
    /// Of what this program is built of, the database driver's emulator included, which the handler does not call: nothing is
    /// compiled a second time.
    pub beside: bool,
    /// Rust's name of the machine that it is to run on; `None`: this one.
    pub target: Option<String>,
}

impl Build {
    /// With the profile that this program was built with, for this machine.
    fn like_this_program(beside: bool) -> Self {
        Self { release: !cfg!(debug_assertions), beside, target: None }
    }

    /// What a person would type.
    fn arguments(&self) -> Vec<&str> {
        let release = self.release.then_some("--release");
        let beside = self.beside.then_some(["-p", BESIDE]).into_iter().flatten();
        let target = self.target.as_deref().map(|target| ["--target", target]).into_iter().flatten();
        ["build"].into_iter().chain(release).chain(["-p", HANDLER]).chain(beside).chain(["--bin", HANDLER]).chain(target).collect()
    }
}

/// Builds the handler beside this program, with the same profile, and returns where it is. It is what ships but for the driver's
/// unused parts.
///
/// # Errors
///
/// One line that says what to do: cargo is missing, or the handler does not build.
pub async fn build_beside(screen: &Screen) -> Result<PathBuf> {
    build_as(&Build::like_this_program(true), screen).await
}

/// Builds the handler as it ships, with the profile that this program was built with, and returns where it is.
///
/// # Errors
///
/// One line that says what to do: cargo is missing, or the handler does not build.
pub async fn build(screen: &Screen) -> Result<PathBuf> {
    build_as(&Build::like_this_program(false), screen).await
}

/// Builds the handler, and returns where it is.
///
/// # Errors
///
/// One line that says what to do: cargo is missing, or the handler does not build.
pub async fn build_as(build: &Build, screen: &Screen) -> Result<PathBuf> {
    ensure!(
        repository().is_dir(),
        "there is no repository here to build the handler from: unpack the released package, and name it with --staged DIR"
    );
    let command = format!("cargo {}", build.arguments().join(" "));
    let task = screen.task("handler", &command);
    let mut cargo = Cargo::start(build)?;
    let stdout = BufReader::new(cargo.child.stdout.take().context("cargo has no stdout")?);
    let stderr = BufReader::new(cargo.child.stderr.take().context("cargo has no stderr")?);

    let built = async {
        let (mut lines, mut executable) = (stdout.lines(), None);
        while let Ok(Some(line)) = lines.next_line().await {
            executable = handler(&line).or(executable);
        }
        executable
    };
    let complaint = async {
        let (mut lines, mut first, mut compiles) = (stderr.lines(), None, false);
        while let Ok(Some(line)) = lines.next_line().await {
            let what = line.trim();
            match what.split_once(' ') {
                Some(("Compiling", _)) if !compiles => {
                    task.begins(format_args!("{command}, which takes minutes the first time"));
                    compiles = true;
                }
                Some(("Finished", _)) => {}
                _ => task.now(format_args!("{command}: {what}")),
            }
            first = first.or_else(|| line.starts_with("error").then_some(line));
        }
        first
    };
    let (executable, complaint) = tokio::join!(built, complaint);
    if !cargo.child.wait().await.context("wait for cargo")?.success() {
        bail!("the handler does not build ({}): run `{command}` to see why", complaint.unwrap_or_else(|| "no reason given".to_owned()));
    }
    let executable = executable.context("cargo built no executable named handler")?;
    let seconds = task.elapsed().as_secs_f64();
    task.done(format_args!("{} ({command}, {seconds:.1} s)", shortened(&executable).display()));
    Ok(executable)
}

/// The handler's path, if this is cargo's message that it is there.
fn handler(message: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Artifact {
        target: Target,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let artifact: Artifact = serde_json::from_str(message).ok()?;
    artifact.executable.filter(|_| artifact.target.name == HANDLER)
}

fn shortened(path: &Path) -> &Path {
    path.strip_prefix(repository()).unwrap_or(path)
}

/// Cargo with all that it starts. Dropping it ends the whole group.
struct Cargo {
    child: Child,
    group: Option<Pid>,
}

impl Cargo {
    fn start(build: &Build) -> Result<Self> {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(build.arguments()).arg("--message-format=json-render-diagnostics");
        for (name, _) in env::vars_os() {
            if NOT_FOR_BUILDS.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        let child = command
            .current_dir(repository())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| cannot_run(&error))?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, group })
    }
}

impl Drop for Cargo {
    fn drop(&mut self) {
        // Without an id it was waited for, and its number may be another's by now.
        if let (Some(_), Some(group)) = (self.child.id(), self.group) {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

fn cannot_run(error: &std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!("cargo was not found, and the handler must be built first: install Rust (https://rustup.rs)"),
        _ => anyhow!("cargo cannot be run: {error}"),
    }
}
