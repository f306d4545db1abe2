//! Lays out exactly what ships in a folder of its own, to publish from: the executable, `host.json` and each `function.json`.
//! No settings: those are the function app's. What is laid out is read back as the Functions host would read it.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::paths::repository;
use crate::screen::Screen;
use crate::ship::executable::{Build, build_as};
use crate::text_table::{Count, TextTable};

/// `defaultExecutablePath` must be this to the letter: Core Tools make executable the file of that name, and no other.
/// <https://learn.microsoft.com/azure/azure-functions/functions-custom-handlers#deploying>
pub(crate) const EXECUTABLE: &str = "handler";
/// What ships beside it.
const FILES: [&str; 3] = ["host.json", "QueueEvents/function.json", "StoreEvents/function.json"];
/// In the head of an ELF file: 64 bits, little end first; and at byte 18 the machine, x86-64.
/// <https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html>
const ELF: &[u8] = b"\x7fELF\x02\x01";
const X86_64: u8 = 62;
/// What a program that is linked with the machine's C library names.
const DYNAMIC: &[u8] = b"/ld-linux";

/// What to stage, and where.
#[derive(Args, Clone, Debug)]
pub struct StageOptions {
    /// Rust target to build for, such as x86_64-unknown-linux-musl; this machine's own if not given
    #[arg(long, value_name = "TRIPLE", conflicts_with = "executable")]
    pub target: Option<String>,
    /// Stage this executable, and build none
    #[arg(long, value_name = "FILE")]
    pub executable: Option<PathBuf>,
    /// The folder, made anew each time; dist in the repository if not given
    #[arg(long, value_name = "DIR")]
    pub into: Option<PathBuf>,
}

/// What was laid out.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Where.
    pub folder: PathBuf,
    /// Each file's path in it, and its bytes.
    pub files: Vec<(String, u64)>,
    /// Whether the executable needs a C library as new as that of the machine it was built on.
    pub is_dynamic: bool,
}

/// Builds the handler alone, as it ships, and lays it out.
///
/// # Errors
///
/// One line that says what to do: see [`build_as`] and [`stage`]; or the executable is for another machine than Azure's.
pub async fn build_and_stage(options: &StageOptions, screen: &Screen) -> Result<Staged> {
    let executable = match &options.executable {
        Some(executable) => executable.clone(),
        None => build_as(&Build { release: true, beside: false, target: options.target.clone() }, screen).await?,
    };
    let folder = options.into.clone().unwrap_or_else(|| repository().join("dist"));
    let head = fs::read(&executable).with_context(|| format!("read {}", executable.display()))?;
    ensure!(
        head.starts_with(ELF) && head.get(18) == Some(&X86_64),
        "{} is no program for x86-64 Linux, which is what Azure Functions runs: build with --target x86_64-unknown-linux-musl",
        executable.display()
    );
    stage(&executable, &folder)
}

/// Lays an executable out with what ships beside it.
///
/// # Errors
///
/// The folder holds what was not laid out here; a file is missing or cannot be written; or what was laid out is not what the
/// host wants.
pub fn stage(executable: &Path, folder: &Path) -> Result<Staged> {
    clear(folder)?;
    for file in FILES {
        copy(&repository().join(file), &folder.join(file))?;
    }
    let staged = folder.join(EXECUTABLE);
    copy(executable, &staged)?;
    fs::set_permissions(&staged, Permissions::from_mode(0o755)).context("make the staged handler executable")?;
    read_back(folder)
}

/// Removes what was staged before, and nothing else.
fn clear(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(|| format!("read {}", folder.display()))?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let is_staged = |file: &&str| file.split('/').next() == name.to_str();
        if ![EXECUTABLE].iter().chain(&FILES).any(is_staged) {
            bail!("{} holds {}, which was not staged: remove it, or name another folder (--into)", folder.display(), name.display());
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a staged file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// What there is now, once it is as the host wants it.
fn read_back(folder: &Path) -> Result<Staged> {
    let host: Value = serde_json::from_slice(&fs::read(folder.join("host.json"))?).context("host.json is no JSON")?;
    let path = &host["customHandler"]["description"]["defaultExecutablePath"];
    ensure!(path == EXECUTABLE, "host.json: defaultExecutablePath is {path}, and must be \"{EXECUTABLE}\" to the letter");
    for file in FILES.iter().filter(|file| file.ends_with("function.json")) {
        let function: Value = serde_json::from_slice(&fs::read(folder.join(file))?).with_context(|| format!("{file} is no JSON"))?;
        ensure!(function["bindings"].is_array(), "{file} has no bindings");
    }
    let executable = folder.join(EXECUTABLE);
    let mode = fs::metadata(&executable)?.permissions().mode();
    ensure!(mode & 0o111 == 0o111, "{} may not be executed", executable.display());
    let is_dynamic = fs::read(&executable)?.windows(DYNAMIC.len()).any(|bytes| bytes == DYNAMIC);
    let size = |file: &str| Ok((file.to_owned(), fs::metadata(folder.join(file))?.len()));
    let files = [EXECUTABLE].into_iter().chain(FILES).map(size).collect::<Result<_>>()?;
    Ok(Staged { folder: folder.to_owned(), files, is_dynamic })
}

impl fmt::Display for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.strip_prefix(repository()).unwrap_or(&self.folder).display();
        let mut table = TextTable::new([&format!("{folder}/"), "bytes"]);
        for (file, bytes) in &self.files {
            table.row([file.clone(), Count(*bytes).to_string()]);
        }
        writeln!(f, "{table}")?;
        if self.is_dynamic {
            writeln!(f, "The handler needs a C library (glibc) as new as this machine's; --target x86_64-unknown-linux-musl needs none.")?;
        }
        write!(f, "To publish it: cd {folder} && func azure functionapp publish NAME --custom --no-build")
    }
}
