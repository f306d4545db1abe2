//! A question to Cosmos DB in SQL, as the files in `queries/` hold it: its parameters with their samples, and asking it.
//! Printing the answer is next door.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use azure_data_cosmos::clients::ContainerClient;
use azure_data_cosmos::{FeedScope, Query};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Map, Value};

/// Logical partitions asked side by side.
const PARTITIONS: usize = 8;

/// SQL and the values of its parameters.
#[derive(Clone, Debug)]
pub struct Question {
    sql: String,
    parameters: BTreeMap<String, Value>,
}

impl Question {
    /// Reads SQL. Lines of comment are left out; one such as `-- @user = "megan@contoso.com"` gives a parameter a value, as
    /// JSON.
    ///
    /// # Errors
    ///
    /// A parameter's value is no JSON, or there is a value for a parameter that the SQL does not have.
    pub fn parse(text: &str) -> Result<Self> {
        let (comments, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.trim_start().starts_with("--"));
        let mut question = Self { sql: lines.join("\n").trim().to_owned(), parameters: BTreeMap::new() };
        for comment in comments {
            let given = comment.trim_start().trim_start_matches('-').trim();
            if let Some((name, value)) = given.strip_prefix('@').and_then(|given| given.split_once('=')) {
                let value = serde_json::from_str(value.trim()).with_context(|| format!("the value of {} is no JSON", name.trim()))?;
                question.set(name.trim(), value)?;
            }
        }
        Ok(question)
    }

    /// Gives a parameter a value; its name is without the `@`.
    ///
    /// # Errors
    ///
    /// The SQL has no such parameter.
    pub fn set(&mut self, name: &str, value: Value) -> Result<()> {
        let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let parameter = format!("@{name}");
        let is_there = self.sql.match_indices(&parameter).any(|(at, _)| is_end(&self.sql[at + parameter.len()..]));
        ensure!(is_there, "the question has no parameter {parameter}");
        self.parameters.insert(name.to_owned(), value);
        Ok(())
    }

    /// Its parameters and their values, by name.
    pub fn parameters(&self) -> &BTreeMap<String, Value> {
        &self.parameters
    }

    /// Asks it of the whole container. Microsoft's SDK for Rust groups within a logical partition only, so a question with
    /// GROUP BY is asked of each, and the groups are put together here, most events first.
    ///
    /// # Errors
    ///
    /// The database refuses it, or groups by something that cannot be put together.
    pub async fn ask(&self, container: &ContainerClient) -> Result<BoxStream<'static, Result<Value>>> {
        if self.is_grouped() {
            ensure_mergeable(&self.sql)?;
            return Ok(stream::iter(self.groups(container).await?).map(Ok).boxed());
        }
        let answer = container.query_items::<Value>(self.query()?, FeedScope::full_container(), None);
        Ok(answer
            .await
            .context("the question is refused")?
            .map_err(|error| anyhow::Error::new(error).context("the question is refused"))
            .boxed())
    }

    fn is_grouped(&self) -> bool {
        self.sql.to_ascii_uppercase().contains("GROUP BY")
    }

    fn query(&self) -> Result<Query> {
        let query = Query::from(self.sql.as_str());
        self.parameters.iter().try_fold(query, |query, (name, value)| Ok(query.with_parameter(format!("@{name}"), value)?))
    }

    async fn groups(&self, container: &ContainerClient) -> Result<Vec<Value>> {
        let partitions = Self { sql: "SELECT DISTINCT VALUE c.pk FROM c ORDER BY c.pk".to_owned(), parameters: BTreeMap::new() };
        let partitions = container.query_items::<String>(partitions.query()?, FeedScope::full_container(), None);
        let partitions: Vec<String> = partitions.await.context("the question is refused")?.try_collect().await?;
        let answers = stream::iter(partitions.into_iter().map(|partition| async {
            let answer = container.query_items::<Map<String, Value>>(self.query()?, FeedScope::partition(partition), None);
            anyhow::Ok(answer.await.context("the question is refused")?.try_collect::<Vec<_>>().await?)
        }));
        Ok(merged(answers.buffer_unordered(PARTITIONS).try_collect::<Vec<_>>().await?.concat()))
    }
}

