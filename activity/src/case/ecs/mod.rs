//! An audit record as an event under the names of the Elastic Common Schema.
//!
//! [`event`] is a pure function of the record. The names, and the order in which fields are moved, are those of
//! Elastic's Office 365 integration, so that its dashboards and rules work; `tables` holds what can be said as a
//! table. Where an address is, is told with MaxMind files that are given; the parsing of user agents is left to Elasticsearch.

mod address;
mod fields;
mod tables;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Write};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use fields::{append, at, at_mut, put, take, text};
use handler::operator::input::RecordReader;
use serde_json::{Map, Value, json};

use crate::geoip::GeoIp;

/// The version of the Elastic Common Schema whose names these are.
const ECS_VERSION: &str = "8.11.0";

/// Prints one event a line for each record of the input, in their order. The input is NDJSON or Purview's CSV export; empty lines
/// are passed over. What is no record becomes an event of kind `pipeline_error` with `error.message`, as Elastic does it.
///
/// Returns how many lines were no record.
///
/// # Errors
/// The input cannot be read, or nobody reads the output.
pub fn ecs(input: impl BufRead, mut out: impl Write, geoip: &GeoIp) -> io::Result<u64> {
    let (mut records, mut record, mut failed) = (RecordReader::new(input)?, Vec::new(), 0);
    while records.read(&mut record)? {
        if record.trim_ascii().is_empty() {
            continue;
        }
        let event = match serde_json::from_slice::<Map<String, Value>>(&record) {
            Ok(record) => event(record, geoip),
            Err(error) => {
                failed += 1;
                json!({ "ecs": { "version": ECS_VERSION }, "event": { "kind": "pipeline_error" }, "error": { "message": why(&record, &error) } })
            }
        };
        serde_json::to_writer(&mut out, &event)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(failed)
}

/// Why a line is no record.
fn why(line: &[u8], error: &serde_json::Error) -> String {
    match line.trim_ascii().first() {
        Some(b'[') => "a list, not a record: `jq -c '.[]'` makes a line of each record in it".to_owned(),
        _ => error.to_string(),
    }
}

/// Turns a record into an event. What has no name in the schema stands under `o365.audit`, under its own name.
///
/// What is missing in the record is missing in the event; nothing is made up, and no record is refused.
/// Where its source is, is told as far as a MaxMind file knows.
pub fn event(mut record: Map<String, Value>, geoip: &GeoIp) -> Value {
    let mut event = Map::new();
    put(&mut event, "ecs.version", json!(ECS_VERSION));
    put(&mut event, "event.kind", json!("event"));
    append(&mut event, "event.type", json!("info"));
    append(&mut event, "event.category", json!("web"));
    let record_type = record.get("RecordType").and_then(text).unwrap_or_default();
    let record_type = name_of(tables::RECORD_TYPES, &record_type);

    if let Some(time) = record.get("CreationTime").and_then(instant) {
        put(&mut event, "@timestamp", time);
    }
    if let Some(name) = record_type {
        put(&mut event, "event.code", json!(name));
    }
    let client = take_client(&mut record);
    fold_properties(&mut record);
    read_json_texts(&mut record);
    classify(&mut event, &record, record_type);
    name_account(&mut event, &record, record_type);
    move_fields(&mut event, &mut record, record_type);
    if record_type.is_some_and(|name| tables::DLP.contains(&name)) {
        data_loss_prevention(&mut event, &mut record);
    }
    name_addresses(&mut event, client);
    locate_source(&mut event, geoip);
    split_accounts(&mut event);
    gather_related(&mut event, &record, record_type);
    name_host(&mut event);
    if at(&event, "user_agent.original").is_none()
        && let Some(agent) = take(&mut record, "ExtendedProperties.UserAgent")
    {
        put(&mut event, "user_agent.original", agent);
    }
    numbers_to_text(&mut record);
    unfold_data(&mut event, &mut record, record_type);
    put(&mut event, "o365.audit", Value::Object(record));
    Value::Object(event)
}

/// The name in a table of numbers.
fn name_of(table: &'static [(u16, &'static str)], number: &str) -> Option<&'static str> {
    let number: u16 = number.parse().ok()?;
    table.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// The value beside a key.
fn beside<T: Copy>(table: &[(&str, T)], key: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
}

