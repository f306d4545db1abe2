//! The case file as a person has it: written by the commands, proven, damaged, and read by programs that are not ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use activity::case::manifest::{Manifest, Verdict};
use activity::case::verify::{Verified, VerifyOptions, verify};
use activity::explore::database::{Credential, connect};
use anyhow::{Context as _, Result, ensure};
use azure_core::credentials::Secret;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use standins::cosmos::{Cosmos, CosmosOptions};
use standins::tenant::{Operation, Tenant, TenantOptions, generate};
use tempfile::TempDir;

const ALL: &str = "ndjson,csv,ecs,timesketch,opengraph,sql,timeline";
const FORMULA: &str = "=HYPERLINK(\"https://evil.example\",\"x\")";

/// Documents as the handler stores them, with what a stranger may type.
fn documents() -> Vec<Value> {
    let edge = |from: &str, to_type: &str, to: &str, label: &str| json!({"from": from, "fromType": "user", "to": to, "toType": to_type, "label": label});
    (0..300)
        .map(|number| {
            let user = format!("user{}@contoso.example", number % 7);
            let subject = ["plain", FORMULA, "it's \\ \"quoted\",\nGO\n$(x)", "<script>alert(1)</script>", "ünï 😀"][number % 5];
            let operation = ["FileAccessed", "Add user.", "UserLoginFailed"][number % 3];
            let mut document = json!({
                "id": format!("id-{}", (number * 7919) % 1000), "pk": format!("2026-11-{:02}-{}", 10 + number % 5, number % 2), "ttl": 86_400,
                "feed": {"contentType": "Audit.SharePoint", "contentId": "c", "contentCreated": format!("2026-11-{:02}T12:00:00.000Z", 10 + number % 5)},
                "edges": [edge(&user, "ip", "192.0.2.7", operation), edge(&user, "file", subject, operation)],
                "CreationTime": format!("2026-11-{:02}T{:02}:05:00", 10 + number % 5, number % 24), "Id": format!("id-{}", (number * 7919) % 1000),
                "Workload": "SharePoint", "RecordType": 6, "Operation": operation, "UserId": user, "UserType": 0, "ObjectId": subject,
                "ClientIP": "192.0.2.7:443", "ExternalAccess": number % 2 == 0, "Parameters": [{"Name": "a", "Value": subject}],
            });
            if number % 50 == 0 {
                document["findings"] = json!([{"rule": "r-1", "title": "Many <downloads>", "level": "high"}]);
            }
            document
        })
        .collect()
}

async fn database() -> Result<Cosmos> {
    let cosmos = Cosmos::start(CosmosOptions { partitions: 4, ..CosmosOptions::default() }).await?;
    let container =
        connect(cosmos.endpoint().as_str(), Credential::Key(Secret::new(cosmos.key().to_owned())), "office365", "activity").await?;
    for document in documents() {
        let (pk, id) = (document["pk"].as_str().unwrap_or_default().to_owned(), document["id"].as_str().unwrap_or_default().to_owned());
        container.create_item(pk, &id, &document, None).await?;
    }
    Ok(cosmos)
}

fn activity() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
}

