//! The graph page as a person has it: served over a database, asked over HTTP, and looked at in a real browser, whose part
//! of the story is told in `activity/page/test`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use activity::collect::run::collect;
use activity::collect::stack::{Source, StackOptions};
use activity::explore::database::{Credential, DatabaseOptions, connect};
use activity::explore::graph::{GraphOptions, GraphPage};
use activity::screen::Screen;
use anyhow::{Context as _, Result, ensure};
use azure_core::credentials::Secret;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use standins::cosmos::{Cosmos, CosmosOptions};
use standins::npm::Package;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// What drives the browser, and checks types.
const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/page/test");
/// All of a browser's stories, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(480);
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A made-up record with its edges, each `[from type, from, to type, to]`.
fn document(id: &str, at: &str, workload: &str, user: &str, operation: &str, edges: &[[&str; 4]]) -> Value {
    let edge = |[from_type, from, to_type, to]: &[&str; 4]| json!({ "from": from, "fromType": from_type, "to": to, "toType": to_type, "label": operation });
    json!({
        "id": id, "pk": format!("{}-0", &at[..10]), "ttl": 86_400, "CreationTime": at, "Workload": workload, "UserId": user, "Operation": operation,
        "edges": edges.iter().map(edge).collect::<Vec<_>>(),
    })
}

/// Somebody signs in, and reads a file.
fn working_day(number: usize) -> [Value; 2] {
    let team = ["finance", "sales", "legal", "board"][number % 4];
    let (user, site) = (format!("user{number:02}@contoso.example"), format!("https://contoso.example/sites/{team}"));
    let (ip, file) = (format!("192.0.2.{}", number % 256), format!("{site}/document {number}.docx"));
    let at = format!("2026-11-20T{:02}:{:02}:00", number / 60 % 2, number % 60);
    let app = ["Microsoft Teams", "Microsoft Office", "Azure Portal", "Microsoft Graph"][number % 4];
    let sign_in = [["user", &user, "ip", &ip], ["user", &user, "app", app]];
    let read = [["user", &user, "file", &file], ["user", &user, "site", &site]];
    [
        document(&format!("in-{number}"), &at, "AzureActiveDirectory", &user, "UserLoggedIn", &sign_in),
        document(&format!("read-{number}"), &at, "SharePoint", &user, "FileAccessed", &read),
    ]
}

/// An ordinary morning, and Megan's account in other hands.
fn attack() -> Vec<Value> {
    let (megan, ip) = ("megan@contoso.example", "203.0.113.66");
    let mut documents: Vec<Value> = (0..30).flat_map(working_day).collect();
    documents.extend((0..31).map(|minute| {
        let at = format!("2026-11-20T02:{minute:02}:00");
        document(&format!("megan-{minute}"), &at, "AzureActiveDirectory", megan, "UserLoggedIn", &[["user", megan, "ip", ip]])
    }));
    let mut rule = document(
        "rule",
        "2026-11-20T03:00:00",
        "Exchange",
        megan,
        "New-InboxRule",
        &[["mailbox", megan, "address", "mallory@evil.example"]],
    );
    rule["Name"] = "<img src=x onerror=document.title='broken'>".into();
    rule["findings"] = json!([
        { "rule": "rule-1", "title": "Mail goes <outside>", "level": "high" }, { "rule": "rule-2", "title": "Rule made", "level": "low" }
    ]);
    let payroll = "https://contoso.example/sites/finance/Payroll.csv";
    let formula = "=HYPERLINK(\"http://evil.example\")";
    documents.extend(wrong_passwords());
    documents.extend(moved_session());
    documents.extend([
        rule,
        document("load", "2026-11-20T03:05:00", "SharePoint", megan, "FileDownloaded", &[["user", megan, "file", payroll]]),
        document("share", "2026-11-20T03:10:00", "SharePoint", megan, "SharingSet", &[["user", megan, "guest", formula]]),
        document(
            "spoof",
            "2026-11-20T00:30:00",
            "SharePoint",
            "megan@contoso-example.com",
            "FileDownloaded",
            &[["user", "megan@contoso-example.com", "file", "https://contoso.example/sites/finance/a\u{202e}vsc.exe"]],
        ),
        document(
            "fail",
            "2026-11-20T03:15:00",
            "AzureActiveDirectory",
            "user00@contoso.example",
            "UserLoginFailed",
            &[["user", "user00@contoso.example", "ip", ip]],
        ),
    ]);
    documents
}

