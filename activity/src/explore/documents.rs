//! Reads the documents of a container, one logical partition after another, so that no more than a page of them is held.

use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::options::{MaxItemCountHint, QueryOptions};
use azure_data_cosmos::{FeedScope, Query};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::case::document::Document;
use crate::explore::database::without_system_properties;

/// Documents asked for in one request; the service cuts a page off at 4 MB.
const PAGE: NonZeroU32 = NonZeroU32::new(500).unwrap();
const REFUSED: &str = "the database refuses to be read";

/// The logical partitions that hold documents, in order: `2026-11-20-0`, …, `unknown-0`.
///
/// # Errors
/// The database refuses or cannot be reached.
pub(crate) async fn partitions(container: &ContainerClient) -> Result<Vec<String>> {
    let query = Query::from("SELECT DISTINCT VALUE c.pk FROM c ORDER BY c.pk");
    let partitions = container.query_items::<String>(query, FeedScope::full_container(), None).await.context(REFUSED)?;
    let mut partitions: Vec<String> = partitions.try_collect().await.context(REFUSED)?;
    partitions.sort_unstable();
    partitions.dedup();
    Ok(partitions)
}

/// What a query gives of the documents of one partition, without what the database added.
///
/// # Errors
/// The database refuses or cannot be reached.
pub(crate) async fn of_partition(
    container: &ContainerClient,
    partition: &str,
    sql: &'static str,
) -> Result<BoxStream<'static, Result<Document>>> {
    documents(container, Query::from(sql), FeedScope::partition(partition.to_owned())).await
}

/// What a query gives of the documents of all partitions.
///
/// # Errors
/// The database refuses or cannot be reached.
pub(crate) async fn of_container(container: &ContainerClient, sql: String) -> Result<BoxStream<'static, Result<Document>>> {
    documents(container, Query::from(sql), FeedScope::full_container()).await
}

/// How many documents a partition holds.
///
/// # Errors
/// The database refuses or cannot be reached.
pub(crate) async fn count(container: &ContainerClient, partition: &str) -> Result<u64> {
    let query = Query::from("SELECT VALUE COUNT(1) FROM c");
    let counts = container.query_items::<u64>(query, FeedScope::partition(partition.to_owned()), None).await.context(REFUSED)?;
    Ok(counts.try_collect::<Vec<_>>().await.context(REFUSED)?.into_iter().sum())
}

async fn documents(container: &ContainerClient, query: Query, scope: FeedScope) -> Result<BoxStream<'static, Result<Document>>> {
    let page = QueryOptions::default().with_max_item_count(MaxItemCountHint::Limit(PAGE));
    let items = container.query_items::<Value>(query, scope, Some(page)).await.context(REFUSED)?;
    let documents = items.map(|item| match item.context(REFUSED) {
        Ok(item) => match without_system_properties(item) {
            Value::Object(fields) => Some(Ok(Document::new(fields))),
            _ => None,
        },
        Err(error) => Some(Err(error)),
    });
    Ok(documents.filter_map(std::future::ready).boxed())
}