/// Takes the client's address out of the record, from the first field that has one.
///
/// `Some(None)`: there was such a field, without a value.
fn take_client(record: &mut Map<String, Value>) -> Option<Option<String>> {
    let mut client = None;
    for name in tables::CLIENT_ADDRESS {
        match client {
            Some(Some(_)) => break,
            _ => {
                if let Some(value) = record.remove(*name) {
                    client = Some(text(&value));
                }
            }
        }
    }
    client
}

/// Makes lists of `{Name, Value}` objects by name, and text in their place an object with `_raw`. A list with anything else in it stays.
fn fold_properties(record: &mut Map<String, Value>) {
    for bag in tables::PROPERTY_BAGS {
        match record.get_mut(*bag) {
            Some(Value::Array(list)) if list.iter().all(|property| property["Name"].is_string()) => {
                let folded = std::mem::take(list).into_iter().filter_map(named_value).collect();
                record.insert((*bag).to_owned(), Value::Object(folded));
            }
            Some(value @ Value::String(_)) => *value = json!({ "_raw": value.take() }),
            _ => {}
        }
    }
    match record.get_mut("ModifiedProperties") {
        Some(Value::Array(list)) => {
            let folded: Map<_, _> = std::mem::take(list).into_iter().filter_map(modified_value).collect();
            if folded.is_empty() {
                record.remove("ModifiedProperties");
            } else {
                record.insert("ModifiedProperties".to_owned(), Value::Object(folded));
            }
        }
        Some(value @ Value::String(_)) => *value = json!({ "_raw": value.take() }),
        _ => {}
    }
    if let Some(Value::Array(links)) = record.get_mut("AlertLinks") {
        let addresses: Vec<_> = std::mem::take(links)
            .into_iter()
            .filter_map(|mut link| Some(link.get_mut("AlertLinkHref")?.take()).filter(Value::is_string))
            .collect();
        if addresses.is_empty() {
            record.remove("AlertLinks");
        } else {
            record.insert("AlertLinks".to_owned(), Value::Array(addresses));
        }
    }
    // Beside texts of one name, Elasticsearch would refuse an object.
    for (name, own) in [("Message", "MessageObject"), ("Sender", "SenderEntity")] {
        if record.get(name).is_some_and(Value::is_object)
            && let Some(object) = record.remove(name)
        {
            record.insert(own.to_owned(), object);
        }
    }
    if let Some(platform) = record.get_mut("Platform")
        && let Some(name) = text(platform).and_then(|number| beside(tables::PLATFORMS, &number))
    {
        *platform = json!(name);
    }
}

/// A property as a pair; none where it has no value.
fn named_value(mut property: Value) -> Option<(String, Value)> {
    let name = property.get("Name").and_then(text)?;
    let value = property.get_mut("Value")?.take();
    (!value.is_null()).then_some((name, value))
}

/// A modified property as a pair; none where one of both values is missing. Some records give names only.
fn modified_value(mut property: Value) -> Option<(String, Value)> {
    let field_name = |name: &str| name.replace([' ', '.'], "_");
    if let Value::String(name) = &property {
        return Some((field_name(name), json!({})));
    }
    let name = property.get("Name").and_then(text)?;
    let new = property.get_mut("NewValue")?.take();
    let old = property.get_mut("OldValue")?.take();
    (!new.is_null() && !old.is_null()).then(|| (field_name(&name), json!({ "NewValue": new, "OldValue": old })))
}

/// Reads the texts that hold JSON; what is none stays text.
fn read_json_texts(record: &mut Map<String, Value>) {
    for name in tables::JSON_FIELDS {
        if let Some(value @ Value::String(_)) = record.get_mut(*name) {
            parse_in_place(value);
        }
    }
}

fn parse_in_place(value: &mut Value) {
    if let Value::String(text) = &*value
        && let Ok(parsed) = serde_json::from_str(text)
    {
        *value = parsed;
    }
}

