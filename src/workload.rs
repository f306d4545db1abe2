//! The five workloads: what the API calls content types, under the names that settings, state and documents have for them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A content type of the API, which this project calls a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Workload {
    /// Entra ID: sign-ins and directory changes.
    #[serde(rename = "Audit.AzureActiveDirectory")]
    AzureActiveDirectory,
    /// Exchange: mailboxes and administration.
    #[serde(rename = "Audit.Exchange")]
    Exchange,
    /// SharePoint and OneDrive.
    #[serde(rename = "Audit.SharePoint")]
    SharePoint,
    /// Everything else that is audited.
    #[serde(rename = "Audit.General")]
    General,
    /// Data loss prevention, all workloads.
    #[serde(rename = "DLP.All")]
    Dlp,
}

impl Workload {
    /// All five, in the order that reports have them.
    pub const ALL: [Self; 5] = [Self::AzureActiveDirectory, Self::Exchange, Self::SharePoint, Self::General, Self::Dlp];

    /// The name on the wire, in settings, state and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AzureActiveDirectory => "Audit.AzureActiveDirectory",
            Self::Exchange => "Audit.Exchange",
            Self::SharePoint => "Audit.SharePoint",
            Self::General => "Audit.General",
            Self::Dlp => "DLP.All",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|workload| workload.as_str().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|workload| workload.as_str()).collect();
            format!("none of {}", known.join(", "))
        })
    }
}
