//! Documents that are made as they are asked for, page by page, and kept nowhere: for measurements of reading millions, which the
//! emulator would hold.

use bytes::Bytes;
use hyper::http::request::Parts;
use serde::Deserialize;
use serde_json::{Value, json};

use super::serve::{Answer, Kind};

/// Documents on a page if the client does not say: what the service sends.
const PAGE: u64 = 100;
/// The question that is answered: all of a partition, by id.
const QUESTION: &str = "SELECT * FROM c ORDER BY c.id";

/// So many documents in each logical partition that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Made(pub(super) u64);

#[derive(Deserialize)]
struct Query {
    query: String,
}

impl Made {
    /// A page of a partition's documents; none where the request asks for something else.
    pub(super) fn answer(self, kind: Kind, head: &Parts, body: &Bytes) -> Option<Answer> {
        let header = |name: &str| head.headers.get(name)?.to_str().ok();
        let [partition]: [String; 1] = serde_json::from_str(header("x-ms-documentdb-partitionkey")?).ok()?;
        if kind != Kind::Query || serde_json::from_slice::<Query>(body).ok()?.query.trim() != QUESTION {
            return None;
        }
        let first: u64 = header("x-ms-continuation").and_then(|at| at.parse().ok()).unwrap_or(0);
        let size = header("x-ms-max-item-count").and_then(|size| size.parse().ok()).filter(|size| *size > 0).unwrap_or(PAGE);
        let end = (first + size).min(self.0);
        let documents: Vec<_> = (first..end).map(|number| document(&partition, number)).collect();
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("x-ms-request-charge".to_owned(), "1.00".to_owned()),
            ("x-ms-session-token".to_owned(), "0:-1#1".to_owned()),
        ];
        if end < self.0 {
            headers.push(("x-ms-continuation".to_owned(), end.to_string()));
        }
        let answer = json!({ "_rid": "", "Documents": documents, "_count": end - first });
        Some(Answer { status: 200, headers, body: answer.to_string().into() })
    }
}

/// A document as the handler stores it, of some two kilobytes. Ids are in order.
fn document(partition: &str, number: u64) -> Value {
    let day = partition.get(..10).unwrap_or("2026-11-20");
    let id = format!("{number:08x}-3c5b-4a2f-9d43-08de27d5a1f3");
    let (user, address) = (format!("user{}@contoso.example", number % 997), format!("192.0.2.{}", number % 251));
    let file = format!("https://contoso.sharepoint.com/sites/site{}/shared documents/file{}.docx", number % 53, number % 9973);
    let edge = |to: &str, to_type: &str| json!({"from": user, "fromType": "user", "to": to, "toType": to_type, "label": "FileAccessed"});
    json!({
        "id": id, "pk": partition, "ttl": 7_776_000, "_ts": 1, "_etag": "x",
        "feed": {"contentType": "Audit.SharePoint", "contentId": format!("content{}", number / 400), "contentCreated": format!("{day}T12:00:00.000Z")},
        "edges": [edge(&address, "ip"), edge(&file, "file")],
        "CreationTime": format!("{day}T{:02}:{:02}:07", number % 24, number % 60), "Id": id, "Operation": "FileAccessed", "RecordType": 6,
        "UserType": 0, "Workload": "SharePoint", "UserId": user, "ClientIP": address, "ItemType": "File", "ObjectId": file,
        "UserAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "AppAccessContext": {"AADSessionId": format!("{:08x}-08de-27d5-a1f3-5c7e0f5e3c5b", number % 5000), "CorrelationId": id},
    })
}
