//! A pseudonymised export as a person has it: no name in any byte, and the same counts, joins and graph as with names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use activity::explore::database::{Credential, connect};
use anyhow::{Context as _, Result, ensure};
use azure_core::credentials::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use handler::document::records::{Record, RecordFlags};
use handler::document::{ContentType, Feed, Rules, document};
use handler::workload::Workload;
use serde_json::{Value, json};
use standins::cosmos::{Cosmos, CosmosOptions};
use tempfile::TempDir;

const FORMS: &str = "ndjson,csv,ecs,timesketch,opengraph,sql,timeline";
/// Parts of names that may be in no byte of a pseudonymised file, in lower case.
const CANARIES: [&str; 6] = ["canary.bird", "canary_bird", "canarybird", "quetzal", "203.0.113.99", "2001:db8:ca:17"];

/// Records that name two people in every form in which services write names.
fn records() -> Vec<Value> {
    let percent = "https://contoso.example/?u=i%3A0%23.f%7Cmembership%7Ccanary.bird%40contoso.example&x=1";
    let forms = [
        json!({"Operation": "FileAccessed", "Workload": "SharePoint", "RecordType": 6, "UserId": "Canary.Bird@contoso.example",
            "UserKey": "i:0h.f|membership|canary.bird@contoso.example", "ClientIP": "203.0.113.99:443",
            "SiteUrl": "https://contoso-my.sharepoint.com/personal/canary_bird_contoso_example/",
            "ObjectId": "https://contoso-my.sharepoint.com/personal/canary_bird_contoso_example/Documents/plan.docx",
            "SourceRelativeUrl": "personal/canary_bird_contoso_example/Documents", "SourceFileName": "plan.docx"}),
        json!({"Operation": "SharingSet", "Workload": "OneDrive", "RecordType": 14, "UserId": "quetzal@contoso.example",
            "TargetUserOrGroupName": "canary.bird_fabrikam.example#EXT#@contoso.onmicrosoft.com", "TargetUserOrGroupType": "Guest",
            "ClientIP": "2001:DB8:CA:17::1", "EventData": "<who>canary.bird&#64;contoso.example</who>", "ObjectId": percent}),
        json!({"Operation": "Send", "Workload": "Exchange", "RecordType": 2, "UserId": "CONTOSO\\CanaryBird", "UserType": 2,
            "MailboxOwnerUPN": "quetzal@contoso.example", "ClientIPAddress": "[2001:db8:ca:17::1]:50000",
            "Item": {"Subject": "for canary.bird@contoso.example", "Id": "x"},
            "Parameters": [{"Name": "ForwardTo", "Value": "SMTP:canary.bird@contoso.example;quetzal@contoso.example"}],
            "LegacyExchangeDN": "/o=ExchangeLabs/ou=Group/cn=Recipients/cn=11aa-CanaryBird"}),
        json!({"Operation": "UserLoggedIn", "Workload": "AzureActiveDirectory", "RecordType": 15, "UserId": "canary.bird@contoso.example",
            "ActorIpAddress": "203.0.113.99", "ExtendedProperties": [{"Name": "x", "Value": "{\"upn\":\"canary.bird\\u0040contoso.example\"}"}],
            "Actor": [{"ID": "canary.bird@contoso.example", "Type": 5}], "Target": [{"ID": "quetzal@contoso.example", "Type": 5}]}),
        json!({"Operation": "MemberAdded", "Workload": "MicrosoftTeams", "RecordType": 25, "UserId": "quetzal@contoso.example",
            "Members": [{"UPN": "canary.bird@contoso.example", "DisplayName": "x"}, {"UPN": "quetzal@contoso.example"}],
            "Blob": BASE64_STANDARD.encode(r#"{"upn":"canary.bird@contoso.example"}"#),
            "FilePath": "C:\\Users\\canarybird\\Desktop\\a.txt", "canary.bird@contoso.example": 1}),
    ];
    (0..60)
        .map(|number| {
            let mut record = forms[number % forms.len()].clone();
            record["Id"] = json!(format!("5c7e0f5e-3c5b-4a2f-9d43-{number:012}"));
            record["CreationTime"] = json!(format!("2026-11-{:02}T{:02}:05:00", 10 + number % 3, number % 24));
            record
        })
        .collect()
}

/// A database of the documents that the handler makes of them.
async fn database(records: impl IntoIterator<Item = Value>) -> Result<Cosmos> {
    let cosmos = Cosmos::start(CosmosOptions { partitions: 4, ..CosmosOptions::default() }).await?;
    let key = Credential::Key(Secret::new(cosmos.key().to_owned()));
    let container = connect(cosmos.endpoint().as_str(), key, "office365", "activity").await?;
    let feed = Feed::new(Some(ContentType::Feed(Workload::General)), "c", None);
    let flags = RecordFlags { depth: 20, ..RecordFlags::default() };
    for record in records {
        let made = document(Record::new(record.to_string().as_bytes(), flags), &feed, Rules::by_default(Utc::now()))?;
        // A record may come twice; they are the same.
        container.upsert_item(made.pk, &made.id, &serde_json::from_str::<Value>(&made.json)?, None).await?;
    }
    Ok(cosmos)
}

async fn run(mut command: Command) -> Result<Output> {
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

fn activity() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
    command.env_clear();
    command
}

async fn export(cosmos: &Cosmos, folder: &Path, more: &[&str]) -> Result<String> {
    let mut command = activity();
    let forms = if cfg!(feature = "parquet") { format!("{FORMS},parquet") } else { FORMS.to_owned() };
    command.env("COSMOS_KEY", cosmos.key()).args(["export", "--endpoint", cosmos.endpoint().as_str(), "--as", &forms, "--out"]);
    let done = run({
        command.arg(folder).args(more);
        command
    })
    .await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Ok(String::from_utf8(done.stdout)? + &String::from_utf8(done.stderr)?)
}

/// The bytes in which a name could stand: plain, in UTF-16, in base64 at each of its three places, percent-encoded.
fn encodings(name: &str) -> Vec<Vec<u8>> {
    let wide = |bytes: fn(u16) -> [u8; 2]| name.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let mut encodings = vec![name.as_bytes().to_vec(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)];
    encodings.push(name.bytes().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect());
    for before in 0..3 {
        let encoded = BASE64_STANDARD.encode([&b"\0\0\0"[..before], name.as_bytes()].concat());
        let whole = encoded.trim_end_matches('=');
        // Letters at both ends depend on what stands beside.
        encodings.push(whole.as_bytes()[(before * 4).div_ceil(3)..whole.len() - 1].to_ascii_lowercase());
    }
    encodings
}

fn canaries_in(folder: &Path) -> Result<BTreeSet<String>> {
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let bytes = fs::read(entry.path())?.to_ascii_lowercase();
        for canary in CANARIES {
            for needle in encodings(canary) {
                if bytes.windows(needle.len()).any(|window| window == needle) {
                    seen.insert(format!("{canary} in {}", entry.file_name().to_string_lossy()));
                }
            }
        }
    }
    Ok(seen)
}

