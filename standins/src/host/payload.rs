//! The body that the host posts to a custom handler, byte for byte as Json.NET writes it: what is a string in .NET arrives
//! as a JSON text inside a JSON string. Pure functions.
//! <https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Workers/ScriptInvocationContextExtensions.cs>

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Timelike as _, Utc};
use serde_json::Value;
use uuid::Uuid;

/// What every invocation's `Metadata.sys` says.
#[derive(Clone, Debug)]
pub struct System {
    /// The function's name.
    pub function: String,
    /// When the invocation was made.
    pub now: DateTime<Utc>,
    /// A new one each time, unrelated to the invocation id.
    pub guid: Uuid,
}

impl System {
    /// Now, with a new GUID.
    pub fn new(function: &str) -> Self {
        Self { function: function.to_owned(), now: Utc::now(), guid: Uuid::new_v4() }
    }

    fn json(&self) -> String {
        let function = literal(&self.function);
        format!(r#"{{"MethodName":{function},"UtcNow":"{}Z","RandGuid":"{}"}}"#, ticks(self.now), self.guid)
    }
}

/// What a timer's monitor knows: `ScheduleStatus`.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleStatus {
    /// The last run; `None` before the first.
    pub last: Option<DateTime<Utc>>,
    /// The run that is due, which is this one.
    pub next: DateTime<Utc>,
}

impl ScheduleStatus {
    fn json(&self) -> String {
        // .NET's smallest time.
        let last = self.last.map_or_else(|| "0001-01-01T00:00:00".to_owned(), ticks);
        format!(r#"{{"Last":"{last}+00:00","Next":"{}+00:00","LastUpdated":"{last}+00:00"}}"#, ticks(self.next))
    }
}

/// A timer's invocation. The status is `None` where `useMonitor` is false.
pub fn timer_payload(binding: &str, status: Option<&ScheduleStatus>, is_past_due: bool, system: &System) -> String {
    let status = status.map_or_else(|| "null".to_owned(), ScheduleStatus::json);
    format!(
        r#"{{"Data":{{{}:{{"Schedule":{{"AdjustForDST":true}},"ScheduleStatus":{status},"IsPastDue":{is_past_due}}}}},"Metadata":{{"sys":{}}}}}"#,
        literal(binding),
        system.json()
    )
}

/// A queue message as the host knows it.
#[derive(Clone, Debug)]
pub struct HostMessage {
    /// The text after base64.
    pub text: String,
    /// The service's id of it, a GUID.
    pub id: String,
    /// How often it was received, this time included.
    pub dequeue_count: i64,
    /// When it was put on the queue.
    pub inserted: DateTime<Utc>,
    /// When the queue forgets it.
    pub expires: DateTime<Utc>,
    /// When others see it again.
    pub next_visible: DateTime<Utc>,
    /// What it takes to delete it, for now.
    pub pop_receipt: String,
}

impl HostMessage {
    /// A message that was never on a queue, received for the first time.
    pub fn new(text: &str) -> Self {
        let now = Utc::now();
        Self {
            text: text.to_owned(),
            id: Uuid::new_v4().to_string(),
            dequeue_count: 1,
            inserted: now,
            expires: now + chrono::TimeDelta::days(7),
            next_visible: now + chrono::TimeDelta::minutes(10),
            pop_receipt: "AgAAAAMAAAAAAAAAAgtnj8x+1QE=".to_owned(),
        }
    }

