//! The words of Graph's audit search on the wire.
//! <https://learn.microsoft.com/graph/api/resources/security-auditlogquery>

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use super::window::Window;

/// What a query is made of: a name to find it by, and both times. No filter: what is filtered is not complete.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewQuery<'a> {
    display_name: &'a str,
    filter_start_date_time: String,
    filter_end_date_time: String,
}

impl<'a> NewQuery<'a> {
    pub(super) fn new(name: &'a str, asked: Window) -> Self {
        let [filter_start_date_time, filter_end_date_time] = [asked.from, asked.to].map(seconds);
        Self { display_name: name, filter_start_date_time, filter_end_date_time }
    }
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A query as the service tells of it. All but the id may be missing, and what is of another kind than documented is missing.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    pub(super) id: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) display_name: Option<String>,
    #[serde(default, deserialize_with = "text")]
    status: Option<String>,
    #[serde(default, deserialize_with = "text")]
    filter_start_date_time: Option<String>,
    #[serde(default, deserialize_with = "text")]
    filter_end_date_time: Option<String>,
    #[serde(default)]
    record_type_filters: Value,
    #[serde(default)]
    keyword_filter: Value,
    #[serde(default)]
    service_filter: Value,
    #[serde(default)]
    service_filters: Value,
    #[serde(default)]
    operation_filters: Value,
    #[serde(default)]
    user_principal_name_filters: Value,
    #[serde(default)]
    ip_address_filters: Value,
    #[serde(default)]
    object_id_filters: Value,
    #[serde(default)]
    administrative_unit_id_filters: Value,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

/// What a query says of its size. Older deployments say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    #[serde(default, deserialize_with = "flag")]
    pub(super) is_record_count_limit_exceeded: Option<bool>,
    #[serde(default, deserialize_with = "count")]
    pub(super) record_count_limit: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) approximate_returned_record_count: Option<u64>,
}

impl Query {
    /// Reads one, bare or in the wrapping that the documentation's example has, also as the only one of a list.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let answer: Value = serde_json::from_slice(body).ok()?;
        Self::deserialize(&answer).ok().or_else(|| match answer.get("value")? {
            Value::Array(list) => list.first().filter(|_| list.len() == 1).and_then(|one| Self::deserialize(one).ok()),
            one => Self::deserialize(one).ok(),
        })
    }

    /// Its status, in the words that it was told in; empty where none was.
    pub(super) fn status(&self) -> &str {
        self.status.as_deref().unwrap_or_default()
    }

    /// The times that the service says it was asked for.
    pub(super) fn echoed(&self) -> Option<Window> {
        let time = |text: &Option<String>| handler::clock::parse_utc(text.as_deref()?);
        Some(Window { from: time(&self.filter_start_date_time)?, to: time(&self.filter_end_date_time)? })
    }

    /// True if it says what was asked: the same times, and no filter. What it does not say is not wrong.
    pub(super) fn is_echo_right(&self, asked: Window) -> bool {
        let filters = [
            &self.record_type_filters,
            &self.keyword_filter,
            &self.service_filter,
            &self.service_filters,
            &self.operation_filters,
            &self.user_principal_name_filters,
            &self.ip_address_filters,
            &self.object_id_filters,
            &self.administrative_unit_id_filters,
        ];
        let has_times = self.filter_start_date_time.is_some() || self.filter_end_date_time.is_some();
        (!has_times || self.echoed() == Some(asked)) && filters.iter().all(|filter| is_empty(filter))
    }
}

fn is_empty(filter: &Value) -> bool {
    match filter {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.iter().all(is_empty),
        _ => false,
    }
}

fn text<'de, D: Deserializer<'de>>(told: D) -> Result<Option<String>, D::Error> {
    Ok(Value::deserialize(told)?.as_str().map(str::to_owned))
}

fn flag<'de, D: Deserializer<'de>>(told: D) -> Result<Option<bool>, D::Error> {
    Ok(match Value::deserialize(told)? {
        Value::Bool(flag) => Some(flag),
        Value::String(text) => text.to_ascii_lowercase().parse().ok(),
        _ => None,
    })
}

fn count<'de, D: Deserializer<'de>>(told: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(told)? {
        Value::Number(count) => count.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    })
}

/// A page of queries.
#[derive(Deserialize)]
pub(super) struct QueryPage {
    value: Vec<Value>,
    #[serde(rename = "@odata.nextLink", default)]
    pub(super) next: Option<String>,
}

impl QueryPage {
    /// Those that can be read: the list may hold those of others, of whatever form.
    pub(super) fn queries(&self) -> impl Iterator<Item = Query> {
        self.value.iter().filter_map(|query| Query::deserialize(query).ok())
    }
}

/// A page of records.
#[derive(Deserialize)]
pub(super) struct RecordPage<'a> {
    /// As they came: one that is odd spoils no other.
    #[serde(borrow)]
    pub(super) value: Vec<&'a RawValue>,
    #[serde(rename = "@odata.nextLink", default)]
    pub(super) next: Option<String>,
}

/// What an error's body says: the code that counts is the innermost.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ServiceError {
    pub(super) code: String,
    pub(super) message: String,
}

