//! The files in `queries/`: each asked of the database over records whose answer is known. The emulator groups, but only what
//! lies in one logical partition, as Microsoft's SDK for Rust asks it to; where Cosmos DB groups all of a container, here the
//! groups of the partitions are put together by `activity::explore::question`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use activity::explore::question::Question;
use azure_core::credentials::Secret;
use azure_data_cosmos::{AccountEndpoint, AccountReference, CosmosClientBuilder, RoutingStrategy, clients::ContainerClient};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::world::{World, world};

const SITE: &str = "https://contoso.sharepoint.com/sites/Sales";
const FILE: &str = "https://contoso.sharepoint.com/sites/Sales/Shared Documents/Prices.xlsx";

const SESSION: &str = "0873ee4d-d342-44f2-8961-74c442a2fad2";

/// A day of a small tenant, and a record just before it and just behind it. Ids tell the order.
fn records() -> Vec<String> {
    let prices = json!({"Workload": "SharePoint", "RecordType": 6, "ObjectId": FILE, "ItemType": "File", "SiteUrl": format!("{SITE}/"), "SourceFileName": "Prices.xlsx"});
    let cmdlet = |object: &str, name: &str, value: &str| json!({"Workload": "Exchange", "RecordType": 1, "ExternalAccess": false, "ObjectId": object, "Parameters": [{"Name": name, "Value": value}]});
    let sign_in = json!({"Workload": "AzureActiveDirectory", "RecordType": 15});
    let delegate = json!({"Workload": "Exchange", "RecordType": 50, "LogonType": 2, "MailboxOwnerUPN": "Ceo@contoso.com", "ClientIPAddress": "[::ffff:203.0.113.7]:99"});
    let link =
        json!({"Workload": "SharePoint", "RecordType": 14, "ObjectId": format!("{SITE}/Shared Documents/Plans.docx"), "ItemType": "File"});
    let entra = json!({"Workload": "AzureActiveDirectory", "RecordType": 8, "ObjectId": "x"});
    let session = json!({"Workload": "AzureActiveDirectory", "RecordType": 15, "AppAccessContext": {"AADSessionId": SESSION}});
    let provisioning = json!({"Workload": "Exchange", "RecordType": 1, "ExternalAccess": true, "ObjectId": "Transport Settings"});
    [
        ("1", "2026-11-19T23:59:59", "UserLoggedIn", "Megan@contoso.com", 0, "203.0.113.7", &sign_in),
        ("2", "2026-11-20T00:00:00", "UserLoggedIn", "Megan@Contoso.com", 0, "203.0.113.7:4711", &sign_in),
        ("3", "2026-11-20T09:05:00", "FileDownloaded", "megan@contoso.com", 0, "203.0.113.7", &prices),
        ("4", "2026-11-20T09:10:00", "FileAccessed", "adele@contoso.com", 0, "198.51.100.4", &prices),
        ("5", "2026-11-20T09:20:00", "FileAccessed", "app@sharepoint", 5, "", &prices),
        (
            "6",
            "2026-11-20T10:00:00",
            "New-InboxRule",
            "megan@contoso.com",
            2,
            "192.0.2.66:1",
            &cmdlet("megan\\x", "ForwardTo", "drop@evil.example"),
        ),
        (
            "7",
            "2026-11-20T10:05:00",
            "Set-Mailbox",
            "adele@contoso.com",
            2,
            "198.51.100.4",
            &cmdlet("Adele", "ForwardingSmtpAddress", "smtp:sales@contoso.com"),
        ),
        ("8", "2026-11-20T10:30:00", "MailItemsAccessed", "Adele@contoso.com", 0, "", &delegate),
        ("9", "2026-11-20T11:00:00", "Set-TransportConfig", "NT AUTHORITY\\SYSTEM (w3wp)", 3, "", &provisioning),
        ("A", "2026-11-21T00:00:00", "UserLoggedIn", "Megan@contoso.com", 0, "192.0.2.66", &sign_in),
        ("B", "2026-11-10T09:00:00", "AnonymousLinkCreated", "ops@contoso.com", 0, "198.51.100.99", &link),
        ("C", "2026-11-10T10:00:00", "Add member to role.", "ops@contoso.com", 0, "198.51.100.99", &entra),
        ("D", "2026-11-10T11:00:00", "Consent to application.", "ops@contoso.com", 0, "198.51.100.99", &entra),
        ("E", "2026-11-10T12:00:00", "UserLoggedIn", "ops@contoso.com", 0, "198.51.100.99", &session),
        ("F", "2026-11-10T12:30:00", "UserLoggedIn", "Ops@contoso.com", 0, "203.0.113.200:44", &session),
    ]
    .map(|(id, time, operation, user, user_type, ip, more)| {
        let mut record =
            json!({"Id": id, "CreationTime": time, "Operation": operation, "UserId": user, "UserType": user_type, "ClientIP": ip});
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record.to_string()
    })
    .into()
}

