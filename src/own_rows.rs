//! Keeps the table of edges as the state container has it: reads the administrator's rows at the start and then every hour, or once for
//! a command.

use std::{sync::Arc, time::Duration};

use crate::{document::Table, error_text::chain, services::Services};

const EVERY: Duration = Duration::from_secs(3600);
const FOLDER: &str = "edges/";

/// Reads the rows, again and again, for as long as it is polled. Trouble is a warning, and leaves the table as it is.
pub(crate) async fn keep(services: Arc<Services>) {
    let mut known = Vec::new();
    loop {
        match services.clients.state.own_files(FOLDER, ".toml").await {
            Ok(files) if files != known => {
                take(&services, &files);
                known = files;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(error = chain(&error), "cannot read the rows for the table of edges"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn take(services: &Services, files: &[(String, String)]) {
    let (table, faults) = Table::with(files);
    for fault in faults {
        tracing::warn!(fault, "a row for the table of edges is left out");
    }
    tracing::info!(files = files.len(), "the table of edges has the rows of the state container");
    services.storing.set_table(table);
}

/// Reads the rows once.
///
/// # Errors
/// Storage refused or could not be reached.
pub async fn read(services: &Services) -> azure_core::Result<()> {
    let files = services.clients.state.own_files(FOLDER, ".toml").await?;
    take(services, &files);
    Ok(())
}
