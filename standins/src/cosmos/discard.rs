//! A database that keeps no document: it answers writes as Cosmos DB does, and remembers ids alone, so that repeats are refused.
//! For measurements of millions of records, which the emulator would hold, and copy at every batch.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use azure_data_cosmos_driver::binary_json;
use bytes::Bytes;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lock;
use super::serve::{Answer, Kind};

/// Ids of the documents that were created, by a hash of partition key and id: 8 bytes each.
#[derive(Debug, Default)]
pub(super) struct Discarded(Mutex<HashSet<u64>>);

#[derive(Deserialize)]
struct Operation<'a> {
    #[serde(rename = "resourceBody", borrow)]
    document: &'a RawValue,
}

#[derive(Deserialize)]
struct Identified {
    id: String,
}

#[derive(Deserialize)]
struct Query {
    parameters: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    value: Value,
}

impl Discarded {
    /// How many documents were created.
    pub(super) fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// The answer to a batch, a create, or a query for ids; none where the request is about something else.
    pub(super) fn answer(&self, kind: Kind, head: &Parts, body: &Bytes) -> Option<Answer> {
        let partition = head.headers.get("x-ms-documentdb-partitionkey")?.as_bytes();
        let key = |id: &str| {
            let mut hasher = DefaultHasher::new();
            (partition, id).hash(&mut hasher);
            hasher.finish()
        };
        match kind {
            Kind::Batch => {
                let operations: Vec<Operation<'_>> = serde_json::from_slice(body).ok()?;
                let documents = operations.iter().map(|operation| operation.document.get());
                let keys: Option<Vec<u64>> =
                    documents.clone().map(|document| Some(key(&serde_json::from_str::<Identified>(document).ok()?.id))).collect();
                Some(self.batch(&keys?, documents.map(|document| write_charge(document.len())).sum()))
            }
            Kind::Create => {
                let id = if binary_json::is_binary(body) {
                    binary_json::decode(body).ok()?["id"].as_str()?.to_owned()
                } else {
                    serde_json::from_slice::<Identified>(body).ok()?.id
                };
                let is_new = lock(&self.0).insert(key(&id));
                let answer =
                    if is_new { (201, json!({ "id": id })) } else { (409, json!({ "code": "Conflict", "message": "It exists." })) };
                Some(self.told(answer.0, &answer.1, write_charge(body.len())))
            }
            Kind::Query => {
                let query: Query = serde_json::from_slice(body).ok()?;
                let ids = lock(&self.0);
                let found: Vec<_> = query
                    .parameters
                    .iter()
                    .map(|parameter| &parameter.value)
                    .filter(|id| id.as_str().is_some_and(|id| ids.contains(&key(id))))
                    .collect();
                let answer = json!({ "_rid": "", "Documents": found, "_count": found.len() });
                drop(ids);
                Some(self.told(200, &answer, query_charge(query.parameters.len())))
            }
            _ => None,
        }
    }

    /// All or none: the first that is there fails it.
    fn batch(&self, keys: &[u64], charge: f64) -> Answer {
        let mut ids = lock(&self.0);
        let mut seen = HashSet::new();
        let failed = keys.iter().position(|key| ids.contains(key) || !seen.insert(*key));
        if failed.is_none() {
            ids.extend(keys);
        }
        drop(ids);
        let status = |at| match failed {
            None => 201,
            Some(failed) if failed == at => 409,
            Some(_) => 424,
        };
        let results: Vec<_> = (0..keys.len()).map(|at| json!({ "statusCode": status(at), "requestCharge": 0 })).collect();
        self.told(if failed.is_none() { 200 } else { 207 }, &Value::from(results), charge)
    }

    fn told(&self, status: u16, body: &Value, charge: f64) -> Answer {
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("x-ms-request-charge", format!("{charge:.2}")),
            ("x-ms-session-token", "0:-1#1".to_owned()),
        ];
        Answer { status, headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), body: body.to_string().into() }
    }
}

/// Request units of a write by the document's size, indexing aside, as Microsoft gives them.
/// <https://learn.microsoft.com/azure/cosmos-db/understand-request-unit-consumption>
pub fn write_charge(bytes: usize) -> f64 {
    const CHARGES: [(usize, f64); 12] = [
        (1, 4.95),
        (2, 6.29),
        (4, 6.67),
        (8, 7.04),
        (16, 9.52),
        (32, 11.23),
        (64, 22.67),
        (128, 48.19),
        (256, 98.29),
        (512, 184.57),
        (1024, 625.0),
        (2048, 1250.0),
    ];
    CHARGES.iter().find(|(kib, _)| bytes <= kib * 1024).map_or(1250.0, |(_, charge)| *charge)
}

/// Request units of a question for ids within one partition: Microsoft publishes none; this is taken to be a read of 1 KB for
/// each, the most that it can be for documents of that size.
fn query_charge(ids: usize) -> f64 {
    2.0 + ids as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_all_or_none_and_the_first_that_is_there_fails_it() {
        let ids = Discarded::default();
        assert_eq!(ids.batch(&[1, 2], 0.0).status, 200);
        let answer = ids.batch(&[3, 2, 1], 0.0);
        let codes: Vec<Value> = serde_json::from_slice(&answer.body).unwrap_or_default();
        assert_eq!(codes.iter().map(|code| &code["statusCode"]).collect::<Vec<_>>(), [424, 409, 424]);
        assert_eq!((answer.status, ids.count()), (207, 2));
    }

    #[test]
    fn a_write_is_charged_by_its_size() {
        assert_eq!([write_charge(100), write_charge(1025), write_charge(3_000_000)], [4.95, 6.29, 1250.0]);
    }
}
