//! The settings that decide a document, besides its record.

use std::time::Duration;

use azure_core::credentials::Secret;

use super::{Faults, LeaveOut, vars::Vars};

/// The settings that decide a document, besides its record.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The time that a document lives, counted from its record's CreationTime.
    pub retention: Duration,
    /// Logical partitions a day of records is spread over.
    pub partitions_per_day: u8,
    /// Treatment of values that data loss prevention matched.
    pub dlp_values: DlpValues,
    /// Records that are not stored.
    pub leave_out: LeaveOut,
    /// True if rules are asked of each record.
    pub findings: bool,
}

/// Treatment of values that data loss prevention matched.
#[derive(Clone, Debug)]
pub enum DlpValues {
    /// They are taken out.
    Drop,
    /// Keyed tokens stand in their place.
    Hash(Secret),
    /// The record stays as it is.
    Keep,
}

impl DlpValues {
    /// The setting's own word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Hash(_) => "hash",
            Self::Keep => "keep",
        }
    }
}

impl Documents {
    /// Reads these settings alone.
    ///
    /// # Errors
    /// [`Faults`] holds every fault found.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let mut vars = Vars::new(&lookup);
        let documents = Self::read(&mut vars);
        vars.judge(documents)
    }

    pub(super) fn read(vars: &mut Vars<'_>) -> Option<Self> {
        let retention = vars.parsed("RETENTION_DAYS", "90", "days from 1 to 24855", |days: &u64| (1..=24_855).contains(days));
        let partitions_per_day = vars.parsed("PARTITIONS_PER_DAY", "4", "a number from 1 to 100", |n: &u8| (1..=100).contains(n));
        let dlp_values = read_dlp_values(vars);
        let leave_out = read_leave_out(vars);
        let findings = vars.parsed("FINDINGS", "on", "on or off", |word: &String| matches!(word.as_str(), "on" | "off"));
        Some(Self {
            retention: Duration::from_secs(retention? * 86_400),
            partitions_per_day: partitions_per_day?,
            dlp_values: dlp_values?,
            leave_out: leave_out?,
            findings: findings? == "on",
        })
    }
}

fn read_dlp_values(vars: &mut Vars<'_>) -> Option<DlpValues> {
    let treatment = vars.or_default("DLP_VALUES", "drop");
    let key = vars.optional("DLP_HASH_KEY");
    match (treatment.as_str(), key) {
        ("drop", _) => Some(DlpValues::Drop),
        ("keep", _) => Some(DlpValues::Keep),
        ("hash", Some(key)) => Some(DlpValues::Hash(Secret::from(key))),
        ("hash", None) => {
            vars.fault("DLP_HASH_KEY", "is missing: DLP_VALUES is hash, and tokens need a key");
            None
        }
        // Not what it is: the key is easily pasted here.
        _ => {
            vars.fault("DLP_VALUES", "is none of drop, hash and keep");
            None
        }
    }
}

fn read_leave_out(vars: &mut Vars<'_>) -> Option<LeaveOut> {
    match vars.optional("LEAVE_OUT").unwrap_or_default().parse() {
        Ok(leave_out) => Some(leave_out),
        Err(error) => {
            vars.fault("LEAVE_OUT", error);
            None
        }
    }
}
