//! `activity person` as a person types it. That what was erased stays erased is told in the handler's stories.

use std::process::{Command, Output, Stdio};

use activity::explore::database::{Credential, connect};
use anyhow::Result;
use azure_core::credentials::Secret;
use serde_json::{Value, json};
use standins::cosmos::{Cosmos, CosmosOptions};

/// Two that she made, one that names her, one by her OneDrive's address alone, one by a subject alone, and one that is not about her.
async fn database() -> Result<Cosmos> {
    let cosmos = Cosmos::start(CosmosOptions { partitions: 4, ..CosmosOptions::default() }).await?;
    let key = Credential::Key(Secret::new(cosmos.key().to_owned()));
    let container = connect(cosmos.endpoint().as_str(), key, "office365", "activity").await?;
    let edge = |to: &str| json!([{"from": "alex@contoso.example", "fromType": "user", "to": to, "toType": "user", "label": "x"}]);
    let onedrive = "https://contoso-my.sharepoint.com/personal/megan_contoso_example/a.docx";
    for (id, user, edges, subject) in [
        ("made-1", "Megan@contoso.example", json!([]), ""),
        ("made-2", "megan@contoso.example", edge("megan@contoso.example"), ""),
        ("named", "alex@contoso.example", edge("megan@contoso.example"), ""),
        ("onedrive", "alex@contoso.example", edge(onedrive), ""),
        ("subject", "alex@contoso.example", json!([]), "for megan@contoso.example"),
        ("other", "alex@contoso.example", edge("sam@contoso.example"), ""),
    ] {
        let document = json!({"id": id, "pk": "2026-11-20-0", "CreationTime": "2026-11-20T10:00:00", "Workload": "Exchange", "UserId": user,
            "edges": edges, "Subject": subject});
        container.create_item("2026-11-20-0", id, &document, None).await?;
    }
    Ok(cosmos)
}

async fn person(cosmos: &Cosmos, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_activity"));
    command.env_clear().env("COSMOS_KEY", cosmos.key()).stdin(Stdio::null());
    command.args(["person", "megan@contoso.example", "--endpoint", cosmos.endpoint().as_str()]).args(more);
    Ok(tokio::task::spawn_blocking(move || command.output()).await??)
}

async fn ids(cosmos: &Cosmos, more: &[&str]) -> Result<Vec<String>> {
    let printed = person(cosmos, &[&["--ndjson"], more].concat()).await?;
    let lines = String::from_utf8(printed.stdout)?;
    lines.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["id"].as_str().unwrap_or_default().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_persons_documents_are_those_that_the_person_made_and_those_that_name_the_person() -> Result<()> {
    let cosmos = database().await?;
    assert_eq!(ids(&cosmos, &[]).await?, ["made-1", "made-2", "named", "onedrive"]);
    assert_eq!(ids(&cosmos, &["--records", "made"]).await?, ["made-1", "made-2"]);
    assert_eq!(ids(&cosmos, &["--records", "named"]).await?, ["named", "onedrive"]);
    assert_eq!(ids(&cosmos, &["--anywhere"]).await?, ["made-1", "made-2", "named", "onedrive", "subject"]);
    let told = String::from_utf8(person(&cosmos, &[]).await?.stdout)?;
    let words: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(words.contains(&vec!["total", "4", "2", "2", "2026-11-20T10:00:00", "2026-11-20T10:00:00"]), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_made_is_found_however_a_service_writes_the_account() -> Result<()> {
    let cosmos = database().await?;
    let key = Credential::Key(Secret::new(cosmos.key().to_owned()));
    let container = connect(cosmos.endpoint().as_str(), key, "office365", "activity").await?;
    for (id, user) in [
        ("claim", "i:0#.f|membership|Megan@contoso.example"),
        ("claimed-guest", "i:0#.f|membership|megan_contoso.example#ext#@fabrikam.onmicrosoft.com"),
        ("guest", "megan_contoso.example#EXT#@fabrikam.onmicrosoft.com"),
        ("link", "urn:spo:guest#megan@contoso.example"),
        ("near", "omegan@contoso.example"),
        ("near-guest", "omegan_contoso.example#EXT#@fabrikam.onmicrosoft.com"),
    ] {
        let document =
            json!({"id": id, "pk": "2026-11-20-0", "CreationTime": "2026-11-20T10:00:00", "Workload": "SharePoint", "UserId": user});
        container.create_item("2026-11-20-0", id, &document, None).await?;
    }
    assert_eq!(ids(&cosmos, &["--records", "made"]).await?, ["claim", "claimed-guest", "guest", "link", "made-1", "made-2"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_where_it_could_not_be_kept_from_coming_again() -> Result<()> {
    let cosmos = database().await?;
    let refused = person(&cosmos, &["--erase", "--yes"]).await?;
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr)?;
    assert!(said.contains("AzureWebJobsStorage"), "{said}");
    assert_eq!(ids(&cosmos, &[]).await?.len(), 4);
    Ok(())
}