/// Twenty-four passwords of one account are tried within minutes: what only rules over time see.
fn wrong_passwords() -> impl Iterator<Item = Value> {
    let user = "target@contoso.example";
    (0..24).map(move |number| {
        let at = format!("2026-11-20T01:10:{number:02}");
        let mut failed = document(
            &format!("failed-{number}"),
            &at,
            "AzureActiveDirectory",
            user,
            "UserLoginFailed",
            &[["user", user, "ip", "203.0.113.9"]],
        );
        failed["ErrorNumber"] = "50126".into();
        failed
    })
}

/// One sitting that goes on at another address, and one that does not.
fn moved_session() -> impl Iterator<Item = Value> {
    let user = "user01@contoso.example";
    [("moved", "192.0.2.1"), ("moved", "198.51.100.77"), ("stayed", "192.0.2.1")].into_iter().enumerate().map(
        move |(number, (session, ip))| {
            let edges = [["user", user, "session", session], ["session", session, "ip", ip]];
            document(&format!("session-{number}"), &format!("2026-11-20T00:0{number}:30"), "SharePoint", user, "FileAccessed", &edges)
        },
    )
}

fn graph_of(endpoint: &str, key: &str) -> GraphOptions {
    GraphOptions::of(DatabaseOptions::of(endpoint, key))
}

/// A database that holds these, and the page over it.
async fn graph_over(documents: Vec<Value>) -> Result<(Cosmos, GraphPage)> {
    let cosmos = Cosmos::start(CosmosOptions { partitions: 4, ..CosmosOptions::default() }).await?;
    let container =
        connect(cosmos.endpoint().as_str(), Credential::Key(Secret::new(cosmos.key().to_owned())), "office365", "activity").await?;
    for document in documents {
        let (pk, id) = (document["pk"].as_str().unwrap_or_default().to_owned(), document["id"].as_str().unwrap_or_default().to_owned());
        container.create_item(pk, &id, &document, None).await?;
    }
    let graph = GraphPage::start(&graph_of(cosmos.endpoint().as_str(), cosmos.key()), &Screen::quiet()).await?;
    Ok((cosmos, graph))
}