/// What each file answers with the samples in it: ids of documents; or rows, of which those that count come in any order.
fn answers() -> BTreeMap<&'static str, Value> {
    let day = |hour: &str| format!("2026-11-20T{hour}");
    let later = |hour: &str| format!("2026-11-10T{hour}");
    let edge = |id: &str, hour: &str, label: &str, from: [&str; 2], to: [&str; 2]| json!({"id": id, "CreationTime": day(hour), "label": label, "sourceType": from[0], "source": from[1], "targetType": to[0], "target": to[1]});
    let at = |address: &str, who: &str, events: u64, first: &str, last: &str| json!({"address": address, "who": who, "events": events, "firstSeen": first, "lastSeen": last});
    let operation = |workload: &str, operation: &str, events: u64, first: &str, last: &str| json!({"Workload": workload, "Operation": operation, "events": events, "firstSeen": day(first), "lastSeen": day(last)});
    let (megan, adele, app) = (["user", "megan@contoso.com"], ["user", "adele@contoso.com"], ["system", "app@sharepoint"]);
    let (file, site) = (FILE.to_lowercase(), SITE.to_lowercase());
    let (home, file, site) = (["ip", "203.0.113.7"], ["file", file.as_str()], ["site", site.as_str()]);
    let before = json!({"id": "1", "CreationTime": "2026-11-19T23:59:59", "label": "UserLoggedIn", "sourceType": "user", "source": megan[1], "targetType": "ip", "target": home[1]});
    let after = json!({"id": "A", "CreationTime": "2026-11-21T00:00:00", "label": "UserLoggedIn", "sourceType": "user", "source": megan[1], "targetType": "ip", "target": "192.0.2.66"});
    BTreeMap::from([
        ("by-user", json!(["2", "3", "6"])),
        (
            "external-sharing",
            json!([{"id": "B", "CreationTime": later("09:00:00"), "UserId": "ops@contoso.com", "Operation": "AnonymousLinkCreated", "ObjectId": format!("{SITE}/Shared Documents/Plans.docx"), "ClientIP": "198.51.100.99"}]),
        ),
        (
            "role-grants",
            json!([{"id": "C", "CreationTime": later("10:00:00"), "UserId": "ops@contoso.com", "Operation": "Add member to role.", "ObjectId": "x"}]),
        ),
        (
            "consents",
            json!([{"id": "D", "CreationTime": later("11:00:00"), "UserId": "ops@contoso.com", "Operation": "Consent to application.", "ObjectId": "x"}]),
        ),
        (
            "one-session",
            json!([{"id": "E", "CreationTime": later("12:00:00"), "Workload": "AzureActiveDirectory", "Operation": "UserLoggedIn", "UserId": "ops@contoso.com", "ClientIP": "198.51.100.99"}, {"id": "F", "CreationTime": later("12:30:00"), "Workload": "AzureActiveDirectory", "Operation": "UserLoggedIn", "UserId": "Ops@contoso.com", "ClientIP": "203.0.113.200:44"}]),
        ),
        (
            "sessions-by-address",
            json!([
                {"session": SESSION, "address": "198.51.100.99", "who": "ops@contoso.com", "events": 1, "firstSeen": later("12:00:00"), "lastSeen": later("12:00:00")},
                {"session": SESSION, "address": "203.0.113.200", "who": "ops@contoso.com", "events": 1, "firstSeen": later("12:30:00"), "lastSeen": later("12:30:00")},
            ]),
        ),
        ("by-address", json!(["1", "2", "3", "8"])),
        ("by-file", json!(["3", "4", "5"])),
        (
            "operations-counted",
            json!([
                operation("AzureActiveDirectory", "UserLoggedIn", 1, "00:00:00", "00:00:00"),
                operation("Exchange", "MailItemsAccessed", 1, "10:30:00", "10:30:00"),
                operation("Exchange", "New-InboxRule", 1, "10:00:00", "10:00:00"),
                operation("Exchange", "Set-Mailbox", 1, "10:05:00", "10:05:00"),
                operation("Exchange", "Set-TransportConfig", 1, "11:00:00", "11:00:00"),
                operation("SharePoint", "FileAccessed", 2, "09:10:00", "09:20:00"),
                operation("SharePoint", "FileDownloaded", 1, "09:05:00", "09:05:00"),
            ]),
        ),
        (
            "findings-by-account",
            json!([
                {"userId": "adele@contoso.com", "level": "medium", "title": "Mail of a mailbox forwarded", "events": 1, "firstSeen": day("10:05:00"), "lastSeen": day("10:05:00")},
                {"userId": "megan@contoso.com", "level": "medium", "title": "Inbox rule forwards mail", "events": 1, "firstSeen": day("10:00:00"), "lastSeen": day("10:00:00")},
            ]),
        ),
        (
            "findings-newest",
            json!([
                {"CreationTime": day("10:05:00"), "level": "medium", "title": "Mail of a mailbox forwarded", "Operation": "Set-Mailbox", "userId": "adele@contoso.com", "clientIp": "198.51.100.4", "objectId": "Adele", "id": "7"},
                {"CreationTime": day("10:00:00"), "level": "medium", "title": "Inbox rule forwards mail", "Operation": "New-InboxRule", "userId": "megan@contoso.com", "clientIp": "192.0.2.66:1", "objectId": "megan\\x", "id": "6"},
            ]),
        ),
        ("sharepoint-sites-by-use", json!([{"site": site[1], "events": 2}])),
        (
            "file-access-by-user-type",
            json!([
                {"UserType": 0, "Operation": "FileAccessed", "events": 1}, {"UserType": 0, "Operation": "FileDownloaded", "events": 1},
                {"UserType": 5, "Operation": "FileAccessed", "events": 1},
            ]),
        ),
        (
            "external-exchange-admin",
            json!([{"CreationTime": day("11:00:00"), "UserId": "NT AUTHORITY\\SYSTEM (w3wp)", "UserType": 3, "Operation": "Set-TransportConfig", "ObjectId": "Transport Settings", "ClientIP": ""}]),
        ),
        (
            "keyword",
            json!([
                {"CreationTime": day("09:05:00"), "Workload": "SharePoint", "Operation": "FileDownloaded", "UserId": "megan@contoso.com", "ObjectId": FILE},
                {"CreationTime": day("09:10:00"), "Workload": "SharePoint", "Operation": "FileAccessed", "UserId": "adele@contoso.com", "ObjectId": FILE},
                {"CreationTime": day("09:20:00"), "Workload": "SharePoint", "Operation": "FileAccessed", "UserId": "app@sharepoint", "ObjectId": FILE},
            ]),
        ),
        (
            "edges-of-a-user",
            json!([
                before,
                edge("2", "00:00:00", "UserLoggedIn", megan, home),
                edge("3", "09:05:00", "FileDownloaded", megan, home),
                edge("3", "09:05:00", "FileDownloaded", megan, file),
                edge("3", "09:05:00", "FileDownloaded", megan, site),
                edge("6", "10:00:00", "New-InboxRule", megan, ["ip", "192.0.2.66"]),
                edge("6", "10:00:00", "New-InboxRule", megan, ["mailbox", "megan@contoso.com"]),
                after,
            ]),
        ),
        (
            "edges-of-an-address",
            json!([
                before,
                edge("2", "00:00:00", "UserLoggedIn", megan, home),
                edge("3", "09:05:00", "FileDownloaded", megan, home),
                edge("3", "09:05:00", "FileDownloaded", megan, file),
                edge("3", "09:05:00", "FileDownloaded", megan, site),
                edge("8", "10:30:00", "MailItemsAccessed", adele, home),
                edge("8", "10:30:00", "MailItemsAccessed", adele, ["mailbox", "ceo@contoso.com"]),
            ]),
        ),
        (
            "edges-of-a-file",
            json!([
                edge("3", "09:05:00", "FileDownloaded", megan, file),
                edge("4", "09:10:00", "FileAccessed", adele, file),
                edge("5", "09:20:00", "FileAccessed", app, file),
            ]),
        ),
        (
            "who-shares-an-address",
            json!([
                at("203.0.113.7", "megan@contoso.com", 2, &day("00:00:00"), &day("09:05:00")),
                at("203.0.113.7", "adele@contoso.com", 1, &day("10:30:00"), &day("10:30:00")),
                at("198.51.100.4", "adele@contoso.com", 2, &day("09:10:00"), &day("10:05:00")),
                at("192.0.2.66", "megan@contoso.com", 1, &day("10:00:00"), &day("10:00:00")),
            ]),
        ),
        (
            "forwards-to-outside",
            json!([{"id": "6", "CreationTime": day("10:00:00"), "label": "New-InboxRule", "source": "megan@contoso.com", "target": "drop@evil.example", "userId": "megan@contoso.com", "clientIp": "192.0.2.66:1"}]),
        ),
        (
            "non-owner-mailbox-access",
            json!([{"id": "8", "CreationTime": day("10:30:00"), "label": "MailItemsAccessed", "source": "adele@contoso.com", "sourceType": "user", "mailbox": "ceo@contoso.com", "LogonType": 2, "ClientIPAddress": "[::ffff:203.0.113.7]:99"}]),
        ),
        (
            "first-seen-addresses",
            json!([
                at("203.0.113.7", "megan@contoso.com", 3, "2026-11-19T23:59:59", &day("09:05:00")),
                at("192.0.2.66", "megan@contoso.com", 2, &day("10:00:00"), "2026-11-21T00:00:00"),
            ]),
        ),
    ])
}

