//! Writes a case out of a database: every document that is asked for, sorted by partition and id, and what the journal and searches say of
//! the range.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use azure_data_cosmos::clients::ContainerClient;
use clap::Args;
use futures::TryStreamExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::account::{Searched, completeness};
use super::document::Document;
use super::filter::Filter;
use super::forms::FormOptions;
use super::manifest::Manifest;
use super::pseudonyms::{Key, Pseudonyms};
use super::writing::CaseWriter;
use crate::collect::audit_search::{Counts, History, Reports, note_report};
use crate::explore::database::DatabaseOptions;
use crate::explore::documents::{of_partition, partitions};
use crate::screen::Screen;
use crate::text_table::Count;

/// Documents handed from reading to writing at once: neither runs ahead of the other.
const CHUNK: usize = 50;
/// Settings of the handler that no export needs, and that its settings are not whole without.
const NOT_ASKED: [(&str, &str); 1] = [("OFFICE365_TENANT_ID", "00000000-0000-0000-0000-000000000000")];

/// What goes into the case, and where it comes from.
#[derive(Args, Clone, Debug)]
pub struct ExportOptions {
    /// The folder of the case; it must be new, empty, or a case, which is then written anew
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// In which forms
    #[command(flatten)]
    pub forms: FormOptions,
    /// What narrows the files
    #[command(flatten)]
    pub filter: Filter,
    /// Put tokens in place of accounts, addresses and personal OneDrive paths; `activity reveal` turns them back
    #[arg(long, requires = "key_file")]
    pub pseudonyms: bool,
    /// The file of the key for them; it is made if there is none
    #[arg(long, value_name = "FILE", requires = "pseudonyms")]
    pub key_file: Option<PathBuf>,
    /// Which database
    #[command(flatten)]
    pub database: DatabaseOptions,
    /// The folder of `backfill`: what its searches proved counts for the verdict
    #[arg(long, value_name = "DIR")]
    pub history: Option<PathBuf>,
    /// SSH key that the manifest is signed with, by ssh-keygen
    #[arg(long, value_name = "KEY")]
    pub sign: Option<PathBuf>,
}

/// Writes the case.
///
/// # Errors
///
/// The database cannot be read, or the folder cannot be written. A journal that cannot be read is told in the manifest.
pub async fn export(options: &ExportOptions, screen: &Screen) -> Result<Manifest> {
    let database = options.database.or_kept()?;
    export_with(options, &database, settings(&database)?, screen).await
}

/// Writes the case of a database, with the journal of the collector whose settings these are.
pub(crate) async fn export_with(
    options: &ExportOptions,
    database: &DatabaseOptions,
    settings: impl Fn(&str) -> Option<String>,
    screen: &Screen,
) -> Result<Manifest> {
    let container = database.open().await?;
    let history = options.history.as_deref().map(History::read).transpose()?;
    let pseudonyms = pseudonyms(options, screen)?.map(Arc::new);
    let case = CaseWriter::begin(&options.out, &options.forms)?;
    let task = screen.task("export", "reading documents");
    let (sender, receiver) = mpsc::channel(2);
    let (filter, tokens) = (options.filter.clone(), pseudonyms.clone());
    let evidence = history.as_ref().map(|history| Evidence::of(history.queries()));
    let writing = spawn_blocking(move || write(case, receiver, &filter, tokens.as_deref(), evidence));
    let reading = read(&container, sender, |read| task.now(format_args!("{} documents read", Count(read)))).await;
    // Writing that failed closes the channel, which ends the reading: its reason is told first.
    let (mut case, evidence) = writing.await??;
    reading?;
    task.now("reading the journal");
    let searched = history.as_ref().zip(evidence.as_ref());
    let searched = searched.map(|(history, evidence)| Searched { history, reports: &evidence.reports, there: &evidence.there });
    let completeness = completeness(settings, (options.filter.from, options.filter.to), searched).await;
    if let Some(Searched { history, reports, .. }) = searched {
        case.add_lines("windows.ndjson", &history.lines(reports)?).context("the case cannot be written")?;
    }
    let rows = case.rows();
    let asked = asked(options, database);
    let asked = pseudonyms.map_or_else(|| asked.clone(), |pseudonyms| pseudonyms.asked(&asked));
    let manifest = case.finish(asked, completeness, options.sign.as_deref())?;
    task.done(format_args!("{} documents in {} files", Count(rows), manifest.files.len()));
    Ok(manifest)
}

