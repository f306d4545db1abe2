//! `handler check`: tries everything that the collector needs, as itself, and says what to do about what is wrong. This
//! file prints it; each outside system has a file below.

mod database;
mod office365;
mod settings;
mod storage;

use std::{error::Error, fmt, time::Duration};

use azure_core::http::RetryOptions;
use serde::Serialize;
use tokio::time::timeout;

use crate::{azure::Connection, config::Config, error_text::chain};

/// The time in which a thing must answer, or it counts as unreachable; the SDKs go on trying for longer than a person waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything that was checked.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    /// True if all that is needed is well.
    well: bool,
    parts: Vec<Part>,
}

/// The checks of one outside system.
#[derive(Debug, Serialize)]
struct Part {
    part: &'static str,
    checks: Vec<Check>,
}

/// One thing, and how it was found.
#[derive(Debug, Serialize)]
struct Check {
    what: String,
    mark: Mark,
    found: String,
    /// The remedy.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mark {
    Well,
    Wrong,
    /// Something else that it needs is wrong.
    Untried,
}

impl Check {
    fn well(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self { what: what.into(), mark: Mark::Well, found: found.into(), next: None }
    }

    fn wrong(what: impl Into<String>, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { what: what.into(), mark: Mark::Wrong, found: found.into(), next: Some(next.into()) }
    }

    fn untried(what: impl Into<String>, because: impl Into<String>) -> Self {
        Self { what: what.into(), mark: Mark::Untried, found: because.into(), next: None }
    }
}

/// Checks the settings; where they can be used, the three outside systems side by side.
pub(super) async fn check(lookup: impl Fn(&str) -> Option<String>) -> Checked {
    let (settings, config) = Config::survey(lookup);
    let mut parts = vec![Part { part: "Settings", checks: settings::checks(&settings) }];
    match config {
        Ok(config) => parts.extend(outside(&config).await),
        Err(_) => {
            let untried = |part| Part { part, checks: vec![Check::untried("all of it", "not tried until the settings can be used")] };
            parts.extend(PARTS.map(untried));
        }
    }
    let well = parts.iter().flat_map(|part| &part.checks).all(|check| check.mark == Mark::Well);
    Checked { well, parts }
}

const PARTS: [&str; 3] = ["Office 365", "Storage", "Database"];

async fn outside(config: &Config) -> Vec<Part> {
    let checks = match Connection::new(config, RetryOptions::none()) {
        Ok(connection) => {
            let (office365, storage, database) = tokio::join!(
                office365::checks(config, &connection),
                storage::checks(config, &connection),
                database::checks(config, &connection)
            );
            [office365, storage, database]
        }
        Err(error) => {
            let wrong = || vec![Check::wrong("connection", chain(error.as_ref()), "check the machine's certificates (SSL_CERT_FILE)")];
            [wrong(), wrong(), wrong()]
        }
    };
    PARTS.into_iter().zip(checks).map(|(part, checks)| Part { part, checks }).collect()
}

/// Something that must answer in time; without an answer, what to do is to look at the way there.
async fn answer<T, E>(what: &str, asked: impl Future<Output = Result<T, E>>, judge: impl FnOnce(E) -> Check) -> Result<T, Check> {
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(judge),
        Err(_) => Err(Check::wrong(
            what,
            format!("no answer within {} seconds", PATIENCE.as_secs()),
            "check its address, and the network and firewall on the way there",
        )),
    }
}

/// An error's own words, without what libraries put around them.
fn words(error: &(dyn Error + 'static)) -> String {
    let chain = chain(error);
    let begin = chain.find("AADSTS").or_else(|| chain.find("ManagedIdentityCredential")).unwrap_or(0);
    let words = &chain[begin..];
    let end = [" Trace ID:", " To troubleshoot,"].iter().filter_map(|end| words.find(end)).min();
    words[..end.unwrap_or(words.len())].to_owned()
}

/// Advice if the managed identity is at fault, whatever it was to open.
fn identity_advice(words: &str) -> Option<&'static str> {
    words.contains("ManagedIdentityCredential").then_some(
        "a managed identity is there in Azure only: elsewhere give the settings a secret or key; in Azure check that the function app \
         has the identity that AzureWebJobsStorage__clientId names",
    )
}

impl Checked {
    pub(super) fn is_well(&self) -> bool {
        self.well
    }

    fn count(&self, mark: Mark) -> usize {
        self.parts.iter().flat_map(|part| &part.checks).filter(|check| check.mark == mark).count()
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.parts.iter().flat_map(|part| &part.checks).map(|check| check.what.chars().count());
        let width = names.max().unwrap_or(0);
        for Part { part, checks } in &self.parts {
            writeln!(f, "{part}")?;
            for check in checks {
                let mark = match check.mark {
                    Mark::Well => '✓',
                    Mark::Wrong => '✗',
                    Mark::Untried => '-',
                };
                writeln!(f, "  {mark} {:<width$}  {}", check.what, check.found)?;
                if let Some(next) = &check.next {
                    writeln!(f, "      → {next}")?;
                }
            }
            writeln!(f)?;
        }
        match (self.count(Mark::Wrong), self.count(Mark::Untried)) {
            (0, 0) => writeln!(f, "All is well."),
            (wrong, 0) => writeln!(f, "{wrong} to mend."),
            (wrong, untried) => writeln!(f, "{wrong} to mend, {untried} not tried."),
        }
    }
}