fn table(path: &Path) -> Result<(Vec<String>, Vec<Vec<String>>)> {
    let text = fs::read_to_string(path)?;
    let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let head = reader.headers()?.iter().map(str::to_owned).collect();
    let rows = reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect()));
    Ok((head, rows.collect::<Result<_>>()?))
}

/// A join: what was equal is equal, and what was not is not.
#[derive(Default)]
struct Join {
    forth: HashMap<String, String>,
    back: HashMap<String, String>,
}

impl Join {
    fn pair(&mut self, plain: &str, told: &str) -> Result<()> {
        let known = self.forth.entry(plain.to_owned()).or_insert_with(|| told.to_owned());
        ensure!(known == told, "{plain} is {known} and {told}");
        let known = self.back.entry(told.to_owned()).or_insert_with(|| plain.to_owned());
        ensure!(known == plain, "{told} is {known} and {plain}");
        Ok(())
    }
}

/// Holds counts, joins and the graph of two cases against each other. Returns which token each account has.
fn compare(plain: &Path, told: &Path) -> Result<Join> {
    let rows = |folder: &Path| -> Result<BTreeMap<String, Value>> {
        let manifest: Value = serde_json::from_slice(&fs::read(folder.join("manifest.json"))?)?;
        let files = manifest["files"].as_array().context("files")?;
        Ok(files.iter().map(|file| (file["name"].to_string(), file["rows"].clone())).collect())
    };
    assert_eq!(rows(plain)?, rows(told)?);

    let mut accounts = Join::default();
    for file in ["records.csv", "edges.csv"] {
        let ((head, rows), (head_told, rows_told)) = (table(&plain.join(file))?, table(&told.join(file))?);
        assert_eq!((head.len(), rows.len()), (head_told.len(), rows_told.len()));
        for (at, name) in head.iter().enumerate() {
            let mut column = Join::default();
            for (row, row_told) in rows.iter().zip(&rows_told) {
                column.pair(&row[at], &row_told[at]).with_context(|| format!("{file}, {name}"))?;
                let is_account = name == "UserId" || (name == "Source" && row[at + 1] == "user");
                if is_account {
                    // Edges have names in lower case.
                    accounts.pair(&row[at].to_lowercase(), &row_told[at].to_lowercase())?;
                }
            }
        }
    }
    assert_eq!(shape(plain)?, shape(told)?);
    Ok(accounts)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_is_in_any_byte_and_counts_joins_and_graph_are_the_same() -> Result<()> {
    let (cosmos, plain, told, keys) = (database(records()).await?, TempDir::new()?, TempDir::new()?, TempDir::new()?);
    let key = keys.path().join("key").to_string_lossy().into_owned();
    export(&cosmos, plain.path(), &[]).await?;
    let said = export(&cosmos, told.path(), &["--pseudonyms", "--key-file", &key]).await?;
    assert!(said.contains("a new key is in"), "{said}");
    assert_eq!(canaries_in(told.path())?, BTreeSet::new());
    let seen = canaries_in(plain.path())?;
    assert!(CANARIES.iter().all(|canary| seen.iter().any(|seen| seen.starts_with(canary))), "{seen:?}");

    let accounts = compare(plain.path(), told.path())?;

    // The same key makes the same bytes, and turns each token back.
    let again = TempDir::new()?;
    export(&cosmos, again.path(), &["--pseudonyms", "--key-file", &key]).await?;
    for name in ["records.ndjson", "records.csv", "opengraph.json", "timeline.html"] {
        assert!(fs::read(told.path().join(name))? == fs::read(again.path().join(name))?, "{name}");
    }
    for (name, token) in accounts.forth.iter().filter(|(name, token)| name != token) {
        let mut command = activity();
        command.args(["reveal", "--key-file", &key, token]);
        let revealed = run(command).await?;
        assert_eq!(String::from_utf8(revealed.stdout)?.trim(), name, "{token}");
    }
    let other = keys.path().join("other").to_string_lossy().into_owned();
    fs::write(&other, "o".repeat(40))?;
    let token = accounts.forth.values().find(|token| token.starts_with("p1-")).context("a token")?;
    let mut command = activity();
    command.args(["reveal", "--key-file", &other, token]);
    let refused = run(command).await?;
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(1), 0));
    Ok(())
}

