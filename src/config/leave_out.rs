//! Records that are not stored at all, by workload, operation or record type: the setting `LEAVE_OUT`. Pure.

use std::{fmt, str::FromStr};

use crate::workload::Workload;

/// Records that are left out. Empty: every record is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaveOut(Vec<Pattern>);

/// Every record is stored.
pub(crate) static NOTHING: LeaveOut = LeaveOut(Vec::new());

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// Absent: every workload.
    workload: Option<Workload>,
    records: Records,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Records {
    Operation(String),
    RecordType(String),
}

/// A part of the setting that names no records.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "part {0} is none of `workload/operation`, `workload/#recordtype` and `*/…`, with a content type such as Audit.SharePoint for the workload"
)]
pub struct NoPattern(usize);

impl LeaveOut {
    /// True if a record is left out. `workload` is the content type that it came under.
    #[must_use]
    pub fn matches(&self, workload: Option<Workload>, operation: Option<&str>, record_type: Option<&str>) -> bool {
        self.0.iter().any(|pattern| {
            (pattern.workload.is_none() || pattern.workload == workload)
                && match &pattern.records {
                    Records::Operation(name) => operation.is_some_and(|operation| operation.eq_ignore_ascii_case(name)),
                    Records::RecordType(number) => record_type == Some(number),
                }
        })
    }

    /// True if every record is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for LeaveOut {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.enumerate().map(|(at, part)| pattern(part).ok_or(NoPattern(at + 1))).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for LeaveOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Pattern { workload, records }) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            let workload = workload.map_or("*", Workload::as_str);
            match records {
                Records::Operation(name) => write!(f, "{comma}{workload}/{name}")?,
                Records::RecordType(number) => write!(f, "{comma}{workload}/#{number}")?,
            }
        }
        Ok(())
    }
}

fn pattern(part: &str) -> Option<Pattern> {
    let (workload, records) = part.split_once('/')?;
    let (workload, records) = (workload.trim(), records.trim());
    let workload = if workload == "*" { None } else { Some(workload.parse().ok()?) };
    let records = match records.strip_prefix('#') {
        // As text, so that a record's number is compared as it stands.
        Some(number) => Records::RecordType(number.parse::<u32>().ok()?.to_string()),
        None if records.is_empty() || records.contains(['*', '?']) => return None,
        None => Records::Operation(records.to_owned()),
    };
    Some(Pattern { workload, records })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_left_out_by_workload_operation_and_type() {
        let leave_out: LeaveOut = " Audit.SharePoint/FileAccessed, Audit.General/#25 ,*/FilePreviewed,".parse().unwrap();
        let matches = |workload, operation, kind| leave_out.matches(Some(workload), Some(operation), Some(kind));
        assert!(matches(Workload::SharePoint, "FileAccessed", "6"));
        assert!(matches(Workload::SharePoint, "fileaccessed", "6"));
        assert!(!matches(Workload::General, "FileAccessed", "6"));
        assert!(matches(Workload::General, "anything", "25"));
        assert!(!matches(Workload::General, "anything", "250"));
        assert!(matches(Workload::Exchange, "FilePreviewed", "6"));
        assert!(leave_out.matches(None, Some("FilePreviewed"), None));
        assert!(!leave_out.matches(None, None, None));
        assert_eq!(leave_out.to_string(), "Audit.SharePoint/FileAccessed,Audit.General/#25,*/FilePreviewed");
    }

    #[test]
    fn what_names_no_records_is_a_fault_of_the_setting() {
        for (text, part) in [("FileAccessed", 1), ("*/A,Audit.Nothing/B", 2), ("*/", 1), ("*/#x", 1), ("*/File*", 1), ("*/A,,*/#-1", 2)] {
            assert_eq!(text.parse::<LeaveOut>().unwrap_err(), NoPattern(part), "{text}");
        }
        assert!("".parse::<LeaveOut>().unwrap().is_empty());
    }
}
