//! The memory of an export does not grow with the database: measured as the system counts it, against a database that makes its pages as
//! it is asked for them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use activity::case::manifest::Manifest;
use activity::explore::database::{Credential, connect};
use anyhow::{Context as _, Result, ensure};
use azure_core::credentials::Secret;
use serde_json::json;
use standins::cosmos::{Cosmos, CosmosOptions};
use tempfile::TempDir;

const PARTITIONS: u64 = 8;
const MAX_KIBIBYTES: u64 = 128 * 1024;

/// The most memory that an export of so many documents had at a time, in KiB.
async fn peak(documents: u64, forms: &str) -> Result<u64> {
    let options = CosmosOptions { makes: Some(documents / PARTITIONS), partitions: 4, ..CosmosOptions::default() };
    let (cosmos, folder) = (Cosmos::start(options).await?, TempDir::new()?);
    let key = Credential::Key(Secret::new(cosmos.key().to_owned()));
    let container = connect(cosmos.endpoint().as_str(), key, "office365", "activity").await?;
    for partition in 0..PARTITIONS {
        let pk = format!("2026-11-2{}-{}", partition / 4, partition % 4);
        container.create_item(pk.clone(), "there", &json!({"id": "there", "pk": pk}), None).await?;
    }
    let began = Instant::now();
    let mut export = Command::new(env!("CARGO_BIN_EXE_activity"))
        .env_clear()
        .env("COSMOS_KEY", cosmos.key())
        .args(["export", "--endpoint", cosmos.endpoint().as_str(), "--as", forms, "--out"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let status = format!("/proc/{}/status", export.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = export.try_wait()? {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let most = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(most.unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    ensure!(ended.success(), "the export failed");
    let manifest = Manifest::read(folder.path())?;
    let rows = manifest.by_name().get("records.ndjson").context("records.ndjson")?.rows;
    ensure!(rows == documents, "{rows} of {documents} documents");
    eprintln!("{documents} documents as {forms}: {peak} KiB at most, {:.1} s", began.elapsed().as_secs_f64());
    Ok(peak)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_an_export_does_not_grow_with_the_database() -> Result<()> {
    let (few, many) = (peak(2_000, "ndjson,csv").await?, peak(16_000, "ndjson,csv").await?);
    assert!(many < MAX_KIBIBYTES, "{many} KiB");
    assert!(many < few + 16 * 1024, "{few} KiB of 2,000 documents, {many} KiB of 16,000");
    Ok(())
}

/// `cargo test --release -p activity --test memory -- --ignored --nocapture`
#[ignore = "takes minutes; it is for a release build"]
#[tokio::test(flavor = "multi_thread")]
async fn a_million_documents_take_at_most_128_mib() -> Result<()> {
    assert!(peak(1_000_000, "ndjson,csv").await? < MAX_KIBIBYTES);
    Ok(())
}

/// All forms that a plain build has.
#[ignore = "takes a minute; it is for a release build"]
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_documents_in_all_forms_take_at_most_128_mib() -> Result<()> {
    assert!(peak(100_000, "ndjson,csv,ecs,timesketch,opengraph,sql,timeline").await? < MAX_KIBIBYTES);
    Ok(())
}