    /// `Metadata`'s members, each value as JSON.
    fn metadata(&self) -> Vec<(String, String)> {
        let members = [
            ("DequeueCount", literal(&self.dequeue_count.to_string())),
            ("ExpirationTime", literal(&seconds(self.expires))),
            ("Id", double(&self.id)),
            ("InsertionTime", literal(&seconds(self.inserted))),
            ("NextVisibleTime", literal(&seconds(self.next_visible))),
            ("PopReceipt", double(&self.pop_receipt)),
        ];
        members.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// A queue message's invocation. An object's properties spill into the metadata and may overwrite it, as they do in the host.
pub fn queue_payload(binding: &str, message: &HostMessage, system: &System) -> String {
    let mut metadata = message.metadata();
    metadata.push(("sys".to_owned(), system.json()));
    if let Ok(Value::Object(properties)) = serde_json::from_str(&message.text) {
        for (name, value) in properties {
            if let Some(value) = property(&value) {
                set(&mut metadata, name, value);
            }
        }
    }
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| format!("{}:{value}", literal(name))).collect();
    format!(r#"{{"Data":{{{}:{}}},"Metadata":{{{}}}}}"#, literal(binding), double(&message.text), metadata.join(","))
}

/// A property of an object message in the metadata; arrays and nulls do not get there.
/// <https://github.com/Azure/azure-functions-host/blob/dev/src/WebJobs.Script/Utility.cs> (`ApplyBindingData`)
fn property(value: &Value) -> Option<String> {
    match value {
        Value::Array(_) | Value::Null => None,
        Value::Object(_) => Some(value.to_string()),
        Value::String(text) => Some(double(&dated(text))),
        Value::Bool(true) => Some(double("True")),
        Value::Bool(false) => Some(double("False")),
        Value::Number(number) => Some(double(&number.to_string())),
    }
}

/// Json.NET takes a text that looks like a time for one, and .NET writes a time without zone or fraction.
fn dated(text: &str) -> String {
    let written = |time: NaiveDateTime| time.format("%m/%d/%Y %H:%M:%S").to_string();
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.naive_utc());
    zoned.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")).map_or_else(|_| text.to_owned(), written)
}

/// Sets a member as .NET's dictionary with `OrdinalIgnoreCase` does: the first spelling of a name stays.
fn set(members: &mut Vec<(String, String)>, name: String, value: String) {
    match members.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
        Some(member) => member.1 = value,
        None => members.push((name, value)),
    }
}

/// A JSON string that holds a JSON string.
fn double(text: &str) -> String {
    literal(&literal(text))
}

/// A JSON string. Json.NET escapes three more line ends than `serde_json` does.
fn literal(text: &str) -> String {
    let text = Value::from(text).to_string();
    text.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, false)
}