/// The day's edges, each with how often it stands, as the records above tell.
fn counted() -> Vec<String> {
    [
        "1 Exchange MailItemsAccessed: user adele@contoso.com -> ip 203.0.113.7, 10:30:00 to 10:30:00",
        "1 Exchange MailItemsAccessed: user adele@contoso.com -> mailbox ceo@contoso.com, 10:30:00 to 10:30:00",
        "1 Exchange New-InboxRule: mailbox megan@contoso.com -> address drop@evil.example, 10:00:00 to 10:00:00",
        "1 Exchange New-InboxRule: user megan@contoso.com -> ip 192.0.2.66, 10:00:00 to 10:00:00",
        "1 Exchange New-InboxRule: user megan@contoso.com -> mailbox megan@contoso.com, 10:00:00 to 10:00:00",
        "1 Exchange Set-Mailbox: mailbox adele@contoso.com -> address sales@contoso.com, 10:05:00 to 10:05:00",
        "1 Exchange Set-Mailbox: user adele@contoso.com -> ip 198.51.100.4, 10:05:00 to 10:05:00",
        "1 Exchange Set-Mailbox: user adele@contoso.com -> mailbox adele@contoso.com, 10:05:00 to 10:05:00",
        "1 Exchange Set-TransportConfig: system nt authority\\system (w3wp) -> object Transport Settings, 11:00:00 to 11:00:00",
        "1 AzureActiveDirectory UserLoggedIn: user megan@contoso.com -> ip 203.0.113.7, 00:00:00 to 00:00:00",
        "1 SharePoint FileAccessed: system app@sharepoint -> file FILE, 09:20:00 to 09:20:00",
        "1 SharePoint FileAccessed: system app@sharepoint -> site SITE, 09:20:00 to 09:20:00",
        "1 SharePoint FileAccessed: user adele@contoso.com -> file FILE, 09:10:00 to 09:10:00",
        "1 SharePoint FileAccessed: user adele@contoso.com -> ip 198.51.100.4, 09:10:00 to 09:10:00",
        "1 SharePoint FileAccessed: user adele@contoso.com -> site SITE, 09:10:00 to 09:10:00",
        "1 SharePoint FileDownloaded: user megan@contoso.com -> file FILE, 09:05:00 to 09:05:00",
        "1 SharePoint FileDownloaded: user megan@contoso.com -> ip 203.0.113.7, 09:05:00 to 09:05:00",
        "1 SharePoint FileDownloaded: user megan@contoso.com -> site SITE, 09:05:00 to 09:05:00",
    ]
    .map(|edge| edge.replace("FILE", &FILE.to_lowercase()).replace("SITE", &SITE.to_lowercase()))
    .into()
}

