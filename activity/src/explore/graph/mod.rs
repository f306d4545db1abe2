//! A graph to look at: one page on loopback over the edges in a Cosmos DB, on this machine or in Azure. Here is how it is
//! started; what it counts, reads, serves and shows is in the submodules and in `activity/page`.

mod csv;
mod edges;
mod filter;
mod findings;
mod page;
mod path;
mod serve;
mod store;

use std::sync::{Arc, RwLock};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use url::Url;
use uuid::Uuid;

use crate::explore::database::DatabaseOptions;
use crate::explore::findings::rules;
use crate::screen::Screen;
use crate::text_table::Count;
use serve::{Shared, router};
use store::Store;

/// Which graph, and of which database.
#[derive(Args, Clone, Debug)]
pub struct GraphOptions {
    /// Which database.
    #[command(flatten)]
    pub database: DatabaseOptions,
    /// How many days back records are read; all if not given. Fewer days cost fewer request units
    #[arg(long, value_name = "N")]
    pub days: Option<u32>,
    /// At most so many records are read
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub most: usize,
    /// Port of the page; a free one if not given
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub port: u16,
}

impl GraphOptions {
    /// Of this database, all else as usual.
    pub fn of(database: DatabaseOptions) -> Self {
        Self { database, days: None, most: 500_000, port: 0 }
    }
}

/// The page, being served. It is gone when dropped.
#[derive(Debug)]
pub struct GraphPage {
    url: Url,
    _serving: AbortOnDropHandle<()>,
}

impl GraphPage {
    /// Makes the page, reads the edges, and serves both.
    ///
    /// # Errors
    ///
    /// One line that says what to do: the database cannot be read, Node.js is missing, or the port is taken.
    pub async fn start(options: &GraphOptions, screen: &Screen) -> Result<Self> {
        let container = options.database.open().await?;
        let script = page::script(|what| screen.part("graph", what)).await?;

        let listener = TcpListener::bind(("127.0.0.1", options.port)).await;
        let listener = listener.with_context(|| format!("port {} for the graph page is taken; choose another --port", options.port))?;
        let port = listener.local_addr()?.port();
        let key = Uuid::new_v4().simple().to_string();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/{key}/"))?;
        let shared = Arc::new(Shared {
            store: Store { container, most: options.most, rules: rules(&options.database).await },
            days: options.days,
            edges: RwLock::default(),
            script,
            key,
            hosts: ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}")).to_vec(),
        });
        shared.read(screen).await?;
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router(shared)).await) });
        Ok(Self { url, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Where it is served: `http://127.0.0.1:PORT/KEY/`. Whoever knows it can look.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl Shared {
    /// Reads the edges for the first time.
    async fn read(&self, screen: &Screen) -> Result<()> {
        let task = screen.task("graph", "reading edges");
        let edges = self.store.edges(self.since()).await?;
        let summary = edges.summary();
        task.done(format_args!(
            "{} edges between {} nodes, of {} records{}",
            Count(summary.edges as u64),
            Count(summary.nodes as u64),
            Count(summary.records as u64),
            if summary.is_cut { ", and there are more: see --most and --days" } else { "" }
        ));
        *self.edges.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(edges);
        Ok(())
    }
}