/// Groups can be put together where it is known by their names what their figures are.
fn ensure_mergeable(sql: &str) -> Result<()> {
    for (function, name) in [("COUNT(", "events"), ("MIN(", "firstSeen"), ("MAX(", "lastSeen"), ("SUM(", ""), ("AVG(", "")] {
        for (at, _) in sql.to_ascii_uppercase().match_indices(function) {
            let named = sql[at..].split_once(')').and_then(|(_, rest)| rest.trim_start().split([',', ' ', '\n']).nth(1));
            if named != Some(name) {
                bail!("groups are put together here only of COUNT(…) AS events, MIN(…) AS firstSeen and MAX(…) AS lastSeen");
            }
        }
    }
    Ok(())
}

/// Groups of several partitions put together, most events first.
fn merged(rows: Vec<Map<String, Value>>) -> Vec<Value> {
    let mut groups: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for mut row in rows {
        let [events, first, last] = ["events", "firstSeen", "lastSeen"].map(|name| row.remove(name));
        let group = groups.entry(Value::from(row.clone()).to_string()).or_insert(row);
        merge(group, "events", events, |known, new| (known.as_u64().unwrap_or(0) + new.as_u64().unwrap_or(0)).into());
        merge(group, "firstSeen", first, |known, new| if new.as_str() < known.as_str() { new } else { known });
        merge(group, "lastSeen", last, |known, new| if new.as_str() > known.as_str() { new } else { known });
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| Reverse(group.get("events").and_then(Value::as_u64)));
    groups.into_iter().map(Value::from).collect()
}

fn merge(group: &mut Map<String, Value>, name: &str, figure: Option<Value>, both: impl Fn(Value, Value) -> Value) {
    let Some(figure) = figure else { return };
    let figure = match group.remove(name) {
        Some(known) => both(known, figure),
        None => figure,
    };
    group.insert(name.to_owned(), figure);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_gives_its_sql_and_its_parameters_and_no_other_may_be_set() {
        let text = "-- Who and when.\n-- @user = \"a=b\"\n-- @least = 2\nSELECT * FROM c\nWHERE c.u = @user AND c.n > @least";
        let mut question = Question::parse(text).unwrap();
        assert_eq!(question.sql, "SELECT * FROM c\nWHERE c.u = @user AND c.n > @least");
        assert_eq!(json!(question.parameters()), json!({"user": "a=b", "least": 2}));
        question.set("user", json!("c")).unwrap();
        assert_eq!(question.parameters()["user"], json!("c"));
        assert!(question.set("use", json!(1)).is_err() && question.set("name", json!(1)).is_err());
        assert!(Question::parse("-- @user = nobody\nSELECT @user").is_err());
        assert!(Question::parse("-- @user = 1\nSELECT @users").is_err());
    }

    #[test]
    fn groups_of_partitions_become_one_and_what_cannot_is_refused() {
        let rows = [("a", 2, "05", "07"), ("b", 3, "01", "02"), ("a", 2, "04", "09")].map(|(who, events, first, last)| {
            json!({"who": who, "events": events, "firstSeen": first, "lastSeen": last}).as_object().unwrap().clone()
        });
        let expected = [("a", 4, "04", "09"), ("b", 3, "01", "02")];
        let expected =
            expected.map(|(who, events, first, last)| json!({"who": who, "events": events, "firstSeen": first, "lastSeen": last}));
        assert_eq!(merged(rows.into()), expected);
        assert!(
            ensure_mergeable("SELECT c.a, COUNT(1) AS events, MIN(c.t) AS firstSeen, MAX(c.t) AS lastSeen FROM c GROUP BY c.a").is_ok()
        );
        for other in ["COUNT(1)", "COUNT(1) AS n", "AVG(c.n) AS events", "SUM(c.n) AS events", "MIN(c.t) AS lastSeen"] {
            assert!(ensure_mergeable(&format!("SELECT {other} FROM c GROUP BY c.a")).is_err(), "{other}");
        }
    }
}
