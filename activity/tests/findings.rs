//! What to look at first, as a person or a scheduled job asks for it: rows by rule and account, the exit code, rules over time, and what an
//! account never did before.

use std::process::{Command, Output, Stdio};

use activity::explore::database::{Credential, connect};
use anyhow::{Context as _, Result, ensure};
use azure_core::credentials::Secret;
use serde_json::{Value, json};
use standins::azurite::{Azurite, AzuriteOptions, Storage};
use standins::cosmos::{Cosmos, CosmosOptions};

/// Addresses that MaxMind's test files know: Sweden, Bredband2; and the United Kingdom, of a network that they do not name.
const SWEDEN: &str = "89.160.20.112";
const UNITED_KINGDOM: &str = "81.2.69.142";

fn document(id: &str, time: &str, user: &str, address: &str, fields: Value) -> Value {
    let mut document = json!({
        "id": id, "pk": format!("{}-0", &time[..10]), "Id": id, "CreationTime": time, "UserId": user, "UserType": 0, "ClientIP": address,
        "Workload": "AzureActiveDirectory", "RecordType": 15,
        "edges": [{"from": user.to_lowercase(), "fromType": "user", "to": address, "toType": "ip", "label": "x"}],
    });
    document.as_object_mut().into_iter().for_each(|own| own.extend(fields.as_object().cloned().unwrap_or_default()));
    document
}

fn sign_in(id: &str, time: &str, user: &str, address: &str, application: &str) -> Value {
    document(id, time, user, address, json!({"Operation": "UserLoggedIn", "ApplicationId": application}))
}

/// 24 wrong passwords over midnight, a mailbox that forwards (stored before the rule was known), a finding that was stored, and daily work.
fn documents() -> Vec<Value> {
    let mut documents: Vec<_> = (0..24)
        .map(|number| {
            let time = if number < 12 { format!("2026-11-20T23:59:{:02}", number * 5) } else { format!("2026-11-21T00:00:{number:02}") };
            let fields = json!({"Operation": "UserLoginFailed", "ErrorNumber": "50126", "LogonError": "InvalidUserNameOrPassword"});
            document(&format!("wrong-{number}"), &time, "Megan@contoso.example", "203.0.113.9", fields)
        })
        .collect();
    let forwards = json!({
        "Workload": "Exchange", "RecordType": 1, "Operation": "Set-Mailbox", "ResultStatus": "True",
        "Parameters": [{"Name": "Identity", "Value": "adele"}, {"Name": "ForwardingSmtpAddress", "Value": "smtp:adele@gmail.com"}],
    });
    documents.push(document("forwards", "2026-11-21T09:00:00", "adele@contoso.example", "203.0.113.10", forwards));
    let stored = json!({"Operation": "X", "findings": [{"rule": "own-1", "title": "Seen before", "level": "low"}]});
    for (number, time) in ["2026-11-21T10:00:00", "2026-11-21T08:00:00"].into_iter().enumerate() {
        documents.push(document(&format!("stored-{number}"), time, "lee@contoso.example", "203.0.113.11", stored.clone()));
    }
    for (day, address, application) in [(10, SWEDEN, "mail"), (19, SWEDEN, "mail"), (21, UNITED_KINGDOM, "copier")] {
        documents.push(sign_in(&format!("in-{day}"), &format!("2026-11-{day}T12:00:00"), "lynne@contoso.example", address, application));
    }
    documents
}

async fn database() -> Result<Cosmos> {
    let cosmos = Cosmos::start(CosmosOptions { partitions: 2, ..CosmosOptions::default() }).await?;
    let credential = Credential::Key(Secret::new(cosmos.key().to_owned()));
    let container = connect(cosmos.endpoint().as_str(), credential, "office365", "activity").await?;
    for document in documents() {
        let (pk, id) = (document["pk"].as_str().unwrap_or_default().to_owned(), document["id"].as_str().unwrap_or_default().to_owned());
        container.create_item(pk, &id, &document, None).await?;
    }
    Ok(cosmos)
}

/// Runs the command in a thread of its own, so that the database goes on.
async fn findings(cosmos: &Cosmos, arguments: &[&str]) -> Result<Output> {
    findings_with(cosmos, &[], arguments).await
}