/// Reads all documents, partition by partition, each by id.
async fn read(container: &ContainerClient, documents: mpsc::Sender<Vec<Document>>, tell: impl Fn(u64)) -> Result<()> {
    let (mut chunk, mut count) = (Vec::with_capacity(CHUNK), 0);
    for partition in partitions(container).await? {
        let mut items = of_partition(container, &partition, "SELECT * FROM c ORDER BY c.id").await?;
        while let Some(document) = items.try_next().await? {
            chunk.push(document);
            count += 1;
            if chunk.len() == CHUNK {
                tell(count);
                if documents.send(std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
    let _ = documents.send(chunk).await;
    Ok(())
}

fn write(
    mut case: CaseWriter,
    mut documents: mpsc::Receiver<Vec<Document>>,
    filter: &Filter,
    pseudonyms: Option<&Pseudonyms>,
    mut evidence: Option<Evidence>,
) -> Result<(CaseWriter, Option<Evidence>)> {
    while let Some(chunk) = documents.blocking_recv() {
        if let Some(evidence) = &mut evidence {
            chunk.iter().for_each(|document| evidence.take(document));
        }
        for document in chunk.iter().filter(|document| filter.keeps(document)) {
            let written = match pseudonyms {
                Some(pseudonyms) => case.write(&pseudonyms.document(document)),
                None => case.write(document),
            };
            written.context("the case cannot be written")?;
        }
    }
    Ok((case, evidence))
}

/// What all documents of the database, asked for or not, say of searched history.
struct Evidence {
    queries: HashSet<String>,
    reports: Reports,
    there: Counts,
}

impl Evidence {
    fn of(queries: HashSet<String>) -> Self {
        Self { queries, reports: Reports::new(), there: Counts::new() }
    }

    fn take(&mut self, document: &Document) {
        if let Some((day, _)) = document.text("pk").rsplit_once('-') {
            match self.there.get_mut(day) {
                Some(count) => *count += 1,
                None => drop(self.there.insert(day.to_owned(), 1)),
            }
        }
        note_report(&mut self.reports, &self.queries, document);
    }
}

/// None where names are to stay.
fn pseudonyms(options: &ExportOptions, screen: &Screen) -> Result<Option<Pseudonyms>> {
    let Some(file) = options.key_file.as_deref().filter(|_| options.pseudonyms) else { return Ok(None) };
    let (key, is_new) = Key::read_or_make(file)?;
    if is_new {
        screen.part("export", format_args!("a new key is in {}: without it nobody can turn a token back", file.display()));
    }
    Ok(Some(Pseudonyms::new(key)))
}

/// The settings with the database's options in their place, and something in place of what is not asked for.
pub(crate) fn settings(database: &DatabaseOptions) -> Result<impl Fn(&str) -> Option<String> + use<>> {
    let given = database.settings()?;
    let not_asked = |name: &str| NOT_ASKED.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Ok(move |name: &str| given(name).or_else(|| not_asked(name)))
}

/// What was asked, as the manifest has it.
fn asked(options: &ExportOptions, database: &DatabaseOptions) -> Value {
    let mut asked = Map::from_iter([("command".to_owned(), json!("export")), ("as".to_owned(), json!(options.forms.forms))]);
    if options.pseudonyms {
        asked.insert("pseudonyms".to_owned(), json!(true));
    }
    if let Ok(Value::Object(filter)) = serde_json::to_value(&options.filter) {
        asked.extend(filter);
    }
    if let Some(history) = &options.history {
        asked.insert("history".to_owned(), json!(history));
    }
    asked.insert("endpoint".to_owned(), json!(database.endpoint));
    asked.insert("container".to_owned(), json!(format!("{}/{}", database.database, database.container)));
    Value::Object(asked)
}