/// A time without zone, down to .NET's 100 ns and without zeros at the end.
fn ticks(time: DateTime<Utc>) -> String {
    let fraction = format!(".{:07}", time.nanosecond() / 100);
    format!("{}{}", time.format("%Y-%m-%dT%H:%M:%S"), fraction.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that panics has failed")]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap_or_default()
    }

    fn system(function: &str) -> System {
        let guid = Uuid::from_u128(0x24ad4c06_24ad_4e5b_8294_3da9714877e9);
        System { function: function.to_owned(), now: time("2026-09-27T10:05:00.0123456Z"), guid }
    }

    #[test]
    fn a_timer() {
        let status = ScheduleStatus { last: Some(time("2026-09-27T10:00:00.0045319Z")), next: time("2026-09-27T10:05:00Z") };
        assert_eq!(
            timer_payload("timer", Some(&status), false, &system("QueueEvents")),
            concat!(
                r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"#,
                r#""ScheduleStatus":{"Last":"2026-09-27T10:00:00.0045319+00:00","Next":"2026-09-27T10:05:00+00:00","#,
                r#""LastUpdated":"2026-09-27T10:00:00.0045319+00:00"},"IsPastDue":false}},"#,
                r#""Metadata":{"sys":{"MethodName":"QueueEvents","UtcNow":"2026-09-27T10:05:00.0123456Z","#,
                r#""RandGuid":"24ad4c06-24ad-4e5b-8294-3da9714877e9"}}}"#,
            )
        );
        assert!(timer_payload("timer", None, true, &system("QueueEvents")).contains(r#""ScheduleStatus":null,"IsPastDue":true"#));
    }

    /// What the real host sent, byte for byte; ids and times are taken from it.
    #[test]
    fn bodies_are_those_that_the_real_host_sent() {
        let rows = include_str!("../../../tests/data/requests.ndjson").lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
        let mut compared = 0;
        for row in rows.filter(|row| row["body"].is_string()) {
            let body = row["body"].as_str().unwrap();
            let sent: Value = serde_json::from_str(body).unwrap();
            let system = sent_system(&sent["Metadata"]["sys"]);
            let made = match row["text"].as_str() {
                Some(text) => queue_payload("msg", &sent_message(text, &sent["Metadata"]), &system),
                None => {
                    let status = &sent["Data"]["timer"]["ScheduleStatus"];
                    let last =
                        Some(status["Last"].as_str().unwrap_or_default()).filter(|last| !last.starts_with("0001")).and_then(maybe_time);
                    let status = status["Next"].as_str().map(|next| ScheduleStatus { last, next: time(next) });
                    timer_payload("timer", status.as_ref(), false, &system)
                }
            };
            // One message's `sys` is its own text, in place of the host's.
            assert_eq!(made, body, "{}", row["kind"]);
            compared += 1;
        }
        assert_eq!(compared, 16);
    }

    fn sent_system(sys: &Value) -> System {
        System {
            function: sys["MethodName"].as_str().unwrap_or_default().to_owned(),
            now: sys["UtcNow"].as_str().and_then(maybe_time).unwrap_or_default(),
            guid: sys["RandGuid"].as_str().and_then(|guid| guid.parse().ok()).unwrap_or_default(),
        }
    }

    fn sent_message(text: &str, metadata: &Value) -> HostMessage {
        let inner = |name: &str| serde_json::from_str(metadata[name].as_str().unwrap()).unwrap();
        let at = |name: &str| time(metadata[name].as_str().unwrap());
        HostMessage {
            text: text.to_owned(),
            id: inner("Id"),
            dequeue_count: 1,
            inserted: at("InsertionTime"),
            expires: at("ExpirationTime"),
            next_visible: at("NextVisibleTime"),
            pop_receipt: inner("PopReceipt"),
        }
    }

    fn maybe_time(text: &str) -> Option<DateTime<Utc>> {
        text.parse().ok()
    }

    fn message(text: &str) -> HostMessage {
        HostMessage {
            text: text.to_owned(),
            id: "800ae4b3-bdd2-4c08-badd-f08e5a34b865".to_owned(),
            dequeue_count: 1,
            inserted: time("2026-09-27T10:05:01Z"),
            expires: time("2026-10-04T10:05:01Z"),
            next_visible: time("2026-09-27T10:15:02Z"),
            pop_receipt: "AgAAAAMAAAAAAAAAAgtnj8x+1QE=".to_owned(),
        }
    }

    #[test]
    fn a_queue_message() {
        assert_eq!(
            queue_payload("msg", &message(r#"["https://a/1","https://a/2"]"#), &system("StoreEvents")),
            concat!(
                r#"{"Data":{"msg":"\"[\\\"https://a/1\\\",\\\"https://a/2\\\"]\""},"#,
                r#""Metadata":{"DequeueCount":"1","ExpirationTime":"2026-10-04T10:05:01+00:00","#,
                r#""Id":"\"800ae4b3-bdd2-4c08-badd-f08e5a34b865\"","InsertionTime":"2026-09-27T10:05:01+00:00","#,
                r#""NextVisibleTime":"2026-09-27T10:15:02+00:00","PopReceipt":"\"AgAAAAMAAAAAAAAAAgtnj8x+1QE=\"","#,
                r#""sys":{"MethodName":"StoreEvents","UtcNow":"2026-09-27T10:05:00.0123456Z","#,
                r#""RandGuid":"24ad4c06-24ad-4e5b-8294-3da9714877e9"}}}"#,
            )
        );
        assert!(queue_payload("msg", &message("hello world"), &system("")).starts_with(r#"{"Data":{"msg":"\"hello world\""}"#));
    }

    #[test]
    fn an_object_spills_into_the_metadata() {
        let payload = queue_payload("msg", &message(r#"{"contentId":"abc","id":7,"n":[2]}"#), &system("StoreEvents"));
        assert!(payload.contains(r#"{"Data":{"msg":"\"{\\\"contentId\\\":\\\"abc\\\",\\\"id\\\":7,\\\"n\\\":[2]}\""}"#));
        assert!(payload.contains(r#""Id":"\"7\"""#) && payload.contains(r#""contentId":"\"abc\"""#), "{payload}");
        assert!(!payload.contains(r#""n":"#), "{payload}");
    }
}
