//! How a run looks to a person: its progress in a line, its figures in a table.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use standins::cosmos::Cosmos;

use super::RunReport;
use super::log::{LogFigures, LogTotals};
use crate::paths::repository;
use crate::text_table::{Count, TextTable};

const COLUMNS: [&str; 9] = ["", "listed", "queued", "fetched", "records", "documents", "duplicates", "lost", "seconds"];

/// The flag that this program was built with.
const RELEASE: &str = if cfg!(debug_assertions) { "" } else { "--release " };
/// So many results still fit on a screen.
const FEW: usize = 20;

/// How far the queue is.
pub(super) fn progress(sums: &LogTotals, queued: u64) -> String {
    let total = sums.total();
    let mut text = format!(
        "{} of {} content blobs fetched: {} records, {} documents",
        Count(total.fetched),
        Count(queued.max(total.fetched)),
        Count(total.records),
        Count(total.documents)
    );
    let asides = [(total.duplicates, "duplicates"), (total.lost, "lost"), (sums.requeued, "put off"), (sums.reduced, "reduced")];
    for (count, name) in asides.into_iter().filter(|(count, _)| *count > 0) {
        text += &format!(", {} {name}", Count(count));
    }
    text
}

impl RunReport {
    /// The run by workload and in total, and the tick after it.
    pub fn table(&self) -> String {
        let mut table = TextTable::new(COLUMNS);
        for (workload, figures) in &self.first.workloads {
            table.row(cells(workload, figures, None));
        }
        table.row(cells("total", &self.first.total(), Some(self.seconds)));
        table.row(cells("run once more", &self.again.total(), Some(self.again_seconds)));
        table.to_string()
    }
}

fn cells(name: &str, figures: &LogFigures, seconds: Option<f64>) -> Vec<String> {
    let LogFigures { pages: _, listed, queued, fetched, records, documents, duplicates, lost } = *figures;
    let counts = [listed, queued, fetched, records, documents, duplicates, lost].map(|count| Count(count).to_string());
    let seconds = seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}"));
    [name.to_owned()].into_iter().chain(counts).chain([seconds]).collect()
}

impl RunReport {
    /// In a sentence, whether the figures can be relied on.
    pub fn verdict(&self) -> String {
        match (self.faults.len(), &self.stack.tenant, &self.stack.cosmos) {
            (0, Some(_), _) => "Tenant and database saw the same. Run once more, it listed again and had nothing to do.",
            (0, None, Some(_)) => "The database holds the same. What the tenant saw cannot be known here.",
            (0, None, None) => "These are the handler's own figures: tenant and database cannot be looked into from here.",
            _ => "Not all went well: see the errors.",
        }
        .to_owned()
    }

    /// Where everything is that stays up, and how to ask the database and, with this file of settings, the handler.
    pub fn addresses(&self, settings: Option<&Path>, kept: Option<&Path>) -> String {
        let setting = |name| self.stack.settings.get(name).map_or("", String::as_str);
        let mut text = "Everything stays up until Ctrl-C.\n".to_owned();
        if self.stack.cosmos.is_some() {
            let question = self.question();
            text += &format!(
                "\nTo ask the database, in another terminal:\n\n  \
                 cargo run -q {RELEASE}-p activity -- query \"{question}\"\n"
            );
            for (label, name) in [("Cosmos DB", "COSMOS_ENDPOINT"), ("database", "COSMOS_DATABASE"), ("container", "COSMOS_CONTAINER")] {
                text += &format!("\n{label:<11}{}", setting(name));
            }
            if let Some(kept) = kept {
                text += &format!(
                    "\n{:<11}in {}, which graph, query and findings read",
                    "key",
                    kept.strip_prefix(repository()).unwrap_or(kept).display()
                );
            }
            text.push('\n');
        }
        if let Some(settings) = settings {
            let handler = self.handler.display();
            let settings = settings.display();
            text += &format!("\nTo ask the handler:\n\n  (. {settings}; {handler} check; {handler} status)\n");
            text +=
                &format!("\nTo try history, as docs/HISTORY.md tells:\n\n  (. {settings}; cargo run -q {RELEASE}-p activity -- check)\n");
        }
        if self.stack.azurite.is_some() {
            let container = self.stack.settings.get("STATE_CONTAINER").map_or("activity-state", String::as_str);
            text += &format!(
                "\n{:<11}{}\n{:<11}{container}\n{:<11}{}\n",
                "Storage",
                self.stack.azurite.as_ref().map_or("", |azurite| azurite.blob_endpoint().as_str()),
                "container",
                "queue",
                setting("CONTENT_QUEUE")
            );
        }
        if let Some(tenant) = &self.stack.tenant {
            text += &format!("\n{:<11}{}\n{:<11}{}\n", "Tenant API", tenant.api_url(), "CA file", tenant.ca_pem().display());
        }
        text
    }

    /// About somebody who is in the data.
    fn question(&self) -> String {
        match &self.somebody {
            Some(user) => format!("select * from c where c.UserId = '{user}'"),
            None => "select * from c".to_owned(),
        }
    }
}

/// Of the users with few enough documents to look at, the one with the most, whose name needs no quoting.
pub(super) async fn somebody(cosmos: &Cosmos) -> Result<Option<String>> {
    let is_plain = |user: &str| user.contains('@') && user.chars().all(|c| c.is_ascii_alphanumeric() || "@._-".contains(c));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let count = |document: Value| {
        if let Some(user) = document["UserId"].as_str().filter(|user| is_plain(user)) {
            *counts.entry(user.to_owned()).or_default() += 1;
        }
    };
    cosmos.for_each_document(count).await?;
    Ok(counts.into_iter().filter(|(_, count)| *count <= FEW).max_by_key(|(_, count)| *count).map(|(user, _)| user))
}
