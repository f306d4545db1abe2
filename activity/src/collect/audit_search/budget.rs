//! How many queries may still be made: a tenant has a floor of submissions in 24 hours, whoever makes them and into whatever folder,
//! so they are counted in one file of this user's state folder, by tenant, before each is made.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use handler::clock::{parse_utc, rfc3339};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::paths::user_state_folder;

/// Submissions of a tenant that its floor takes.
pub(crate) const MAX_SUBMISSIONS: usize = 200;
/// In this time.
const SPAN: TimeDelta = TimeDelta::hours(24);

/// A line of the file.
#[derive(Serialize, Deserialize)]
struct Submission {
    at: String,
    tenant: String,
    name: String,
}

/// The count of one tenant.
#[derive(Debug)]
pub(crate) struct Budget {
    path: PathBuf,
    tenant: String,
    max: usize,
}

impl Budget {
    /// That of a tenant, in this user's state folder.
    pub(crate) fn of(tenant: &str, max: usize) -> Result<Self> {
        Self::at(&user_state_folder().context("submissions are counted in the user's state folder")?, tenant, max)
    }

    fn at(folder: &Path, tenant: &str, max: usize) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        Ok(Self { path: folder.join("submissions.ndjson"), tenant: tenant.to_lowercase(), max })
    }

    /// How many are left, and when the next one is free where none is.
    pub(crate) fn left(&self, now: DateTime<Utc>) -> Result<(usize, Option<DateTime<Utc>>)> {
        let times = self.read(&self.open()?, now)?;
        let left = self.max.saturating_sub(times.len());
        let free = times.len().checked_sub(self.max).and_then(|over| times.get(over)).map(|time| *time + SPAN);
        Ok((left, free))
    }

    /// Why none may be made, in words.
    pub(crate) fn why_none(&self, now: DateTime<Utc>) -> Result<String> {
        let free = self.left(now)?.1.map(|free| format!(", the next is free at {}", rfc3339(free))).unwrap_or_default();
        Ok(format!("the tenant takes no more queries in 24 hours{free}"))
    }

    /// Counts one that is about to be made. False if the floor is reached; then it may not be made.
    pub(crate) fn take(&self, name: &str, now: DateTime<Utc>) -> Result<bool> {
        let mut file = self.open()?;
        if self.read(&file, now)?.len() >= self.max {
            return Ok(false);
        }
        let submission = Submission { at: rfc3339(now), tenant: self.tenant.clone(), name: name.to_owned() };
        let mut line = serde_json::to_string(&submission)? + "\n";
        if !ends_with_line(&mut file)? {
            // A killed run left half a line.
            line.insert(0, '\n');
        }
        file.seek(SeekFrom::End(0))?;
        file.write_all(line.as_bytes())?;
        file.sync_data().context("submissions cannot be counted")?;
        Ok(true)
    }

    /// Held by one process at a time, for as long as it takes to read and write it.
    fn open(&self) -> Result<File> {
        let open = || {
            let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            std::io::Result::Ok(file)
        };
        open().with_context(|| format!("{} cannot be written, in which submissions are counted", self.path.display()))
    }

    /// The times of this tenant that count still, in order.
    fn read(&self, file: &File, now: DateTime<Utc>) -> Result<Vec<DateTime<Utc>>> {
        let mut times = Vec::new();
        for line in BufReader::new(file).lines() {
            // A line that was cut off was the last of a killed run, whose query was never made.
            let Ok(submission) = serde_json::from_str::<Submission>(&line?) else { continue };
            let time = parse_utc(&submission.at).filter(|at| submission.tenant == self.tenant && now - *at < SPAN);
            times.extend(time);
        }
        times.sort_unstable();
        Ok(times)
    }
}

fn ends_with_line(file: &mut File) -> Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    std::io::Read::read_exact(file, &mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn a_tenants_floor_is_kept_across_processes_and_frees_itself_after_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let budget = |tenant: &str| Budget::at(folder.path(), tenant, 3).unwrap();
        let now = parse_utc("2026-11-20T10:00:00Z").unwrap();
        for minute in 0..3 {
            assert!(budget("A").take("q", now + TimeDelta::minutes(minute)).unwrap());
        }
        assert!(!budget("a").take("q", now + TimeDelta::minutes(4)).unwrap());
        assert!(budget("b").take("q", now).unwrap());
        assert_eq!(budget("a").left(now + TimeDelta::minutes(5)).unwrap(), (0, Some(now + SPAN)));
        assert_eq!(budget("a").left(now + SPAN).unwrap(), (1, None));
        // A killed run may have left half a line.
        let path = folder.path().join("submissions.ndjson");
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":\"20").unwrap();
        assert!(budget("a").take("q", now + SPAN).unwrap());
        assert_eq!(budget("a").left(now + SPAN).unwrap().0, 0);
    }
}
