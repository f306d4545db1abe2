//! Which documents go into the files of a case: what was asked for.

use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::document::Document;

/// What narrows the files. Each that is given must fit; none of them changes the verdict, which is of the whole range.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct Filter {
    /// From this time on, UTC, a day or RFC 3339: when the content became available, of history when it happened
    #[arg(long, value_name = "TIME", value_parser = instant)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
    /// Only what this account did, or what was done to it
    #[arg(long, value_name = "ACCOUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Only of this workload, as in the records or as content type: Exchange, Audit.Exchange
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Only this operation
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Only from this address
    #[arg(long, value_name = "IP")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Only what a rule found: the rule's id, its title, a level, or `any`
    #[arg(long, value_name = "RULE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
}

impl Filter {
    /// Whether a document is asked for.
    pub fn keeps(&self, document: &Document) -> bool {
        self.is_in_range(document)
            && self.user.as_deref().is_none_or(|user| is_of_account(document, user))
            && self.workload.as_deref().is_none_or(|workload| is_of_workload(document, workload))
            && self.operation.as_deref().is_none_or(|operation| document.text("Operation").eq_ignore_ascii_case(operation))
            && self.address.as_deref().is_none_or(|address| has_node(document, "ip", address))
            && self.finding.as_deref().is_none_or(|finding| is_found(document, finding))
    }

    /// By when the content became available; where that is not known, and of history, by when it happened.
    fn is_in_range(&self, document: &Document) -> bool {
        let is_searched = document.fields().get("feed").and_then(|feed| feed.get("contentType")).is_some_and(|kind| kind == "AuditSearch");
        let created = document.content_created().filter(|_| !is_searched).unwrap_or_else(|| document.text("CreationTime"));
        let Some(time) = super::columns::time(created).map(|time| time.and_utc()) else {
            return true; // Never left out for a time that nobody can read.
        };
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time < to)
    }
}

fn is_of_account(document: &Document, user: &str) -> bool {
    let accounts = ["user", "guest", "mailbox", "address", "system"];
    same(document.text("UserId"), user) || accounts.iter().any(|kind| has_node(document, kind, user))
}

fn is_of_workload(document: &Document, workload: &str) -> bool {
    let content_type = document.fields().get("feed").and_then(|feed| feed.get("contentType")).and_then(Value::as_str);
    same(document.text("Workload"), workload) || content_type.is_some_and(|name| same(name, workload))
}

fn is_found(document: &Document, finding: &str) -> bool {
    document.findings().any(|found| finding == "any" || [found.rule, found.title, found.level].iter().any(|text| same(text, finding)))
}

fn has_node(document: &Document, kind: &str, name: &str) -> bool {
    document
        .edges()
        .any(|edge| [(edge.from_type, edge.from), (edge.to_type, edge.to)].iter().any(|(of, node)| *of == kind && same(node, name)))
}

fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// A time as a person types it: a day (its first moment), or RFC 3339; without a zone it is UTC.
///
/// # Errors
/// It is none.
pub fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    let day = text.parse::<NaiveDate>().ok().map(|day| day.and_time(chrono::NaiveTime::MIN));
    day.or_else(|| super::columns::time(text))
        .map(|time| time.and_utc())
        .ok_or_else(|| "a day such as 2026-11-20, or a time such as 2026-11-20T10:00:00Z, is meant".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use serde_json::json;

    use super::*;

    fn document() -> Document {
        let fields = json!({
            "CreationTime": "2026-11-01T10:00:00", "UserId": "Megan@contoso.com", "Workload": "SharePoint", "Operation": "FileAccessed",
            "feed": {"contentType": "Audit.SharePoint", "contentCreated": "2026-11-20T10:00:00.000Z"},
            "edges": [
                {"from": "megan@contoso.com", "fromType": "user", "to": "192.0.2.7", "toType": "ip", "label": "FileAccessed"},
                {"from": "megan@contoso.com", "fromType": "user", "to": "guest@example.com", "toType": "guest", "label": "FileAccessed"},
            ],
            "findings": [{"rule": "r-1", "title": "Many downloads", "level": "high"}],
        });
        Document::new(fields.as_object().unwrap().clone())
    }

    #[test]
    fn each_filter_that_is_given_must_fit() {
        let some = |text: &str| Some(text.to_owned());
        let time = |text: &str| Some(instant(text).unwrap());
        let all = Filter::default();
        for (kept, filter) in [
            (true, all.clone()),
            (true, Filter { from: time("2026-11-20"), to: time("2026-11-21"), ..all.clone() }),
            (false, Filter { from: time("2026-11-20T10:00:01Z"), ..all.clone() }),
            (false, Filter { to: time("2026-11-20T10:00:00"), ..all.clone() }),
            (true, Filter { user: some("megan@CONTOSO.com"), ..all.clone() }),
            (true, Filter { user: some("guest@example.com"), ..all.clone() }),
            (false, Filter { user: some("192.0.2.7"), ..all.clone() }),
            (true, Filter { workload: some("sharepoint"), ..all.clone() }),
            (true, Filter { workload: some("Audit.SharePoint"), ..all.clone() }),
            (false, Filter { workload: some("Exchange"), ..all.clone() }),
            (true, Filter { operation: some("fileaccessed"), address: some("192.0.2.7"), ..all.clone() }),
            (false, Filter { operation: some("FileAccessed"), address: some("192.0.2.8"), ..all.clone() }),
            (true, Filter { finding: some("any"), ..all.clone() }),
            (true, Filter { finding: some("high"), ..all.clone() }),
            (false, Filter { finding: some("low"), ..all.clone() }),
        ] {
            assert_eq!(filter.keeps(&document()), kept, "{filter:?}");
        }
    }

    #[test]
    fn a_document_whose_time_cannot_be_read_is_never_left_out_for_it() {
        let unknown = Document::new(serde_json::Map::new());
        assert!(Filter { from: Some(Utc::now()), ..Filter::default() }.keeps(&unknown));
    }

    #[test]
    fn a_time_is_a_day_or_a_moment() {
        assert_eq!(instant("2026-11-20").unwrap().to_rfc3339(), "2026-11-20T00:00:00+00:00");
        assert_eq!(instant("2026-11-20T11:00:00+01:00").unwrap(), instant("2026-11-20T10:00:00").unwrap());
        assert!(instant("yesterday").is_err());
    }
}
