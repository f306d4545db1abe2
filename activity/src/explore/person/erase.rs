//! Erases the documents of a person: first their ids are noted where every collector looks before it stores, then they are removed.
//!
//! Killed at any point and started again, it ends the same. Before the ids are noted nothing is removed. After it, and before the
//! last document is removed, the documents that are left are found again, noted again, which changes nothing, and removed. A
//! collector stores none of them in between, since it reads the note before it fetches.

use std::io::{IsTerminal as _, Write as _, stderr, stdin};

use anyhow::{Context as _, Result, bail, ensure};
use azure_data_cosmos::clients::ContainerClient;
use chrono::Utc;
use futures::TryStreamExt as _;
use futures::stream::{self, StreamExt as _};
use handler::clock::rfc3339;
use handler::state::{Erasure, ErasureEvent, State};
use uuid::Uuid;

use super::{Found, PersonOptions, find};
use crate::case::account::collector;
use crate::case::export::settings;
use crate::screen::Screen;
use crate::text_table::Count;

/// Documents removed side by side.
const DELETES: usize = 8;

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Documents that were found, noted and removed.
    pub documents: u64,
}

/// Says what must be there before anything is removed.
const UNREAD: &str = "what is erased must be noted in the collector's state, else it comes again: AzureWebJobsStorage names it";

/// Erases the documents of a person, on record. None: whoever was asked did not agree.
///
/// # Errors
///
/// The database or the collector's state cannot be reached, or nobody is there to be asked.
pub async fn erase(options: &PersonOptions, screen: &Screen) -> Result<Option<Erased>> {
    let database = options.database.or_kept()?;
    let container = database.open().await?;
    let (_, state) = collector(settings(&database)?).context(UNREAD)?;
    erase_from(&container, &state, options, screen).await
}

/// The same with a database and a state that are open.
///
/// # Errors
///
/// As [`erase`].
pub async fn erase_from(container: &ContainerClient, state: &State, options: &PersonOptions, screen: &Screen) -> Result<Option<Erased>> {
    state.read_erased().await.context(UNREAD)?;
    let found = find(container, options).await?;
    screen.line(found.table());
    if found.is_empty() {
        screen.line(format_args!("No document concerns {}; nothing is removed.", options.user));
        return Ok(Some(Erased { documents: 0 }));
    }
    if !(options.yes || is_agreed(&found, &options.user)?) {
        return Ok(None);
    }
    let documents = found.len() as u64;
    let erasure = Erasure {
        at: rfc3339(Utc::now()),
        event: ErasureEvent::Begun,
        erasure: Uuid::new_v4().to_string(),
        documents,
        by: options.by.clone(),
        note: options.note.clone(),
    };
    state.append_erasure(&erasure).await.context(UNREAD)?;
    state.append_erased(found.keys().map(|(_, id)| id)).await.context(UNREAD)?;
    let task = screen.task("erase", "removing documents");
    remove(container, &found, |done| task.at(done, documents, format_args!("{} of {} documents", Count(done), Count(documents)))).await?;
    state.append_erasure(&Erasure { at: rfc3339(Utc::now()), event: ErasureEvent::Done, ..erasure }).await?;
    task.done(format_args!("{} documents removed; their ids are in erased.ndjson, the erasure in erasures.ndjson", Count(documents)));
    screen.line(
        "A collector that was storing at this moment may still store some of them within the next ten minutes. Run the same command again \
         after that: it removes what came. Backups, exports and imports of Power BI are not touched (docs/PRIVACY.md).",
    );
    Ok(Some(Erased { documents }))
}

fn is_agreed(found: &Found, user: &str) -> Result<bool> {
    ensure!(stdin().is_terminal(), "nobody is there to be asked: --yes removes without asking");
    let _ = write!(stderr(), "Remove these {} documents for good? Type {user} to agree: ", Count(found.len() as u64));
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("the answer cannot be read")?;
    Ok(answer.trim() == user)
}

/// Removes each document; one that is gone already is no trouble.
async fn remove(container: &ContainerClient, found: &Found, tell: impl Fn(u64)) -> Result<()> {
    let deletes: Vec<_> = found.keys().map(|(pk, id)| delete(container, pk, id)).collect();
    let mut deletes = stream::iter(deletes).buffer_unordered(DELETES);
    let mut done = 0;
    while let Some(()) = deletes.try_next().await? {
        done += 1;
        tell(done);
    }
    Ok(())
}

async fn delete(container: &ContainerClient, pk: &str, id: &str) -> Result<()> {
    match container.delete_item(pk.to_owned(), id, None).await {
        Ok(_) => Ok(()),
        Err(error) => match u16::from(error.status().status_code()) {
            404 => Ok(()),
            401 | 403 => bail!("the database does not let you remove documents: a read-only key, or a role that only reads ({error})"),
            _ => Err(error).context("remove a document"),
        },
    }
}
