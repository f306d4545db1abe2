//! `manifest.json`: what was asked, what each file holds, and whether anything is missing.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Its name in a case folder.
pub const MANIFEST: &str = "manifest.json";
/// The name of its SSH signature.
pub const SIGNATURE: &str = "manifest.json.sig";
/// Where `collect` keeps its state in a case folder.
pub const STATE: &str = ".state";

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the program that wrote it.
    pub version: String,
    /// When, UTC, RFC 3339.
    pub made: String,
    /// What was asked: command, range, filters and forms.
    pub asked: Value,
    /// Each file of the folder, by name.
    pub files: Vec<Listed>,
    /// Whether anything is missing.
    pub completeness: Completeness,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name, without a folder.
    pub name: String,
    /// SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Rows, whatever they are in its form: documents, edges, or both.
    pub rows: u64,
}

/// Whether anything is missing, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completeness {
    /// The worst of its days.
    pub verdict: Verdict,
    /// In words.
    pub why: String,
    /// One row a workload and day.
    pub workloads: Vec<Day>,
    /// Ranges of time that could never be listed.
    pub gaps: Vec<Gap>,
    /// Content that could not be had.
    pub lost: Vec<Lost>,
}

/// One word for how much is there; the greater is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// All that was listed is stored, or was left out on purpose.
    Complete,
    /// Nothing is known to be missing, and it is not known that nothing is.
    Unproven,
    /// Something is missing.
    Incomplete,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Unproven => "unproven",
            Self::Incomplete => "incomplete",
        })
    }
}

/// A workload's content of one day, by contentCreated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// The content type, or `AuditSearch`.
    pub workload: String,
    /// The day, UTC: `2026-11-20`.
    pub day: String,
    /// Content blobs that were listed.
    pub listed: u64,
    /// Of those, stored.
    pub stored: u64,
    /// Of those, given up.
    pub lost: u64,
    /// Documents that lack something of their record.
    pub reduced: u64,
    /// Of those listed, neither stored nor lost yet.
    pub waiting: u64,
    /// Where the row has a verdict of its own: that of a search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// In words, for such a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A range of time that could never be listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The content type.
    pub workload: String,
    /// Included.
    pub from: String,
    /// Not included.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// Content that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lost {
    /// The contentId.
    pub id: String,
    /// Why, with the service's code where there is one.
    pub reason: String,
}

impl Completeness {
    /// The verdict of what is known; `doubts` are further reasons why something may be or is missing.
    pub fn judge(workloads: Vec<Day>, gaps: Vec<Gap>, lost: Vec<Lost>, doubts: Vec<(Verdict, String)>) -> Self {
        let sum = |of: fn(&Day) -> u64| workloads.iter().map(of).sum::<u64>();
        let (missing, waiting, reduced) = (sum(|day| day.lost), sum(|day| day.waiting), sum(|day| day.reduced));
        let counted = [
            (missing, "content blobs could not be had"),
            (waiting, "content blobs wait to be stored"),
            (reduced, "documents lack something of their record"),
            (gaps.len() as u64, "ranges of time could be neither listed nor searched"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let counted = counted.map(|(count, what)| (Verdict::Incomplete, format!("{count} {what}")));
        let of_days = workloads.iter().filter_map(|day| {
            let verdict = day.verdict.filter(|verdict| *verdict != Verdict::Complete)?;
            Some((verdict, format!("{} {}: {}", day.workload, day.day, day.why.as_deref().unwrap_or_default())))
        });
        let reasons: Vec<_> = counted.chain(of_days).chain(doubts).collect();
        let verdict = reasons.iter().map(|(verdict, _)| *verdict).max().unwrap_or(Verdict::Complete);
        let why = match reasons.as_slice() {
            [] => whole(&workloads).to_owned(),
            reasons => reasons.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; "),
        };
        Self { verdict, why, workloads, gaps, lost }
    }
}

/// Why a case is complete: by what was listed, by what was searched, or by both.
fn whole(workloads: &[Day]) -> &'static str {
    let is_searched = |day: &Day| day.verdict.is_some();
    match (workloads.iter().any(is_searched), workloads.iter().all(is_searched)) {
        (false, _) => "all content that was listed in this range is stored",
        (true, false) => "all content that was listed in this range is stored, and each day that was searched is proven",
        (true, true) => "each day that was searched is proven",
    }
}

impl Manifest {
    /// Writes it into a folder, at once or not at all.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder).context("manifest.json cannot be written")?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(folder.join(MANIFEST)).context("manifest.json cannot be written")?;
        Ok(())
    }

    /// Reads that of a folder.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Its files, by name.
    pub fn by_name(&self) -> BTreeMap<&str, &Listed> {
        self.files.iter().map(|file| (file.name.as_str(), file)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> Day {
        Day { workload: "Audit.General".to_owned(), day: "2026-11-20".to_owned(), listed: 2, stored: 2, ..Day::default() }
    }

    fn verdict(days: Vec<Day>, gaps: Vec<Gap>, doubts: Vec<(Verdict, String)>) -> (Verdict, String) {
        let judged = Completeness::judge(days, gaps, Vec::new(), doubts);
        (judged.verdict, judged.why)
    }

    #[test]
    fn the_verdict_is_the_worst_and_says_why() {
        assert_eq!(verdict(vec![day()], Vec::new(), Vec::new()).0, Verdict::Complete);
        let lost = verdict(vec![day(), Day { lost: 1, waiting: 2, ..day() }], Vec::new(), Vec::new());
        assert_eq!(lost, (Verdict::Incomplete, "1 content blobs could not be had; 2 content blobs wait to be stored".to_owned()));
        let doubt = (Verdict::Unproven, "nobody knows".to_owned());
        assert_eq!(verdict(vec![day()], Vec::new(), vec![doubt.clone()]), doubt);
        let search = Day { verdict: Some(Verdict::Unproven), why: Some("not repeated".to_owned()), ..day() };
        let both = verdict(vec![Day { reduced: 1, ..day() }, search], Vec::new(), vec![doubt]);
        assert_eq!(both.0, Verdict::Incomplete);
        assert!(both.1.contains("Audit.General 2026-11-20: not repeated; nobody knows"), "{}", both.1);
    }
}
