//! Packages of Node.js that parts of the stack are made of: installed from their lock files by whoever needs them first.
//! What is in them is told beside each `package.json`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;

/// A folder with a `package.json` and its lock file.
#[derive(Clone, Debug)]
pub struct Package {
    /// The folder: an absolute path.
    pub folder: PathBuf,
    /// What it is to a person, as in "Azurite, the storage emulator,".
    pub what: &'static str,
    /// What an install fetches, as in "about 350 MB".
    pub size: &'static str,
}

impl Package {
    /// Runs `npm ci` unless what is installed is what the lock file says. Two processes at once take turns.
    ///
    /// # Errors
    ///
    /// One line that says what to do: npm is missing, or the install failed.
    pub async fn install(&self, progress: impl Fn(&str)) -> Result<()> {
        let path = &self.folder;
        if is_installed(path) {
            return Ok(());
        }
        let _turn = take_turn(path).await?;
        if is_installed(path) {
            return Ok(());
        }
        progress(&format!("installing {} (npm ci, once, {})…", self.what.trim_end_matches(','), self.size));
        let failed = format!("npm ci failed in {}", path.display());
        self.run("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], &failed).await?;
        fs::copy(path.join("package-lock.json"), installed(path)).with_context(|| format!("note that {} is installed", path.display()))?;
        Ok(())
    }

    /// Runs a program of Node.js there to its end, and returns what it printed.
    ///
    /// # Errors
    ///
    /// One line: the program is missing; or it `failed`, and the end of its complaint.
    pub async fn run(&self, program: &str, arguments: &[&str], failed: &str) -> Result<Vec<u8>> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| self.cannot_run(program, &error))?;
        ensure!(output.status.success(), "{failed}: {}", last_lines(&String::from_utf8_lossy(&output.stderr)));
        Ok(output.stdout)
    }

    /// Why a program of Node.js did not start, and what to do.
    pub fn cannot_run(&self, program: &str, error: &std::io::Error) -> anyhow::Error {
        match error.kind() {
            ErrorKind::NotFound => {
                anyhow!("{program} was not found: {} needs Node.js 20 or later with npm (https://nodejs.org)", self.what)
            }
            _ => anyhow!("{program} cannot be run: {error}"),
        }
    }
}

/// A copy of the lock file that `node_modules` was made from. Times would lie: a checkout makes every file new.
fn installed(package: &Path) -> PathBuf {
    package.join("node_modules/.installed-package-lock.json")
}

fn is_installed(package: &Path) -> bool {
    let wanted = fs::read(package.join("package-lock.json"));
    let present = fs::read(installed(package));
    matches!((wanted, present), (Ok(wanted), Ok(present)) if wanted == present)
}

/// An exclusive lock on the lock file itself, held until the file is dropped.
async fn take_turn(package: &Path) -> Result<File> {
    let path = package.join("package-lock.json");
    let wait = move || {
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        flock(&file, FlockOperation::LockExclusive).context("wait for another process that installs the same")?;
        Ok(file)
    };
    tokio::task::spawn_blocking(wait).await?
}

/// How a program ended.
pub fn exit(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "killed".to_owned(), |status| status.to_string())
}

/// The end of a program's complaint, on one line.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join(" | ")
}
