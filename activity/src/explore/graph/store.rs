//! What the page needs of the database: the edges of all records of some days, and one record whole.

use anyhow::{Context as _, Result};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::{FeedScope, Query};
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use handler::findings::RuleSet;
use serde_json::Value;

use super::edges::Edges;
use super::findings::Level;
use crate::explore::database::without_system_properties;

/// A container of activity.
pub(super) struct Store {
    pub(super) container: ContainerClient,
    /// At most so many records are read.
    pub(super) most: usize,
}

impl Store {
    /// Reads what the graph is made of, and asks the rules over time of it. Nothing is counted there, so that the account is asked
    /// once and not at every change of a filter. Documents are read whole, since a rule may ask for any field; a few fields of each
    /// are kept.
    pub(super) async fn edges(&self, since: Option<DateTime<Utc>>) -> Result<Edges> {
        const ALL: &str = "SELECT * FROM c";
        let query = match since {
            // CreationTime has no zone and is UTC: as text, times are in order.
            Some(since) => Query::from(format!("{ALL} WHERE c.CreationTime >= @since"))
                .with_parameter("@since", since.format("%Y-%m-%dT%H:%M:%S").to_string())?,
            None => Query::from(ALL),
        };
        let refused = "the database refuses to be read";
        let mut documents = self.container.query_items::<Value>(query, FeedScope::full_container(), None).await.context(refused)?;
        let (mut edges, mut over_time) = (Edges::default(), RuleSet::ours().over_time());
        while let Some(document) = documents.try_next().await.context(refused)? {
            if edges.len() == self.most {
                edges.is_cut = true;
                break;
            }
            over_time.take(edges.len() as u64, &document.to_string());
            edges.add(&document);
        }
        for (place, findings) in over_time.findings() {
            for finding in findings {
                edges.find(usize::try_from(place)?, finding.rule, finding.title, Level::of(finding.level.as_str()));
            }
        }
        Ok(edges)
    }

    /// A record as it stands in the database, less what the database added. `None`: it is gone.
    pub(super) async fn record(&self, pk: &str, id: &str) -> Result<Option<Value>> {
        match self.container.read_item(pk.to_owned(), id, None).await {
            Ok(response) => Ok(Some(without_system_properties(response.into_model()?))),
            Err(error) if u16::from(error.status().status_code()) == 404 => Ok(None),
            Err(error) => Err(error).context("read a record"),
        }
    }
}