/// The graph without names: how many nodes of each kind, with how many records and how many edges each.
fn shape(folder: &Path) -> Result<BTreeMap<String, usize>> {
    let graph: Value = serde_json::from_slice(&fs::read(folder.join("opengraph.json"))?)?;
    let list = |name: &str| graph["graph"][name].as_array().cloned().unwrap_or_default();
    let mut degrees: HashMap<String, BTreeMap<String, usize>> = HashMap::new();
    for edge in list("edges") {
        for end in ["start", "end"] {
            let kinds = degrees.entry(edge[end]["value"].to_string()).or_default();
            *kinds.entry(format!("{end} {} {}", edge["kind"], edge["properties"]["records"])).or_default() += 1;
        }
    }
    let mut shape = BTreeMap::new();
    for node in list("nodes") {
        let degree = degrees.get(&node["id"].to_string()).cloned().unwrap_or_default();
        *shape.entry(format!("{} {} {degree:?}", node["kinds"], node["properties"]["records"])).or_default() += 1;
    }
    Ok(shape)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_names_nobody_and_a_filter_takes_the_name_itself() -> Result<()> {
    let (cosmos, told, keys) = (database(records()).await?, TempDir::new()?, TempDir::new()?);
    let key = keys.path().join("key").to_string_lossy().into_owned();
    export(
        &cosmos,
        told.path(),
        &["--pseudonyms", "--key-file", &key, "--user", "canary.bird@contoso.example", "--address", "203.0.113.99"],
    )
    .await?;
    assert_eq!(canaries_in(told.path())?, BTreeSet::new());
    let documents = fs::read_to_string(told.path().join("records.ndjson"))?;
    assert!(documents.lines().count() > 0);
    let manifest: Value = serde_json::from_slice(&fs::read(told.path().join("manifest.json"))?)?;
    assert_eq!(manifest["asked"]["pseudonyms"], true);
    let first: Value = serde_json::from_str(documents.lines().next().context("a document")?)?;
    assert_eq!(first["UserId"].as_str().map(str::to_lowercase).as_deref(), manifest["asked"]["user"].as_str());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn real_records_keep_their_counts_joins_and_graph_and_no_account() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/audit-records.ndjson");
    let Ok(text) = fs::read_to_string(&path) else {
        eprintln!("SKIPPED: there are no real records beside the checkout");
        return Ok(());
    };
    let records = text.lines().filter_map(|line| serde_json::from_str(line).ok()).take(1_500);
    let (cosmos, plain, told, keys) = (database(records).await?, TempDir::new()?, TempDir::new()?, TempDir::new()?);
    let key = keys.path().join("key").to_string_lossy().into_owned();
    export(&cosmos, plain.path(), &[]).await?;
    export(&cosmos, told.path(), &["--pseudonyms", "--key-file", &key]).await?;
    let accounts = compare(plain.path(), told.path())?;
    let names = accounts.forth.iter().filter(|(name, token)| name != token && name.contains('@')).map(|(name, _)| name.clone());
    // As they are, and as addresses of personal sites have them.
    let names: Vec<_> = names.flat_map(|name| [name.replace(['@', '.'], "_"), name]).collect();
    assert!(names.len() > 10, "{names:?}");
    for entry in fs::read_dir(told.path())? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path())?.to_lowercase();
        let seen: Vec<_> = names.iter().filter(|name| text.contains(name.as_str())).collect();
        assert!(seen.is_empty(), "{}: {seen:?}", entry.file_name().to_string_lossy());
    }
    Ok(())
}