impl ServiceError {
    /// Reads `{"error": {"code", "message"}}`, also where it stands as JSON in the message of another.
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer<'a> {
            #[serde(borrow)]
            error: &'a RawValue,
        }
        #[derive(Deserialize, Default)]
        struct Inner {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let Ok(outer) = serde_json::from_slice::<Outer<'_>>(body) else { return Self::default() };
        let inner: Inner = serde_json::from_str(outer.error.get()).unwrap_or_default();
        if inner.message.trim_start().starts_with('{') {
            let inside = Self::read(inner.message.as_bytes());
            if !inside.code.is_empty() {
                return inside;
            }
        }
        Self { code: inner.code.chars().take(80).collect(), message: inner.message.chars().take(200).collect() }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test's failure is a panic")]

    use super::*;

    #[test]
    fn a_query_is_read_bare_and_wrapped_and_with_nothing_but_an_id() {
        for body in [
            r#"{"id":"q","status":"running"}"#,
            r#"{"value":{"id":"q","status":"running"}}"#,
            r#"{"value":[{"id":"q","status":"running"}]}"#,
        ] {
            assert_eq!(Query::read(body.as_bytes()).unwrap().status(), "running");
        }
        let query = Query::read(br#"{"id":"q"}"#).unwrap();
        assert_eq!(query.counts, Counts::default());
        assert!(Query::read(b"<html>").is_none());
        assert!(Query::read(br#"{"value":[{"id":"q"},{"id":"r"}]}"#).is_none());
    }

    #[test]
    fn what_is_told_in_another_kind_of_value_spoils_nothing_and_proves_nothing() {
        for (told, flag, limit) in [
            (r#""isRecordCountLimitExceeded":false,"recordCountLimit":7"#, Some(false), Some(7)),
            (r#""isRecordCountLimitExceeded":"True","recordCountLimit":"7""#, Some(true), Some(7)),
            (r#""isRecordCountLimitExceeded":0,"recordCountLimit":-1"#, None, None),
            (r#""isRecordCountLimitExceeded":null,"recordCountLimit":null,"status":5,"displayName":{}"#, None, None),
            (r#""isRecordCountLimitExceeded":"no","recordCountLimit":[]"#, None, None),
        ] {
            let counts = Query::read(format!("{{\"id\":\"q\",{told}}}").as_bytes()).unwrap().counts;
            assert_eq!((counts.is_record_count_limit_exceeded, counts.record_count_limit), (flag, limit), "{told}");
        }
    }

    #[test]
    fn a_list_shows_those_that_can_be_read() {
        let page: QueryPage = serde_json::from_str(r#"{"value":[{"id":5},null,{"id":"q"}],"@odata.nextLink":null}"#).unwrap();
        assert_eq!(page.queries().map(|query| query.id).collect::<Vec<_>>(), ["q"]);
    }

    #[test]
    fn a_query_asks_for_a_range_of_time_and_for_nothing_else() {
        let time = |text| handler::clock::parse_utc(text).unwrap();
        let asked = Window { from: time("2026-11-20T00:00:00Z"), to: time("2026-11-21T00:00:00Z") };
        let query = serde_json::to_value(NewQuery::new("n", asked)).unwrap();
        let times = serde_json::json!({
            "displayName": "n", "filterStartDateTime": "2026-11-20T00:00:00Z", "filterEndDateTime": "2026-11-21T00:00:00Z"
        });
        assert_eq!(query, times);
    }

    #[test]
    fn an_echo_of_other_times_or_of_a_filter_is_wrong() {
        let asked = Window {
            from: handler::clock::parse_utc("2026-11-20T00:00:00Z").unwrap(),
            to: handler::clock::parse_utc("2026-11-21T00:00:00Z").unwrap(),
        };
        for (more, is_right) in [
            (r#""filterStartDateTime":"2026-11-20T00:00:00Z","filterEndDateTime":"2026-11-21T00:00:00.0000000Z""#, true),
            (r#""filterStartDateTime":"2026-11-20T00:00:00Z","filterEndDateTime":"2026-11-21T01:00:00Z""#, false),
            (r#""recordTypeFilters":[],"keywordFilter":"","serviceFilter":null"#, true),
            (r#""operationFilters":["x"]"#, false),
        ] {
            let query = Query::read(format!("{{\"id\":\"q\",{more}}}").as_bytes()).unwrap();
            assert_eq!(query.is_echo_right(asked), is_right, "{more}");
        }
    }

    #[test]
    fn the_innermost_code_counts() {
        let inside = r#"{"error":{"code":"AuditingDisabledTenant","message":"off"}}"#;
        let outside = serde_json::json!({"error": {"code": "UnknownError", "message": inside}}).to_string();
        assert_eq!(ServiceError::read(outside.as_bytes()).code, "AuditingDisabledTenant");
        assert_eq!(ServiceError::read(inside.as_bytes()).code, "AuditingDisabledTenant");
        assert_eq!(ServiceError::read(br#"{"error":{"code":"UnknownError","message":""}}"#).code, "UnknownError");
        assert_eq!(ServiceError::read(b"<html>"), ServiceError::default());
    }
}