/// Runs the command in a thread of its own, so that the stand-ins go on.
async fn output(mut command: Command) -> Result<std::process::Output> {
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

async fn export(cosmos: &Cosmos, folder: &Path, more: &[&str]) -> Result<Manifest> {
    let mut command = activity();
    command.env("COSMOS_KEY", cosmos.key());
    let forms = if more.contains(&"--as") { &[][..] } else { &["--as", ALL] };
    command.args(["export", "--endpoint", cosmos.endpoint().as_str()]).args(forms).arg("--out").arg(folder).args(more);
    let done = output(command).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Manifest::read(folder)
}

fn proven(folder: &Path) -> Result<Verified> {
    verify(&VerifyOptions { folder: folder.to_owned() })
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    fs::read_to_string(path)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_case_holds_every_document_in_every_form_and_the_same_bytes_twice() -> Result<()> {
    let (cosmos, one, other) = (database().await?, TempDir::new()?, TempDir::new()?);
    let manifest = export(&cosmos, one.path(), &[]).await?;
    let again = export(&cosmos, other.path(), &[]).await?;
    assert_eq!(manifest.files, again.files);
    // Nobody gave a journal: nothing is claimed.
    assert_eq!(manifest.completeness.verdict, Verdict::Incomplete);
    assert!(manifest.completeness.why.contains("journal cannot be read"), "{}", manifest.completeness.why);
    let verified = proven(one.path())?;
    assert_eq!((verified.exit_code(), verified.damages), (2, Vec::<String>::new()));

    let mut expected = documents();
    expected.sort_by_key(|document| (document["pk"].as_str().map(str::to_owned), document["id"].as_str().map(str::to_owned)));
    assert_eq!(lines(&one.path().join("records.ndjson"))?, expected);
    let rows: BTreeMap<_, _> = manifest.files.iter().map(|file| (file.name.as_str(), file.rows)).collect();
    for (name, count) in
        [("records.csv", 300), ("edges.csv", 600), ("ecs.ndjson", 300), ("timesketch.jsonl", 300), ("mysql.sql", 900), ("azure.sql", 900)]
    {
        assert_eq!(rows.get(name), Some(&count), "{name}");
    }
    for line in lines(&one.path().join("timesketch.jsonl"))? {
        assert!(line["message"].is_string() && line["timestamp_desc"].is_string(), "{line}");
        chrono::DateTime::parse_from_rfc3339(line["datetime"].as_str().unwrap_or_default())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_the_files_and_are_told_in_the_manifest() -> Result<()> {
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    let filters = [
        "--user",
        "USER3@contoso.example",
        "--operation",
        "FileAccessed",
        "--from",
        "2026-11-11",
        "--to",
        "2026-11-13",
        "--workload",
        "SharePoint",
    ];
    let manifest = export(&cosmos, folder.path(), &filters).await?;
    let expected = documents().into_iter().filter(|document| {
        let day = document["pk"].as_str().and_then(|pk| pk[8..10].parse::<u32>().ok()).unwrap_or_default();
        document["UserId"] == "user3@contoso.example" && document["Operation"] == "FileAccessed" && (11..13).contains(&day)
    });
    let found = lines(&folder.path().join("records.ndjson"))?;
    assert_eq!(found.len(), expected.count());
    assert!(!found.is_empty());
    assert_eq!(manifest.asked["user"], "USER3@contoso.example");
    assert_eq!(manifest.asked["from"], "2026-11-11T00:00:00Z");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bloodhound_finds_a_graph_of_its_own_schema() -> Result<()> {
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    export(&cosmos, folder.path(), &[]).await?;
    let whole: Value = serde_json::from_slice(&fs::read(folder.path().join("opengraph.json"))?)?;
    let list = |name: &str| whole["graph"][name].as_array().cloned().unwrap_or_default();
    let is_flat =
        |properties: &Value| properties.as_object().is_some_and(|all| all.values().all(|value| !value.is_object() && !value.is_array()));
    let mut ids = BTreeSet::new();
    for node in list("nodes") {
        let kinds = node["kinds"].as_array().cloned().unwrap_or_default();
        assert!((1..=3).contains(&kinds.len()) && kinds.iter().all(Value::is_string) && is_flat(&node["properties"]), "{node}");
        assert!(ids.insert(node["id"].as_str().context("an id")?.to_owned()), "{node} stands twice");
    }
    let mut records = 0;
    for edge in list("edges") {
        let kind = edge["kind"].as_str().unwrap_or_default();
        assert!(!kind.is_empty() && kind.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_'), "{edge}");
        assert!(is_flat(&edge["properties"]), "{edge}");
        for end in ["start", "end"] {
            assert_eq!(edge[end]["match_by"], "id");
            assert!(ids.contains(edge[end]["value"].as_str().unwrap_or_default()), "{edge}");
        }
        records += edge["properties"]["records"].as_u64().unwrap_or_default();
    }
    assert_eq!(records, 600);
    Ok(())
}

/// The folder of node.json, edge.json and metadata.json as BloodHound has them for what is uploaded:
/// <https://github.com/SpecterOps/BloodHound/tree/main/cmd/api/src/services/upload/jsonschema>.
const OPENGRAPH_SCHEMA: &str = "OPENGRAPH_SCHEMA";

#[tokio::test(flavor = "multi_thread")]
async fn bloodhounds_own_json_schema_takes_every_node_and_every_edge() -> Result<()> {
    const VALIDATE: &str = "
import json, sys, jsonschema
whole = json.load(open(sys.argv[1] + '/opengraph.json', encoding='utf-8'))
def validate(name, values):
    schema = json.load(open(sys.argv[2] + '/' + name, encoding='utf-8'))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for value in values:
        validator.validate(value)
    return len(values)
validate('metadata.json', [whole['metadata']])
print(validate('node.json', whole['graph']['nodes']), validate('edge.json', whole['graph']['edges']))
";
    let python = Python::find();
    let Ok(schema) = std::env::var(OPENGRAPH_SCHEMA) else {
        eprintln!("SKIPPED: {OPENGRAPH_SCHEMA} names no folder with BloodHound's schema, so it is not asked");
        return Ok(());
    };
    ensure!(python.has("jsonschema"), "{OPENGRAPH_SCHEMA} is set, but {} has no jsonschema", python.program);
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    export(&cosmos, folder.path(), &["--as", "opengraph"]).await?;
    let mut validating = python.run(VALIDATE, folder.path());
    validating.arg(schema);
    // 7 users, an address, 5 files; each user with the address and the files by 3 operations.
    assert_eq!(said(validating).await?.as_deref().map(str::trim), Some("13 126"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn python_reads_the_csv_and_no_cell_is_a_formula() -> Result<()> {
    const READ: &str = "
import csv, json, sys
documents = {(d['pk'], d['id']): d for d in map(json.loads, open(sys.argv[1] + '/records.ndjson', encoding='utf-8'))}
rows = list(csv.DictReader(open(sys.argv[1] + '/records.csv', encoding='utf-8-sig', newline='')))
assert len(rows) == len(documents), (len(rows), len(documents))
def shown(value):
    if value is None: return ''
    if isinstance(value, bool): return 'true' if value else 'false'
    if isinstance(value, (list, dict)): return value
    return str(value)
for row, document in zip(rows, documents.values()):
    for name, cell in row.items():
        assert not cell.startswith(('=', '+', '-', '@', '\\t', '\\r', '\\n')), cell
        if name in document:
            value = shown(document[name])
            plain = cell[1:] if cell.startswith(\"'\") else cell
            assert (json.loads(cell) if isinstance(value, list) else plain) == value, (name, cell, value)
    assert row['Address'] == '192.0.2.7' and row['Hour'] == str(int(document['CreationTime'][11:13]))
edges = list(csv.DictReader(open(sys.argv[1] + '/edges.csv', encoding='utf-8-sig', newline='')))
assert len(edges) == sum(len(d['edges']) for d in documents.values())
print('read')
";
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    export(&cosmos, folder.path(), &[]).await?;
    let mut python = Command::new("python3");
    python.args(["-c", READ]).arg(folder.path());
    match output(python).await {
        Err(error) => eprintln!("SKIPPED: python3 cannot be run ({error}), so the CSV is read by nobody"),
        Ok(done) => assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "read", "{}", String::from_utf8_lossy(&done.stderr)),
    }
    Ok(())
}

/// One of many ways to damage a case; names the file that it is about.
fn damage(folder: &Path, names: &[String], random: &mut ChaCha8Rng) -> Result<String> {
    let name = names[random.random_range(0..names.len())].clone();
    let path = folder.join(&name);
    let mut bytes = fs::read(&path)?;
    match random.random_range(0..6) {
        0 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
            fs::write(&path, bytes)?;
        }
        1 => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let count = text.lines().count();
            let dropped = random.random_range(0..count);
            fs::write(
                &path,
                text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != dropped).map(|(_, line)| line).collect::<String>(),
            )?;
        }
        2 => fs::remove_file(&path)?,
        3 => {
            let added = format!("added-{}.ndjson", random.random_range(0..1000));
            fs::write(folder.join(&added), "{}\n")?;
            return Ok(added);
        }
        4 => {
            let other = names.iter().find(|other| **other != name).context("another file")?;
            fs::copy(folder.join(other), &path)?;
        }
        _ => {
            bytes.truncate(random.random_range(0..bytes.len()));
            fs::write(&path, bytes)?;
        }
    }
    Ok(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_a_hundred_damages_is_named() -> Result<()> {
    let (cosmos, whole) = (database().await?, TempDir::new()?);
    let manifest = export(&cosmos, whole.path(), &[]).await?;
    let names: Vec<_> = manifest.files.iter().map(|file| file.name.clone()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    for number in 0..100 {
        let folder = TempDir::new()?;
        for entry in fs::read_dir(whole.path())? {
            let entry = entry?;
            fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
        }
        let damaged = damage(folder.path(), &names, &mut random)?;
        let verified = proven(folder.path())?;
        assert_eq!(verified.exit_code(), 1, "damage {number} to {damaged} went unseen");
        assert_eq!(verified.damages.len(), 1, "{:?}", verified.damages);
        assert!(verified.damages[0].starts_with(&damaged), "{damaged}: {:?}", verified.damages);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_manifest_is_checked_and_one_that_was_changed_is_named() -> Result<()> {
    let (cosmos, folder, keys) = (database().await?, TempDir::new()?, TempDir::new()?);
    let key = keys.path().join("key");
    let mut generate = Command::new("ssh-keygen");
    generate.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    if output(generate).await.is_err() {
        eprintln!("SKIPPED: there is no ssh-keygen, so nothing is signed");
        return Ok(());
    }
    export(&cosmos, folder.path(), &["--sign", &key.to_string_lossy()]).await?;
    assert_eq!(proven(folder.path())?.exit_code(), 2);
    let path = folder.path().join("manifest.json");
    fs::write(&path, fs::read_to_string(&path)?.replace("\"incomplete\"", "\"complete\""))?;
    let verified = proven(folder.path())?;
    assert_eq!(verified.exit_code(), 1);
    assert!(verified.damages[0].starts_with("manifest.json.sig"), "{:?}", verified.damages);
    Ok(())
}

fn collect(tenant: &Tenant, folder: &Path) -> Command {
    let mut command = activity();
    command.envs(tenant.settings()).args(["collect", "--as", "ndjson,csv", "--out"]).arg(folder);
    command
}

/// Documents less what depends on which of several deliveries came first.
fn collected(folder: &Path) -> Result<Vec<Value>> {
    let mut documents = lines(&folder.join("records.ndjson"))?;
    for document in &mut documents {
        let feed = document.as_object_mut().context("a document is an object")?.remove("feed");
        assert!(feed.is_some() && document["ttl"].is_null(), "{document}");
    }
    Ok(documents)
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_that_is_killed_twenty_times_ends_with_the_same_documents() -> Result<()> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    generate::publish(&tenant, 11, 2_000);
    let (undisturbed, killed) = (TempDir::new()?, TempDir::new()?);
    let done = output(collect(&tenant, undisturbed.path())).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let manifest = Manifest::read(undisturbed.path())?;
    let day = |of: fn(&activity::case::manifest::Day) -> u64| manifest.completeness.workloads.iter().map(of).sum::<u64>();
    assert_eq!(day(|day| day.listed), day(|day| day.stored));
    assert!(day(|day| day.stored) > 0);

    let mut random = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..20 {
        let mut child = collect(&tenant, killed.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        tokio::time::sleep(Duration::from_millis(random.random_range(20..900))).await;
        child.kill()?;
        child.wait()?;
    }
    let done = output(collect(&tenant, killed.path())).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(collected(killed.path())?, collected(undisturbed.path())?);
    assert_eq!(proven(killed.path())?.damages, Vec::<String>::new());

    // A second run brings what is new, and nothing twice.
    generate::publish(&tenant, 12, 200);
    let before = collected(undisturbed.path())?.len();
    ensure!(output(collect(&tenant, undisturbed.path())).await?.status.success());
    assert!(collected(undisturbed.path())?.len() > before);
    Ok(())
}

/// A person's `az`, which hands out this token, whatever it is asked.
fn signed_in(folder: &Path, token: &str) -> Result<()> {
    let answer = json!({"accessToken": token, "expires_on": chrono::Utc::now().timestamp() + 3600, "tokenType": "Bearer"});
    let az = folder.join("az");
    fs::write(&az, format!("#!/bin/sh\necho '{answer}'\n"))?;
    Ok(fs::set_permissions(&az, fs::Permissions::from_mode(0o755))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_in_collects_without_a_secret_if_the_token_holds_the_permission() -> Result<()> {
    let tenant = Tenant::start(TenantOptions::default()).await?;
    generate::publish(&tenant, 13, 300);
    let folder = TempDir::new()?;
    let collect = |case: &str| {
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = collect(&tenant, &folder.path().join(case));
        command.env_remove("OFFICE365_CLIENT_SECRET").env_remove("OFFICE365_CLIENT_ID").env("PATH", path);
        command
    };
    let calls = || tenant.calls().iter().filter(|call| call.operation != Operation::Token).count();

    // Microsoft gives its own command line few permissions: the reason is told before the feed is asked for anything.
    tenant.set_roles(&["user_impersonation"]);
    signed_in(folder.path(), &tenant.person_token())?;
    let refused = output(collect("refused")).await?;
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && told.contains("the token of `az login` does not hold ActivityFeed.Read"), "{told}");
    assert_eq!(calls(), 0);

    tenant.set_roles(&["ActivityFeed.Read", "ActivityFeed.ReadDlp"]);
    signed_in(folder.path(), &tenant.person_token())?;
    let done = output(collect("case")).await?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let manifest = Manifest::read(&folder.path().join("case"))?;
    let sum = |of: fn(&activity::case::manifest::Day) -> u64| manifest.completeness.workloads.iter().map(of).sum::<u64>();
    assert!(sum(|day| day.listed) > 0 && sum(|day| day.listed) == sum(|day| day.stored), "{:?}", manifest.completeness);

    fs::write(folder.path().join("az"), "#!/bin/sh\necho 'ERROR: Please run az login to setup account.' >&2\nexit 1\n")?;
    let nobody = output(collect("nobody")).await?;
    let told = String::from_utf8_lossy(&nobody.stderr);
    assert!(!nobody.status.success() && told.contains("no access token for the Activity API") && told.contains("az login"), "{told}");
    Ok(())
}

/// What a program that is not ours says on its standard output; none where it is not installed.
async fn said(mut command: Command) -> Result<Option<String>> {
    command.stderr(Stdio::piped());
    match output(command).await {
        Err(_) => Ok(None),
        Ok(done) => {
            ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            Ok(Some(String::from_utf8(done.stdout)?))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_findings_and_every_hour_and_runs_nothing_that_a_stranger_typed() -> Result<()> {
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    export(&cosmos, folder.path(), &[]).await?;
    let mut browser = Command::new("chromium");
    let page = format!("file://{}", folder.path().join("timeline.html").display());
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", &page]);
    let Some(dom) = said(browser).await? else {
        eprintln!("SKIPPED: there is no chromium, so nobody looks at the timeline");
        return Ok(());
    };
    assert!(dom.contains("300 records, 6 findings"), "{}", dom.lines().take(30).collect::<String>());
    assert_eq!(dom.matches("<tr class=\"high\">").count(), 6);
    assert!(dom.contains("Many &lt;downloads&gt;") && !dom.contains("<script"));
    let hours: BTreeSet<_> =
        documents().iter().map(|document| document["CreationTime"].as_str().unwrap_or_default()[..13].to_owned()).collect();
    assert_eq!(dom.matches("<section>").count(), hours.len());
    Ok(())
}

/// A MariaDB of its own, without a port; it ends with the test.
struct MariaDb {
    server: std::process::Child,
    folder: TempDir,
}

impl MariaDb {
    async fn start() -> Result<Option<Self>> {
        let folder = TempDir::new()?;
        let data = format!("--datadir={}", folder.path().join("data").display());
        let mut install = Command::new("mariadb-install-db");
        install.args(["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db"]);
        if said(install).await?.is_none() {
            return Ok(None);
        }
        let socket = format!("--socket={}", folder.path().join("socket").display());
        // Debian keeps it where only root's PATH leads.
        let server = Command::new("/usr/sbin/mariadbd")
            .args(["--no-defaults", "--user=root", &data, &socket, "--skip-networking"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let database = Self { server, folder };
        for _ in 0..120 {
            if database.ask("create database if not exists c", None).await.is_ok() {
                return Ok(Some(database));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        anyhow::bail!("MariaDB does not answer")
    }

    async fn ask(&self, sql: &str, script: Option<&Path>) -> Result<String> {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-uroot", "-N", "-r", "--default-character-set=utf8mb4"]);
        client.arg(format!("--socket={}", self.folder.path().join("socket").display()));
        match script {
            Some(script) => drop(client.arg("c").stdin(fs::File::open(script)?)),
            None => drop(client.args(["-e", sql]).stdin(Stdio::null())),
        }
        said(client).await?.context("there is no client of MariaDB")
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_holds_the_same_documents_and_edges() -> Result<()> {
    let Some(maria) = MariaDb::start().await? else {
        eprintln!("SKIPPED: MariaDB is not installed (apt-get install mariadb-server), so the SQL is read by nobody");
        return Ok(());
    };
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    export(&cosmos, folder.path(), &[]).await?;
    maria.ask("", Some(&folder.path().join("mysql.sql"))).await?;
    let found = maria.ask("select document from c.activity", None).await?;
    let mut found: Vec<Value> = found.lines().map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
    let mut expected = documents();
    for all in [&mut found, &mut expected] {
        all.sort_by_key(|document| (document["pk"].to_string(), document["id"].to_string()));
    }
    assert_eq!(found, expected);
    assert_eq!(maria.ask("select count(*) from c.edges", None).await?.trim(), "600");
    let formula =
        maria.ask("select count(*) from c.activity where ObjectId like '=HYPERLINK%' and CreationTime >= '2026-11-10'", None).await?;
    assert_eq!(formula.trim(), "60");
    Ok(())
}

/// The Python that `.ci/case` installs programs of PyPI for, or this machine's.
struct Python {
    program: String,
}

impl Python {
    fn find() -> Self {
        Self { program: std::env::var("CASE_PYTHON").unwrap_or_else(|_| "python3".to_owned()) }
    }

    fn has(&self, module: &str) -> bool {
        let mut import = Command::new(&self.program);
        import.args(["-c", &format!("import {module}")]).stderr(Stdio::null());
        import.status().is_ok_and(|done| done.success())
    }

    fn run(&self, program: &str, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-c", program]).arg(folder);
        command
    }
}

/// Programs of PyPI, run where they are installed: DuckDB for Parquet, sqlglot for T-SQL.
#[tokio::test(flavor = "multi_thread")]
async fn programs_of_others_read_parquet_and_the_sql_for_azure() -> Result<()> {
    const SQLGLOT: &str = "
import sys, sqlglot
rows = 0
for batch in open(sys.argv[1] + '/azure.sql', encoding='utf-8').read().split('\\nGO\\n'):
    for statement in sqlglot.parse(batch, read='tsql'):
        if statement is not None and statement.key == 'insert':
            rows += len(statement.expression.expressions)
print(rows)
";
    const DUCKDB: &str = "
import sys, json, duckdb
documents = [json.loads(line) for line in open(sys.argv[1] + '/records.ndjson', encoding='utf-8')]
rows = duckdb.sql(f\"select id, UserId, RecordType, ExternalAccess, CreationTime, Parameters from '{sys.argv[1]}/records.parquet'\").fetchall()
for row, document in zip(rows, documents, strict=True):
    assert row[:4] == tuple(document[name] for name in ('id', 'UserId', 'RecordType', 'ExternalAccess')), row
    assert row[4].isoformat() == document['CreationTime'] and json.loads(row[5]) == document['Parameters'], row
print(duckdb.sql(f\"select count(*) from '{sys.argv[1]}/edges.parquet'\").fetchall()[0][0])
";
    let python = Python::find();
    let (cosmos, folder) = (database().await?, TempDir::new()?);
    export(&cosmos, folder.path(), &[]).await?;
    if python.has("sqlglot") {
        assert_eq!(said(python.run(SQLGLOT, folder.path())).await?.as_deref().map(str::trim), Some("900"));
    } else {
        eprintln!("SKIPPED: python3 has no sqlglot, so the SQL for Azure is read by nobody");
    }
    if !cfg!(feature = "parquet") || !python.has("duckdb") {
        eprintln!("SKIPPED: built without the feature parquet, or python3 has no duckdb, so no Parquet is read");
        return Ok(());
    }
    export(&cosmos, folder.path(), &["--as", "ndjson,parquet"]).await?;
    assert_eq!(said(python.run(DUCKDB, folder.path())).await?.as_deref().map(str::trim), Some("600"));
    Ok(())
}