/// Sets outcome, severity, kind, category and type.
fn classify(event: &mut Map<String, Value>, record: &Map<String, Value>, record_type: Option<&str>) {
    let status = record.get("ResultStatus").and_then(text).unwrap_or_default().to_lowercase();
    let outcome = beside(tables::OUTCOMES, &status).unwrap_or("success");
    put(event, "event.outcome", json!(outcome));
    let severity = record.get("Severity").and_then(Value::as_str).unwrap_or_default();
    if let Some(number) = beside(tables::SEVERITIES, severity) {
        put(event, "event.severity", json!(number));
    }
    if record_type.is_some_and(|name| tables::ALERT_TYPES.contains(&name)) {
        put(event, "event.kind", json!("alert"));
    }
    let operation = record.get("Operation").and_then(Value::as_str).unwrap_or_default();
    for class in tables::CLASSES {
        let of_operation = class.operations.is_empty() || class.operations.contains(&operation) || class.action == Some(operation);
        if !(of_operation && fits(class.types, record_type)) {
            continue;
        }
        if let Some(action) = class.action {
            put(event, "event.action", json!(action));
        }
        for category in class.categories {
            append(event, "event.category", json!(category));
        }
        for kind in class.kinds {
            append(event, "event.type", json!(kind));
        }
    }
}

/// Whether a row is for records of this type.
fn fits(types: &[&str], record_type: Option<&str>) -> bool {
    types.is_empty() || record_type.is_some_and(|name| types.contains(&name))
}

/// Sets `user.id`, and `user.target.id` where the record's object is an account. The record keeps both.
fn name_account(event: &mut Map<String, Value>, record: &Map<String, Value>, record_type: Option<&str>) {
    let id = record.get("UserId").and_then(text).or_else(|| {
        let field = beside(tables::OTHER_USER_IDS, record_type?)?;
        record.get(field).and_then(text)
    });
    if let Some(id) = id {
        put(event, "user.id", json!(id));
    }
    if record_type == Some(tables::TARGET_TYPE)
        && let Some(object) = record.get("ObjectId")
    {
        put(event, "user.target.id", object.clone());
    }
}

/// Moves fields to their names in the schema, as [`tables::MOVES`] says.
fn move_fields(event: &mut Map<String, Value>, record: &mut Map<String, Value>, record_type: Option<&str>) {
    for row in tables::MOVES {
        let renamed = row.to == "event.action" && at(event, row.to).is_some();
        if !fits(row.types, record_type) {
            continue;
        }
        if renamed {
            take(record, row.from);
        } else if at(event, row.to).is_none_or(Value::is_null)
            && let Some(value) = take(record, row.from)
        {
            put(event, row.to, value);
        }
    }
    if record_type == Some(tables::MEMBERS_TYPE)
        && at(event, "event.action").and_then(Value::as_str) == Some("deleted-user-account")
        && let Some(object) = take(record, "ObjectId")
    {
        put(event, "user.target.id", object);
    }
}

/// Names recipients, rules, severity and outcome of a record of data loss prevention.
fn data_loss_prevention(event: &mut Map<String, Value>, record: &mut Map<String, Value>) {
    if let Some(time) = at(record, "SharePointMetaData.LastModifiedTime").and_then(instant) {
        put(event, "file.mtime", time);
    }
    if let Some(mail) = record.get("ExchangeMetaData").filter(|mail| !mail.is_null()) {
        let recipients = ["To", "CC", "BCC"].into_iter().filter_map(|field| mail.get(field));
        let recipients = recipients.flat_map(|value| match value {
            Value::Array(list) => list.clone(),
            Value::String(_) => vec![value.clone()],
            _ => Vec::new(),
        });
        put(event, "destination.user.email", recipients.collect());
    }
    if let Some(reason @ Value::String(_)) = record.get_mut("ExceptionInfo") {
        *reason = json!({ "Reason": reason.take() });
    }
    let Some(policies) = record.get("PolicyDetails").filter(|policies| !policies.is_null()) else { return };
    let rules: Vec<&Value> =
        policies.as_array().into_iter().flatten().filter_map(|policy| policy.get("Rules")?.as_array()).flatten().collect();
    for field in ["rule.id", "rule.name"] {
        if at(event, field).is_none_or(Value::is_null) {
            put(event, field, json!([]));
        }
    }
    let known = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    for rule in &rules {
        if let (Some(id), Some(name)) = (known(rule.get("RuleId")), known(rule.get("RuleName"))) {
            fields::push(event, "rule.id", id);
            fields::push(event, "rule.name", name);
        }
    }
    let severity = rules.iter().filter_map(|rule| beside(tables::SEVERITIES, &rule.get("Severity")?.as_str()?.to_lowercase()));
    put(event, "event.severity", json!(severity.max().unwrap_or(0)));
    let blocked = rules.iter().any(|rule| match rule.get("Actions") {
        Some(Value::Array(actions)) => actions.iter().any(|action| action == "BlockAccess"),
        Some(Value::String(actions)) => actions.contains("BlockAccess"),
        _ => false,
    });
    let overridden = match record.get("ExceptionInfo") {
        Some(Value::Object(info)) => !info.is_empty(),
        Some(Value::Array(info)) => !info.is_empty(),
        _ => false,
    };
    let operation = at(event, "event.action").and_then(Value::as_str);
    let failed = blocked
        && match operation {
            Some("DlpRuleUndo") => false,
            Some("DlpInfo") => true,
            _ => !overridden,
        };
    put(event, "event.outcome", json!(if failed { "failure" } else { "success" }));
}

