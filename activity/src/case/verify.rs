//! Proves a case folder: each file is as it was written, none is missing or added, and whether it is whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use clap::Args;

use super::folder::measure;
use super::manifest::{Completeness, Listed, MANIFEST, Manifest, SIGNATURE, STATE, Verdict};
use super::writing::NAMESPACE;

/// Which case.
#[derive(Args, Clone, Debug)]
pub struct VerifyOptions {
    /// The folder of the case
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// What was found.
#[derive(Debug)]
pub struct Verified {
    /// Each damage, by file.
    pub damages: Vec<String>,
    /// What is passed over.
    pub passed_over: Vec<String>,
    /// What the signature is worth; none where there is no signature.
    pub signature: Option<String>,
    /// Files that are as they were.
    pub files: usize,
    /// What the manifest says is missing; none where the manifest cannot be read.
    pub completeness: Option<Completeness>,
}

impl Verified {
    /// 0: as it was, and complete. 1: damaged. 2: as it was, but incomplete or unproven.
    pub fn exit_code(&self) -> u8 {
        match &self.completeness {
            Some(completeness) if self.damages.is_empty() => {
                if completeness.verdict == Verdict::Complete {
                    0
                } else {
                    2
                }
            }
            _ => 1,
        }
    }
}

/// Looks at every file of a case.
///
/// # Errors
/// The folder cannot be read.
pub fn verify(options: &VerifyOptions) -> Result<Verified> {
    let folder = &options.folder;
    let present = names(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut verified = Verified { damages: Vec::new(), passed_over: Vec::new(), signature: None, files: 0, completeness: None };
    for name in [MANIFEST, SIGNATURE, STATE].into_iter().filter(|name| present.contains(*name)) {
        verified.passed_over.push(name.to_owned());
    }
    let manifest = match Manifest::read(folder) {
        Ok(manifest) => manifest,
        Err(error) => {
            verified.damages.push(format!("{error:#}"));
            return Ok(verified);
        }
    };
    let listed = manifest.by_name();
    for (name, file) in &listed {
        match damage(folder, file, &manifest.files) {
            None => verified.files += 1,
            Some(damage) => verified.damages.push(format!("{name}: {damage}")),
        }
    }
    let added = present.iter().filter(|name| !listed.contains_key(name.as_str()) && !verified.passed_over.contains(name));
    let added: Vec<_> = added.map(|name| format!("{name}: was added")).collect();
    verified.damages.extend(added);
    if present.contains(SIGNATURE) {
        let (is_good, said) = check_signature(folder);
        if !is_good {
            verified.damages.push(format!("{SIGNATURE}: {said}"));
        }
        verified.signature = Some(said);
    }
    verified.completeness = Some(manifest.completeness);
    Ok(verified)
}

fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

/// What is wrong with a file; none where it is as it was written.
fn damage(folder: &Path, file: &Listed, all: &[Listed]) -> Option<String> {
    if file.name.contains(['/', '\\']) || file.name.starts_with('.') {
        return Some("is no name of a file of this folder".to_owned());
    }
    let path = folder.join(&file.name);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some("is missing".to_owned()),
        Err(error) => return Some(format!("cannot be read ({error})")),
        Ok(metadata) if !metadata.is_file() => return Some("is no file".to_owned()),
        Ok(_) => {}
    }
    let (sha256, bytes, lines) = match measure(&path) {
        Ok(measured) => measured,
        Err(error) => return Some(format!("cannot be read ({error})")),
    };
    if sha256 == file.sha256 && bytes == file.bytes {
        return None;
    }
    if let Some(other) = all.iter().find(|other| other.sha256 == sha256 && other.name != file.name) {
        return Some(format!("holds what {} should hold", other.name));
    }
    let is_by_line = file.name.ends_with(".ndjson") || file.name.ends_with(".jsonl");
    if is_by_line && lines != file.rows {
        return Some(format!("has {lines} lines, and was written with {}", file.rows));
    }
    if bytes != file.bytes {
        return Some(format!("has {bytes} bytes, and was written with {}", file.bytes));
    }
    Some("was changed: its SHA-256 is another".to_owned())
}

/// Whether the signature is one of this manifest, and by which key. Whose the key is, only its owner can say.
fn check_signature(folder: &Path) -> (bool, String) {
    let checked = File::open(folder.join(MANIFEST)).and_then(|manifest| {
        Command::new("ssh-keygen")
            .args(["-Y", "check-novalidate", "-n", NAMESPACE, "-s"])
            .arg(folder.join(SIGNATURE))
            .stdin(Stdio::from(manifest))
            .output()
    });
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => return (true, format!("not checked: ssh-keygen cannot be run ({error})")),
    };
    let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8_lossy(&said).trim().to_owned()).join(" ");
    (checked.status.success(), said.trim().to_owned())
}
