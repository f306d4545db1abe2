//! The documents that concern one person: listed, handed out, or erased on request.

mod erase;

use std::collections::BTreeMap;
use std::io::{Write as _, stdout};

use anyhow::{Context as _, Result};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::{FeedScope, Query};
use clap::{Args, ValueEnum};
use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;

pub use self::erase::{Erased, erase, erase_from};
use super::database::{DatabaseOptions, without_system_properties};
use crate::screen::Screen;
use crate::text_table::{Count, TextTable};
use crate::visible::visible_json;

/// Documents read side by side.
const READS: usize = 8;

/// Whose documents, and what is done with them.
#[derive(Args, Clone, Debug)]
pub struct PersonOptions {
    /// The account: a user principal name such as megan@contoso.com
    pub user: String,
    /// Only records that the person made, or only those that name the person in an edge
    #[arg(long, value_enum, default_value_t = Relation::Both)]
    pub records: Relation,
    /// Look into every text of every document as well: reads the whole database
    #[arg(long)]
    pub anywhere: bool,
    /// Print the documents, one a line, in place of the table
    #[arg(long, conflicts_with = "erase")]
    pub ndjson: bool,
    /// Remove the documents, and keep them from being stored again
    #[arg(long)]
    pub erase: bool,
    /// Do not ask before removing
    #[arg(long, requires = "erase")]
    pub yes: bool,
    /// Who erases, for the record
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true, default_value = "unknown")]
    pub by: String,
    /// What the record says besides, such as the number of the request; no name of the person
    #[arg(long, value_name = "TEXT", requires = "erase")]
    pub note: Option<String>,
    /// Which database
    #[command(flatten)]
    pub database: DatabaseOptions,
}

impl PersonOptions {
    /// To erase all that concerns an account in a database, without asking.
    pub fn erasing(user: &str, database: DatabaseOptions) -> Self {
        let (records, by) = (Relation::Both, "unknown".to_owned());
        Self { user: user.to_owned(), records, anywhere: false, ndjson: false, erase: true, yes: true, by, note: None, database }
    }
}

/// Which documents are one person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Relation {
    /// Records of what the person did: their UserId is the person
    Made,
    /// Records that name the person, or the person's OneDrive, in an edge: what others did to them, too
    Named,
    /// Either
    Both,
}

/// The documents that were found, by partition and id.
#[derive(Clone, Debug, Default)]
pub struct Found(BTreeMap<(String, String), About>);

/// What is known of a document without reading all of it.
#[derive(Clone, Debug, Default)]
struct About {
    workload: String,
    created: String,
    is_made: bool,
}

/// A document's row in an answer.
#[derive(Deserialize)]
struct Row {
    id: String,
    pk: String,
    #[serde(rename = "CreationTime", default)]
    created: Value,
    #[serde(rename = "Workload", default)]
    workload: Value,
    #[serde(rename = "UserId", default)]
    user: Value,
}

/// Shows the documents of a person.
///
/// # Errors
///
/// The database cannot be read.
pub async fn list(options: &PersonOptions, screen: &Screen) -> Result<()> {
    let container = options.database.open().await?;
    let found = find(&container, options).await?;
    if options.ndjson {
        return print(&container, &found).await;
    }
    screen.line(found.table());
    screen.line(found.summary(options));
    Ok(())
}

/// Finds the documents that concern a person.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) async fn find(container: &ContainerClient, options: &PersonOptions) -> Result<Found> {
    const FIELDS: &str = "c.id, c.pk, c.CreationTime, c.Workload, c.UserId";
    let user = options.user.trim().to_lowercase();
    let mut found = Found::default();
    if options.records != Relation::Named {
        let made =
            Query::from(format!("SELECT {FIELDS} FROM c WHERE CONTAINS(LOWER(c.UserId), @user) OR CONTAINS(LOWER(c.UserId), @guest)"));
        let made = made.with_parameter("@user", &user)?.with_parameter("@guest", as_guest(&user))?;
        found.add(container, made, &user).await?;
        found.0.retain(|_, about| about.is_made);
    }
    if options.records != Relation::Made {
        // Names in edges are in lower case.
        let named = Query::from(format!(
            "SELECT {FIELDS} FROM c JOIN e IN c.edges WHERE e['from'] = @user OR e['to'] = @user \
             OR CONTAINS(e['from'], @onedrive) OR CONTAINS(e['to'], @onedrive)"
        ));
        let named = named.with_parameter("@user", &user)?.with_parameter("@onedrive", format!("/personal/{}", in_addresses(&user)))?;
        found.add(container, named, &user).await?;
    }
    if options.anywhere {
        found.add_anywhere(container, &user).await?;
    }
    if options.records == Relation::Named {
        found.0.retain(|_, about| !about.is_made);
    }
    Ok(found)
}