/// Names client, server, source, destination and network by the texts that hold their addresses.
fn name_addresses(event: &mut Map<String, Value>, client: Option<Option<String>>) {
    if let Some(client) = client {
        put(event, "client", json!({}));
        let party = address::client(client.as_deref().unwrap_or_default());
        name_party(event, "client", &party);
        for field in ["ip", "port"] {
            if let Some(value) = at(event, &format!("client.{field}")).cloned() {
                put(event, &format!("source.{field}"), value);
            }
        }
        if let Some(ip) = &party.ip {
            put(event, "network.type", json!(if ip.contains(':') { "ipv6" } else { "ipv4" }));
        }
    }
    if let Some(server) = take(event, "server.text") {
        let party = address::server(text(&server).as_deref().unwrap_or_default());
        name_party(event, "server", &party);
        if let Some(ip) = party.ip {
            put(event, "destination.ip", json!(ip));
        }
    }
}

fn name_party(event: &mut Map<String, Value>, role: &str, party: &address::Party) {
    for (field, value) in [("address", &party.address), ("domain", &party.domain), ("ip", &party.ip)] {
        if let Some(value) = value {
            put(event, &format!("{role}.{field}"), json!(value));
        }
    }
    if let Some(port) = party.port {
        put(event, &format!("{role}.port"), json!(port));
    }
}

/// Takes accounts of the form `name@domain` apart.
fn split_accounts(event: &mut Map<String, Value>) {
    for account in ["user", "user.target", "source.user", "destination.user"] {
        let Some(id) = at(event, &format!("{account}.id")).and_then(Value::as_str) else { continue };
        let Some((name, domain)) = id.split_once('@').filter(|(_, domain)| !domain.contains('@')) else {
            continue;
        };
        let parts = [("email", id.to_owned()), ("domain", domain.to_owned()), ("name", name.to_owned())];
        for (field, value) in parts {
            put(event, &format!("{account}.{field}"), json!(value));
        }
    }
}

/// Says where the source is: `source.geo` and `source.as`, as Elasticsearch's own plug-in would.
/// <https://www.elastic.co/docs/reference/enrich-processor/geoip-processor>
fn locate_source(event: &mut Map<String, Value>, geoip: &GeoIp) {
    let address = at(event, "source.ip").and_then(Value::as_str).and_then(|address| address.parse().ok());
    for (name, fields) in address.map(|address| geoip.fields(address)).unwrap_or_default() {
        put(event, &format!("source.{name}"), fields);
    }
}

/// Gathers every address and every account under `related`.
fn gather_related(event: &mut Map<String, Value>, record: &Map<String, Value>, record_type: Option<&str>) {
    if record_type == Some(tables::MEMBERS_TYPE)
        && let Some(Value::Array(members)) = record.get("Members")
    {
        fields::make_list(event, "related.user");
        for member in members {
            if let Some(name) = member.get("UPN").and_then(Value::as_str).filter(|name| !name.is_empty()) {
                append(event, "related.user", json!(name));
            }
        }
    }
    for field in ["client.ip", "server.ip"] {
        if let Some(address) = at(event, field).cloned() {
            append(event, "related.ip", address);
        }
    }
    let named = ["user.name", "user.target.name", "file.owner"].map(|field| at(event, field).and_then(text));
    let parameter = at(record, "Parameters.User").and_then(text);
    for account in named.into_iter().chain([parameter]).flatten() {
        append(event, "related.user", json!(account));
    }
}