async fn answer(request: RequestBuilder) -> Result<Value> {
    Ok(serde_json::from_str(&request.send().await?.error_for_status()?.text().await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn is_served_to_who_knows_its_address_and_to_no_page_of_another_name() -> Result<()> {
    let (_cosmos, graph) = graph_over(attack()).await?;
    let client = reqwest::Client::new();
    let page = client.get(graph.url().clone()).send().await?;
    assert_eq!(page.status(), StatusCode::OK);
    let policy = page.headers()["content-security-policy"].to_str()?.to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(graph.url().as_str().starts_with("http://127.0.0.1:"), "{}", graph.url());

    let summary = graph.url().join("api/summary")?;
    let body = answer(client.get(summary.clone())).await?;
    assert_eq!((&body["records"], &body["edges"]), (&json!(123), &json!(186)), "{body}");

    let renamed = client.get(summary.clone()).header("host", "evil.example").send().await?;
    assert_eq!(renamed.status(), StatusCode::FORBIDDEN);
    let foreign = client.post(graph.url().join("api/reload")?).header("origin", "http://evil.example").send().await?;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let guessed = client.get(graph.url().join("/api/summary")?).send().await?;
    assert_eq!(guessed.status(), StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_into_the_database_is_there_after_a_reload() -> Result<()> {
    let (cosmos, graph) = graph_over(attack()).await?;
    let container =
        connect(cosmos.endpoint().as_str(), Credential::Key(Secret::new(cosmos.key().to_owned())), "office365", "activity").await?;
    let late = document("late", "2026-11-20T05:00:00", "Exchange", "a", "Send", &[["user", "a", "address", "b@evil.example"]]);
    container.create_item("2026-11-20-0", "late", &late, None).await?;
    let client = reqwest::Client::new();
    let found = async || answer(client.get(graph.url().join("api/search?q=b@evil")?)).await;
    assert_eq!(found().await?, json!([]));
    let read = client.post(graph.url().join("api/reload")?).header("origin", graph.url().origin().ascii_serialization());
    assert_eq!(answer(read).await?["records"], 124);
    assert_eq!(found().await?, json!([{ "key": "address:b@evil.example", "records": 1 }]));
    let gone = client.get(graph.url().join("api/record?pk=2026-11-20-0&id=none")?).send().await?;
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rules_found_is_one_line_for_each_account_and_rule_with_those_over_time() -> Result<()> {
    let (_cosmos, graph) = graph_over(attack()).await?;
    let findings = answer(reqwest::Client::new().get(graph.url().join("api/findings")?)).await?;
    let lines: Vec<_> =
        findings.as_array().context("a list")?.iter().map(|line| (&line["account"], &line["title"], &line["level"])).collect();
    assert_eq!(
        json!(lines),
        json!([
            ["megan@contoso.example", "Mail goes <outside>", "high"],
            ["megan@contoso.example", "Rule made", "low"],
            ["target@contoso.example", "Many wrong passwords for one account", "medium"],
        ])
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_the_command_show_the_same_findings() -> Result<()> {
    let (cosmos, graph) = graph_over(attack()).await?;
    let printed = Command::new(env!("CARGO_BIN_EXE_activity"))
        .args(["findings", "--json", "--endpoint", cosmos.endpoint().as_str()])
        .env("COSMOS_KEY", cosmos.key())
        .stderr(Stdio::null())
        .output()
        .await?;
    let same = ["rule", "title", "level", "account"];
    let told = |list: &Value, count: &str| {
        let line = |row: &Value| json!([same.map(|name| row[name].clone()), row[count]]).to_string();
        list.as_array().into_iter().flatten().map(line).collect::<BTreeSet<_>>()
    };
    let rows = told(&serde_json::from_slice(&printed.stdout)?, "count");
    let lines = told(&answer(reqwest::Client::new().get(graph.url().join("api/findings")?)).await?, "records");
    assert!(rows.len() > 2, "{rows:?}");
    assert_eq!(lines, rows);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_read_is_told_in_one_line() -> Result<()> {
    let error = GraphPage::start(&graph_of("http://127.0.0.1:1/", "a2V5"), &Screen::quiet()).await.err().context("a graph of nothing")?;
    assert!(format!("{error:#}").contains("http://127.0.0.1:1/"), "{error:#}");
    let cosmos = Cosmos::start(CosmosOptions::default()).await?;
    let error = GraphPage::start(&graph_of(cosmos.endpoint().as_str(), "d3Jvbmc="), &Screen::quiet())
        .await
        .err()
        .context("a wrong key is taken")?;
    assert!(format!("{error:#}").contains("are you allowed"), "{error:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_does_in_a_browser_what_it_says() -> Result<()> {
    let Some(chromium) = browser() else { return Ok(()) };
    let (_cosmos, graph) = graph_over(attack()).await?;
    let (_crowded, crowd) = graph_over((0..600).flat_map(working_day).collect()).await?;
    let urls = [("GRAPH_URL", graph.url().as_str()), ("CROWD_URL", crowd.url().as_str())];
    look("page.test.mjs", &chromium, &urls).await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_records_show_who_touches_what_from_where() -> Result<()> {
    let Some(chromium) = browser() else { return Ok(()) };
    let records = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/audit-records.ndjson");
    if !records.exists() {
        println!("skipped: {} is missing", records.display());
        return Ok(());
    }
    let options = StackOptions { source: Source::Playback { records, seed: 1 }, state: None, cosmos: CosmosOptions::default() };
    let account = collect(options, None, &Screen::quiet()).await?;
    let cosmos = account.stack.cosmos.as_ref().context("no database")?;
    let graph = GraphPage::start(&graph_of(cosmos.endpoint().as_str(), cosmos.key()), &Screen::quiet()).await?;
    // In these records two sittings go on at another address.
    let several = answer(reqwest::Client::new().get(graph.url().join("api/summary")?)).await?;
    assert_eq!(several["sessions"], 2, "{several}");
    look("real.test.mjs", &chromium, &[("GRAPH_URL", graph.url().as_str())]).await
}

#[tokio::test]
async fn the_page_keeps_to_its_types() -> Result<()> {
    let (_cosmos, _graph) = graph_over(Vec::new()).await?; // installs the libraries whose types it uses
    driver().await?;
    let mut types = Command::new("node");
    types.args(["test/node_modules/typescript/bin/tsc", "-p", "."]).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("page"));
    passes(types).await
}

/// `None`, and a line that says so, where there is none: `.ci/run` installs one.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).flat_map(|folder| BROWSERS.map(|name| folder.join(name))).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: no chromium is installed, so nobody looked at the page");
    }
    found
}

async fn driver() -> Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let driver = Package { folder: DRIVER.into(), what: "what tests the graph page,", size: "about 50 MB" };
    INSTALLED.get_or_try_init(|| driver.install(|_| {})).await.copied()
}

/// Runs the browser's part of a story.
async fn look(story: &str, chromium: &Path, urls: &[(&str, &str)]) -> Result<()> {
    driver().await?;
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec", story]).current_dir(DRIVER).env("CHROMIUM", chromium).envs(urls.iter().copied());
    passes(node).await
}

async fn passes(mut command: Command) -> Result<()> {
    let output = timeout(LIMIT, command.stdin(Stdio::null()).kill_on_drop(true).output()).await.context("it does not end")??;
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.success(), "{told}");
    Ok(())
}