async fn findings_with(cosmos: &Cosmos, settings: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).stdin(Stdio::null());
    command
        .envs(settings.iter().copied())
        .env("COSMOS_KEY", cosmos.key())
        .args(["findings", "--endpoint", cosmos.endpoint().as_str()])
        .args(arguments);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

async fn rows(cosmos: &Cosmos, arguments: &[&str]) -> Result<Vec<Value>> {
    let output = findings(cosmos, &[&["--json"], arguments].concat()).await?;
    let code = output.status.code();
    ensure!(matches!(code, Some(0 | 3)), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn row<'r>(rows: &'r [Value], title: &str) -> Result<&'r Value> {
    rows.iter().find(|row| row["title"] == title).with_context(|| format!("no {title:?}: {rows:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn many_wrong_passwords_are_one_row_even_over_midnight() -> Result<()> {
    let cosmos = database().await?;
    let rows = rows(&cosmos, &[]).await?;
    let guessed = row(&rows, "Many wrong passwords for one account")?;
    assert_eq!(rows.iter().filter(|row| row["account"] == "megan@contoso.example").count(), 1, "{rows:#?}");
    assert_eq!(
        (&guessed["account"], &guessed["count"], &guessed["first"], &guessed["last"], &guessed["workload"]),
        (
            &json!("megan@contoso.example"),
            &json!(24),
            &json!("2026-11-20T23:59:00Z"),
            &json!("2026-11-21T00:00:23Z"),
            &json!("AzureActiveDirectory")
        )
    );
    let stored = row(&rows, "Seen before")?;
    assert_eq!(
        (&stored["rule"], &stored["level"], &stored["count"], &stored["first"], &stored["document"]),
        (&json!("own-1"), &json!("low"), &json!(2), &json!("2026-11-21T08:00:00Z"), &json!({"pk": "2026-11-21-0", "id": "stored-0"}))
    );
    let levels: Vec<_> = rows.iter().filter_map(|row| row["level"].as_str()?.parse::<handler::findings::Level>().ok()).collect();
    assert!(levels.len() == rows.len() && levels.is_sorted_by(|a, b| a >= b), "{levels:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_judged_anew_if_asked_and_the_exit_code_tells_a_scheduled_job() -> Result<()> {
    let cosmos = database().await?;
    let code = async |arguments: &[&str]| anyhow::Ok(findings(&cosmos, arguments).await?.status.code());
    assert_eq!(code(&[]).await?, Some(0), "stored before the rule was known");
    assert_eq!(code(&["--again"]).await?, Some(3));
    assert_eq!(code(&["--again", "--fail-on", "critical"]).await?, Some(0));
    assert_eq!(code(&["--fail-on", "medium"]).await?, Some(3));
    assert_eq!(code(&["--to", "2026-11-20", "--fail-on", "informational"]).await?, Some(0));
    assert_eq!(code(&["--fail-on", "severe"]).await?, Some(2));

    let again = rows(&cosmos, &["--again"]).await?;
    assert_eq!(row(&again, "Mail of a mailbox forwarded to a free mail service")?["account"], "adele@contoso.example");
    assert!(row(&again, "Seen before").is_err(), "no rule of today says it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_for_people_and_lines_for_machines_say_the_same() -> Result<()> {
    let cosmos = database().await?;
    let table = String::from_utf8(findings(&cosmos, &["--again"]).await?.stdout)?;
    let lines: Vec<_> = table.lines().skip_while(|line| !line.starts_with("level")).collect();
    assert!(lines[0].split_whitespace().eq(["level", "finding", "account", "count", "first", "last", "workload"]), "{table}");
    assert!(lines[1].starts_with("high") && lines[1].contains("adele@contoso.example"), "{table}");

    let output = findings(&cosmos, &["--again", "--ndjson"]).await?;
    let text = String::from_utf8(output.stdout)?;
    let objects: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    assert_eq!(objects, rows(&cosmos, &["--again"]).await?);
    assert_eq!(objects.len(), lines.len() - 1, "{table}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_account_never_did_before_is_told_where_there_is_a_before() -> Result<()> {
    let cosmos = database().await?;
    let files = ["City", "ASN"].map(|kind| format!("{}/tests/data/GeoLite2-{kind}-Test.mmdb", env!("CARGO_MANIFEST_DIR")));
    let geoip = ["--geoip", files[0].as_str(), "--geoip", files[1].as_str()];
    let first = |rows: &[Value]| -> Vec<(String, String, String)> {
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let firsts = rows.iter().filter(|row| row["value"].is_string());
        firsts.map(|row| (text(row, "account"), text(row, "title"), text(row, "value"))).collect()
    };
    let lynne = |title: &str, value: &str| ("lynne@contoso.example".to_owned(), title.to_owned(), value.to_owned());

    let found = rows(&cosmos, &[&["--from", "2026-11-20"], &geoip[..]].concat()).await?;
    assert_eq!(
        first(&found),
        [lynne("First time from this country", "GB"), lynne("First time with this application", "copier")],
        "{found:#?}"
    );
    assert_eq!(row(&found, "First time from this country")?["level"], "medium");
    assert_eq!(first(&rows(&cosmos, &["--from", "2026-11-20"]).await?), [lynne("First time with this application", "copier")]);
    assert_eq!(first(&rows(&cosmos, &geoip).await?), [], "without --from there is no before");
    assert_eq!(row(&found, "Many wrong passwords for one account")?["count"], 24);

    // A rule over time goes back behind the time that is asked for; what was over by then is not told.
    let late = rows(&cosmos, &["--from", "2026-11-21"]).await?;
    assert_eq!(row(&late, "Many wrong passwords for one account")?["count"], 24);
    assert!(row(&rows(&cosmos, &["--from", "2026-11-22"]).await?, "Many wrong passwords for one account").is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_silences_of_the_state_container_are_followed() -> Result<()> {
    let (cosmos, azurite) = (database().await?, Azurite::start(AzuriteOptions::default()).await?);
    let storage = Storage::new(&azurite.connection_string())?;
    storage.create_container("activity-state").await?;
    let own = "title: Adele forwards\nid: own-2\nlogsource: {product: m365}\ndetection:\n  a: {Operation: Set-Mailbox, UserId|startswith: adele}\n  condition: a\nlevel: critical\n";
    storage.write_blob("activity-state", "rules/own.yml", own).await?;
    let silence = |rule: &str, account: &str| {
        format!("[[silence]]\nrule = \"{rule}\"\naccount = \"{account}\"\nreason = \"known\"\nuntil = 2099-01-01\n")
    };
    let known = [silence("Many wrong passwords for one account", "megan@contoso.example"), silence("Seen before", "lee@contoso.example")];
    storage.write_blob("activity-state", "rules/silence.toml", &known.concat()).await?;

    let settings = azurite.connection_string();
    let asked = async |arguments: &[&str]| {
        let output = findings_with(&cosmos, &[("AzureWebJobsStorage", settings.as_str())], arguments).await?;
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        anyhow::Ok((rows, String::from_utf8(output.stderr)?))
    };
    let (again, said) = asked(&["--json", "--again"]).await?;
    assert_eq!((row(&again, "Adele forwards")?["level"].as_str(), said.as_str()), (Some("critical"), ""));
    assert!(row(&again, "Many wrong passwords for one account").is_err(), "{again:#?}");
    let (stored, _) = asked(&["--json"]).await?;
    assert!(row(&stored, "Seen before").is_err() && row(&stored, "Adele forwards").is_err(), "{stored:#?}");
    azurite.stop().await;

    // Where it cannot be read, that is told, and the rest goes on.
    let (without, said) = asked(&["--json"]).await?;
    assert!(row(&without, "Seen before").is_ok() && said.lines().count() == 1 && said.starts_with("note: "), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_none_of_maxminds_is_named() -> Result<()> {
    let cosmos = database().await?;
    let output = findings(&cosmos, &["--geoip", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("Cargo.toml is no MaxMind file"), "{said}");
    Ok(())
}

#[test]
fn the_help_names_the_exit_codes() -> Result<()> {
    let help = Command::new(env!("CARGO_BIN_EXE_activity")).args(["findings", "--help"]).env_clear().output()?;
    insta::assert_snapshot!(String::from_utf8(help.stdout)?);
    Ok(())
}
