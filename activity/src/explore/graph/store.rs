//! What the page needs of the database: the edges of all records of some days, and one record whole.

use anyhow::{Context as _, Result};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::{FeedScope, Query};
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use handler::findings::{Finding, RuleSet};
use serde_json::Value;

use super::edges::{Edges, Span};
use crate::explore::database::without_system_properties;

/// A container of activity.
pub(super) struct Store {
    pub(super) container: ContainerClient,
    /// At most so many records are read.
    pub(super) most: usize,
    /// Asked over time; what they silence today is not shown.
    pub(super) rules: RuleSet,
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
        let (mut edges, mut over_time) = (Edges::default(), self.rules.over_time());
        while let Some(mut document) = documents.try_next().await.context(refused)? {
            if edges.len() == self.most {
                edges.is_cut = true;
                break;
            }
            let json = document.to_string();
            over_time.take(edges.len() as u64, &json);
            self.silence(&json, &mut document);
            edges.add(&document);
        }
        for episode in over_time.episodes() {
            // The account, if it is one; else what its records have in common.
            let mut accounts = episode.accounts.iter();
            let account = match (accounts.next(), accounts.next()) {
                (Some(account), None) => account.to_string(),
                _ => episode.group.join(", "),
            };
            let span =
                Span { records: u32::try_from(episode.count).unwrap_or(u32::MAX), first: Some(episode.first), last: Some(episode.last) };
            let Finding { rule, title, level, .. } = episode.finding;
            edges.find(usize::try_from(episode.line)?, (rule, title, level), &account, span);
        }
        Ok(edges)
    }

    /// Takes away findings that are silenced today.
    fn silence(&self, json: &str, document: &mut Value) {
        let Some(stored) = document.get_mut("findings").and_then(Value::as_array_mut) else { return };
        stored.retain(|finding| {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            text("level").parse().is_ok_and(|level| {
                let finding = Finding { rule: text("rule"), title: text("title"), level, file: "" };
                !self.rules.not_silenced(json, vec![finding]).is_empty()
            })
        });
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