/// Names the tenant as the host, as Elastic does.
fn name_host(event: &mut Map<String, Value>) {
    if let Some(Value::String(id)) = at_mut(event, "organization.id") {
        *id = id.to_lowercase();
        let id = id.clone();
        put(event, "host.id", json!(id));
    }
    let named = |field| at(event, field).filter(|name| !name.is_null()).cloned();
    if let Some(name) = named("organization.name").or_else(|| named("user.domain")) {
        put(event, "host.name", name);
    }
}

/// Makes text of the numbers that are names.
fn numbers_to_text(record: &mut Map<String, Value>) {
    for name in tables::TEXT_FIELDS {
        if let Some(value) = record.get_mut(*name) {
            to_text(value);
        }
    }
    for parties in tables::PARTIES {
        if let Some(Value::Array(list)) = record.get_mut(*parties) {
            list.iter_mut().filter_map(|party| party.get_mut("Type")).for_each(to_text);
        }
    }
}

fn to_text(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(to_text),
        Value::Number(_) | Value::Bool(_) => *value = Value::String(value.to_string()),
        _ => {}
    }
}

/// Puts an alert's `Data` under `Data.flattened`, the fields that Elastic names beside it, its accounts under `related`.
fn unfold_data(event: &mut Map<String, Value>, record: &mut Map<String, Value>, record_type: Option<&str>) {
    let Some(mut data) = record.remove("Data") else { return };
    if record_type == Some(tables::INVESTIGATION_TYPE)
        && let Value::String(text) = &mut data
    {
        *text = without_american_times(text);
    }
    parse_in_place(&mut data);
    let mut unfolded = Map::new();
    if let Value::Object(all) = &data {
        for name in tables::DATA_FIELDS {
            if let Some(value) = all.get(*name) {
                let time = tables::DATA_TIMES.contains(name).then(|| instant(value)).flatten();
                unfolded.insert((*name).to_owned(), time.unwrap_or_else(|| value.clone()));
            }
        }
    }
    for name in tables::DATA_ACCOUNTS {
        let account = unfolded.get(*name).and_then(Value::as_str);
        if let Some(account) = account.filter(|account| account.matches('@').count() == 1 && account.len() >= 3) {
            append(event, "related.user", json!(account));
        }
    }
    unfolded.insert("flattened".to_owned(), data);
    record.insert("Data".to_owned(), Value::Object(unfolded));
}

/// Leaves out each `QueryTime` such as `5/18/2024 7:11:31 PM`: an object that has one tells the same in ISO 8601, under the same name.
fn without_american_times(text: &str) -> String {
    const START: &str = "\"QueryTime\":\"";
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(START) {
        let value = start + START.len();
        let end = rest[value..].find('"').map_or(rest.len(), |quote| value + quote);
        let american = NaiveDateTime::parse_from_str(&rest[value..end], "%m/%d/%Y %I:%M:%S %p").is_ok();
        kept.push_str(&rest[..start]);
        let after = rest[end..].strip_prefix('"').unwrap_or_default();
        rest = match (american, after.strip_prefix(',')) {
            (true, _) if kept.ends_with(',') => {
                kept.pop();
                after
            }
            (true, Some(next)) => next,
            _ => {
                kept.push_str(&rest[start..rest.len() - after.len()]);
                after
            }
        };
    }
    kept + rest
}

/// A time in ISO 8601 as Elastic writes it: UTC, milliseconds. Times without zone are UTC.
fn instant(value: &Value) -> Option<Value> {
    let text = value.as_str()?;
    let zoned = || tables::ZONED_TIMES.iter().find_map(|form| DateTime::parse_from_str(text, form).ok());
    let local = || tables::LOCAL_TIMES.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let time: DateTime<Utc> = (DateTime::parse_from_rfc3339(text).ok().or_else(zoned).map(|time| time.to_utc()))
        .or_else(|| local().map(|time| time.and_utc()))
        .or_else(|| text.parse::<NaiveDate>().ok().map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc()))?;
    Some(json!(time.to_rfc3339_opts(SecondsFormat::Millis, true)))
}
