//! Writes a case folder: documents in every form that was asked for, and then the manifest, signed if asked.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{SecondsFormat, Utc};
use serde_json::Value;

use super::document::Document;
use super::folder::HashedFile;
use super::forms::{FILES, FormOptions, Writers};
use super::manifest::{Completeness, Listed, MANIFEST, Manifest, SIGNATURE, STATE};

/// What a signature is for: nothing that was signed for another purpose passes for it.
pub(super) const NAMESPACE: &str = "office365-case";

/// A case folder being written. Without a manifest it is none, so that one that was cut off is seen to be.
pub(crate) struct CaseWriter {
    folder: PathBuf,
    writers: Writers,
    rows: u64,
    /// Files beside the forms.
    others: Vec<Listed>,
}

impl CaseWriter {
    /// Begins in a folder that is empty, is a case already, or holds nothing but the state of `collect`.
    pub(crate) fn begin(folder: &Path, options: &FormOptions) -> Result<Self> {
        let geoip = options.geoip.open()?;
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        clear(folder)?;
        Ok(Self { folder: folder.to_owned(), writers: Writers::begin(folder, &options.forms, &geoip)?, rows: 0, others: Vec::new() })
    }

    /// Writes the next document.
    pub(crate) fn write(&mut self, document: &Document) -> io::Result<()> {
        self.rows += 1;
        self.writers.write(document)
    }

    /// Writes a file of lines beside the forms.
    pub(crate) fn add_lines(&mut self, name: &'static str, lines: &[String]) -> io::Result<()> {
        let mut file = HashedFile::create(&self.folder, name)?;
        lines.iter().try_for_each(|line| writeln!(file, "{line}"))?;
        file.count(lines.len() as u64);
        self.others.push(file.finish()?);
        Ok(())
    }

    /// Documents so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends every form, writes the manifest, and signs it with an SSH key if there is one.
    pub(crate) fn finish(self, asked: Value, completeness: Completeness, key: Option<&Path>) -> Result<Manifest> {
        let mut files = self.writers.finish().with_context(|| format!("{} cannot be written", self.folder.display()))?;
        files.extend(self.others);
        files.sort_by(|one, other| one.name.cmp(&other.name));
        let made = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let manifest = Manifest { version: env!("CARGO_PKG_VERSION").to_owned(), made, asked, files, completeness };
        manifest.write(&self.folder)?;
        if let Some(key) = key {
            sign(&self.folder, key)?;
        }
        Ok(manifest)
    }
}

/// Takes away what an earlier run wrote, and nothing else.
fn clear(folder: &Path) -> Result<()> {
    let is_ours = |name: &str| FILES.contains(&name) || [MANIFEST, SIGNATURE, STATE].contains(&name);
    let mut ours = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_str().filter(|name| is_ours(name)).map(str::to_owned);
        let Some(name) = name else { bail!("{} holds something that is no part of a case: choose another --out", folder.display()) };
        ours.push(name);
    }
    // The manifest first: a folder that is cut off from here on is no case.
    ours.sort_by_key(|name| name != MANIFEST);
    ours.iter().filter(|name| *name != STATE).try_for_each(|name| {
        fs::remove_file(folder.join(name))
            .with_context(|| format!("{} of an earlier case cannot be taken away", folder.join(name).display()))
    })
}

/// With `ssh-keygen`, so that no program of ours is needed to check it.
/// <https://man.openbsd.org/ssh-keygen#Y>
fn sign(folder: &Path, key: &Path) -> Result<()> {
    let signing = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(key)
        .arg(folder.join(MANIFEST))
        .stdin(Stdio::null())
        .output()
        .context("ssh-keygen is missing, with which the manifest is signed")?;
    let said = String::from_utf8_lossy(&signing.stderr);
    ensure!(signing.status.success(), "ssh-keygen does not sign with {}: {}", key.display(), said.trim());
    Ok(())
}