fn as_line(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap().trim_start_matches("2026-11-20T").to_owned();
    let names = ["workload", "label", "sourceType", "source", "targetType", "target", "firstSeen", "lastSeen"];
    let [workload, label, source_type, source, target_type, target, first, last] = names.map(text);
    format!("{} {workload} {label}: {source_type} {source} -> {target_type} {target}, {first} to {last}", row["events"])
}

/// Everything in `queries/`, by name.
fn files() -> BTreeMap<String, String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("queries")).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

async fn container(world: &World) -> ContainerClient {
    let settings = world.cosmos.settings();
    let endpoint: AccountEndpoint = settings["COSMOS_ENDPOINT"].parse().unwrap();
    let account = AccountReference::with_authentication_key(endpoint, Secret::new(settings["COSMOS_KEY"].clone()));
    let client = CosmosClientBuilder::new().build(account, RoutingStrategy::PreferredRegions(Vec::new())).await.unwrap();
    client.database_client(&settings["COSMOS_DATABASE"]).container_client(&settings["COSMOS_CONTAINER"], None).await.unwrap()
}

async fn answer(text: &str, container: &ContainerClient) -> Vec<Value> {
    Question::parse(text).unwrap().ask(container).await.unwrap().try_collect().await.unwrap()
}

#[tokio::test]
async fn every_query_gives_the_known_answer_to_its_own_sample() {
    let world = world().await;
    world.storage.create_container(&world.container).await.unwrap();
    world.store_blobs(&[world.publish_records(&records())]).await;
    let container = container(&world).await;

    let (files, answers) = (files(), answers());
    let tested: Vec<_> = answers.keys().copied().chain(["edges-counted"]).collect();
    assert!(files.keys().all(|name| tested.contains(&name.as_str())) && files.len() == tested.len(), "{:?}", files.keys());
    for (name, expected) in answers {
        let mut found = answer(&files[name], &container).await;
        let mut expected = expected.as_array().unwrap().clone();
        if expected.iter().all(Value::is_string) {
            found = found.into_iter().map(|document| document["id"].clone()).collect();
        }
        if files[name].contains("GROUP BY") {
            let events: Vec<_> = found.iter().map(|row| row["events"].as_u64().unwrap()).collect();
            assert!(events.is_sorted_by(|a, b| a >= b), "{name}: {events:?}");
        }
        if name.starts_with("edges") || files[name].contains("GROUP BY") {
            // Edges of one moment have no order of their own.
            found.sort_by_key(|row| (row["CreationTime"].to_string(), row.to_string()));
            expected.sort_by_key(|row| (row["CreationTime"].to_string(), row.to_string()));
        }
        if name == "external-exchange-admin" {
            found.iter_mut().for_each(|row| drop(row.as_object_mut().unwrap().remove("Parameters")));
        }
        assert_eq!(found, expected, "{name}");
    }

    let mut found: Vec<_> = answer(&files["edges-counted"], &container).await.iter().map(as_line).collect();
    let mut expected = counted();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn every_query_says_what_it_asks_and_keeps_to_what_cosmos_db_takes() {
    for (name, text) in files() {
        let question = Question::parse(&text).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(text.starts_with("-- ") && !text.starts_with("-- @"), "{name} opens with what it asks");
        for (at, _) in text.match_indices('@').filter(|(at, _)| !text[..*at].ends_with(['"', 'n', 's', '.'])) {
            let parameter: String = text[at + 1..].chars().take_while(|c| c.is_alphanumeric()).collect();
            assert!(question.parameters().contains_key(&parameter), "{name} has no sample of @{parameter}");
        }
        // Cosmos DB sorts no groups; FROM is a word of its language; the emulator takes text in double quotes for a name.
        let sql: String = text.lines().filter(|line| !line.starts_with("--")).collect();
        assert!(!sql.contains('"'), "{name}");
        assert!(!(text.contains("GROUP BY") && text.contains("ORDER BY")), "{name}");
        assert!(!text.replace("e.fromType", "").contains("e.from") && !text.replace("e.toType", "").contains("e.to"), "{name}");
    }
}
