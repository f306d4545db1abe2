//! Matched values: what data loss prevention found is nowhere that anything of the collector's writes to.

use activity::{
    case::{
        export::{ExportOptions, export},
        filter::Filter,
        forms::{Form, FormOptions},
    },
    explore::{
        database::DatabaseOptions,
        graph::{GraphOptions, GraphPage},
    },
    geoip::GeoIpOptions,
    screen::Screen,
};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    form::{Choices, holds, record},
    world::{Setting, World},
};

const CANARY: &str = "QQ4111 1111-1111ZZ";

/// Records with the value in all the forms that chance leads to, always the same.
fn records() -> Vec<String> {
    let mut state = 7_u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..60).map(|_| record(&mut Choices(&(0..40).map(|_| byte()).collect::<Vec<_>>()), CANARY)).collect()
}

/// A record with the value in a small field, and so much else that it cannot be stored whole.
fn too_large(id: &str, bytes: usize) -> String {
    json!({"Id": id, "CreationTime": "2026-11-20T10:00:00", "X": {"DetectedValues": [{"Name": CANARY}]}, "Large": "x".repeat(bytes)})
        .to_string()
}

/// Everything that the collector wrote down: documents, queues, state, output.
async fn written(world: &World) -> Vec<(String, String)> {
    let mut written = vec![("stdout and stderr".to_owned(), world.host.output().join("\n"))];
    written.extend(world.documents().await.into_iter().map(|(id, document)| (format!("document {id}"), document.to_string())));
    for name in world.storage.list_blobs(&world.container).await.unwrap() {
        let text = world.storage.read_blob(&world.container, &name).await.unwrap().unwrap_or_default();
        written.push((name, text));
    }
    for queue in [world.queue.clone(), format!("{}-poison", world.queue)] {
        let messages = world.storage.messages(&queue).await.unwrap_or_default();
        written.push((queue, messages.join("\n")));
    }
    written
}

/// What a person makes of the database: every form of a case, and the graph's table.
async fn handed_on(world: &World) -> Vec<(String, String)> {
    let database = DatabaseOptions::of(world.cosmos.endpoint().as_str(), world.cosmos.key());
    let folder = tempfile::tempdir().unwrap();
    let options = ExportOptions {
        out: folder.path().to_owned(),
        forms: FormOptions {
            forms: Form::value_variants().iter().copied().filter(|form| *form != Form::Parquet).collect(),
            geoip: GeoIpOptions { files: Vec::new() },
        },
        filter: Filter::default(),
        pseudonyms: false,
        key_file: None,
        database: database.clone(),
        history: None,
        sign: None,
    };
    export(&options, &Screen::quiet()).await.unwrap();
    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect();
    assert!(files.len() >= 9, "{} files", files.len());
    let graph = GraphPage::start(&GraphOptions::of(database), &Screen::quiet()).await.unwrap();
    for part in ["api/summary", "api/picture", "api/edges.csv"] {
        let answer = reqwest::get(graph.url().join(part).unwrap()).await.unwrap();
        assert!(answer.status().is_success(), "{part}: {}", answer.status());
        files.push((part.to_owned(), answer.text().await.unwrap()));
    }
    files
}

async fn is_nowhere(setting: Setting) -> World {
    let world = setting.start().await;
    let whole = world.publish_records(&records());
    let large = world.publish_records(&[too_large("large", 3_000_000)]);
    let oversized = world.publish_raw(format!("[{}]", too_large("oversized", 17_000_000)), "application/json");
    // Over half a megabyte, so that a part of it is stored before it ends too soon.
    let many = records().into_iter().chain([too_large("first", 400_000), too_large("second", 400_000)]).collect::<Vec<_>>().join(",");
    let cut_off = world.publish_raw(format!("[{many},{{\"DetectedValues\":[\"{CANARY}"), "application/json");
    let texts = [json!({"DetectedValues": [CANARY]}).to_string(), format!("alert {}", records()[0])];
    let no_records = world.publish_raw(json!(texts).to_string(), "application/json");
    let no_json = world.publish_raw(format!("[{{\"DetectedValues\":[\"{CANARY}\"],}}]"), "application/json");
    for blob in [whole, large, oversized, cut_off, no_records, no_json] {
        // As after some returns to the queue: what is no JSON is believed to be what there is.
        for attempt in [0, 3] {
            let mut items: Value = serde_json::from_str(&world.message(std::slice::from_ref(&blob))).unwrap();
            items[0]["attempt"] = json!(attempt);
            assert!(world.store(&items.to_string()).await.0.outcome.is_success());
        }
    }
    let documents = world.documents().await;
    assert!(["large", "oversized", "first"].iter().all(|id| documents.contains_key(*id)), "{:?}", documents.keys());
    for (place, text) in written(&world).await.into_iter().chain(handed_on(&world).await) {
        for part in ["QQ4111", "1111ZZ"] {
            assert!(!holds(&text, part), "{place} holds it: {}", text.chars().take(2000).collect::<String>());
        }
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_matched_value_is_nowhere_whatever_form_it_came_in_and_wherever_its_blob_failed() {
    let world = is_nowhere(Setting::default()).await;
    assert!(world.documents().await.values().any(|document| document["redacted"]["values"].as_u64() > Some(0)));
    assert!(!world.documents().await.values().any(|document| document.to_string().contains("dlp1:")));
}

#[tokio::test(flavor = "multi_thread")]
async fn hashed_a_matched_value_is_nowhere_either() {
    let key = "a key of at least thirty-two random characters";
    let world = is_nowhere(Setting::default().with("DLP_VALUES", "hash").with("DLP_HASH_KEY", key)).await;
    assert!(world.documents().await.values().any(|document| document.to_string().contains("dlp1:")));
    assert!(!written(&world).await.iter().any(|(_, text)| text.contains(key)));
}