/// The name of an account as addresses of personal OneDrive sites have it.
pub(crate) fn in_addresses(user: &str) -> String {
    user.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

/// How another tenant's directory begins the name of a guest: `megan_contoso.com#ext#@`.
fn as_guest(user: &str) -> String {
    format!("{}#ext#@", user.replace('@', "_"))
}

/// True if a UserId is the account, however the service writes it: by itself, behind a claim (`i:0#.f|membership|…`), as a guest.
fn is_of(id: &str, user: &str) -> bool {
    let id = id.trim().to_lowercase();
    let name = id.rsplit('|').next().unwrap_or_default();
    name.strip_prefix("urn:spo:guest#").unwrap_or(name) == user || name.starts_with(&as_guest(user))
}

impl Found {
    async fn add(&mut self, container: &ContainerClient, query: Query, user: &str) -> Result<()> {
        let mut rows = container.query_items::<Row>(query, FeedScope::full_container(), None).await.context("the question is refused")?;
        while let Some(row) = rows.try_next().await.context("the database refuses to be read")? {
            self.insert(row, user);
        }
        Ok(())
    }

    /// Reads every document, and keeps those that name the person in any text.
    async fn add_anywhere(&mut self, container: &ContainerClient, user: &str) -> Result<()> {
        let names = [user.to_owned(), in_addresses(user), user.replace('@', "%40")];
        let query = Query::from("SELECT * FROM c");
        let mut documents =
            container.query_items::<Value>(query, FeedScope::full_container(), None).await.context("the question is refused")?;
        while let Some(document) = documents.try_next().await.context("the database refuses to be read")? {
            let text = document.to_string().to_lowercase();
            if names.iter().any(|name| text.contains(name.as_str())) {
                self.insert(serde_json::from_value(document)?, user);
            }
        }
        Ok(())
    }

    fn insert(&mut self, row: Row, user: &str) {
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let is_made = row.user.as_str().is_some_and(|id| is_of(id, user));
        let about = About { workload: text(row.workload), created: text(row.created), is_made };
        self.0.insert((row.pk, row.id), about);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Partition key and id of each.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.keys().map(|(pk, id)| (pk.as_str(), id.as_str()))
    }

    /// By workload: how many, of those how many the person made, the first and the last.
    pub fn table(&self) -> TextTable {
        let mut table = TextTable::new(["workload", "documents", "made", "named only", "first", "last"]);
        let mut by_workload: BTreeMap<&str, Vec<&About>> = BTreeMap::new();
        for about in self.0.values() {
            by_workload.entry(&about.workload).or_default().push(about);
        }
        let all = ("total", self.0.values().collect());
        for (workload, documents) in by_workload.into_iter().chain([all]) {
            let made = documents.iter().filter(|about| about.is_made).count();
            let mut times: Vec<_> = documents.iter().map(|about| about.created.as_str()).filter(|time| !time.is_empty()).collect();
            times.sort_unstable();
            let time = |time: Option<&&str>| time.copied().unwrap_or_default().to_owned();
            let counts = [documents.len(), made, documents.len() - made].map(|count| Count(count as u64).to_string());
            table.row(std::iter::once(workload.to_owned()).chain(counts).chain([time(times.first()), time(times.last())]));
        }
        table
    }

    fn summary(&self, options: &PersonOptions) -> String {
        let looked_at = match (options.anywhere, options.records) {
            (true, _) => "every text of every document",
            (false, Relation::Made) => "UserId",
            (false, Relation::Named) => "edges",
            (false, Relation::Both) => "UserId and edges; --anywhere looks into every text",
        };
        format!("{} documents concern {} (looked at: {looked_at}).", Count(self.len() as u64), options.user)
    }
}

/// Prints the documents as they stand in the database, less what the database added.
async fn print(container: &ContainerClient, found: &Found) -> Result<()> {
    let reads = found.keys().map(|(pk, id)| read(container, pk, id));
    let mut documents = stream::iter(reads.collect::<Vec<_>>()).buffered(READS);
    while let Some(document) = documents.try_next().await? {
        let Some(document) = document else { continue };
        if writeln!(stdout(), "{}", visible_json(&without_system_properties(document).to_string())).is_err() {
            break; // the reader has gone
        }
    }
    Ok(())
}

/// A document; none where it has gone since.
async fn read(container: &ContainerClient, pk: &str, id: &str) -> Result<Option<Value>> {
    match container.read_item(pk.to_owned(), id, None).await {
        Ok(response) => Ok(Some(response.into_model()?)),
        Err(error) if u16::from(error.status().status_code()) == 404 => Ok(None),
        Err(error) => Err(error).context("read a document"),
    }
}
