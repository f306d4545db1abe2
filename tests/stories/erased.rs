//! Erasure on request: a person's documents go, and the same records are not stored again, however they come.

use activity::{
    explore::{
        database::{Credential, DatabaseOptions, connect},
        person::{Erased, PersonOptions, erase_from},
    },
    screen::Screen,
};
use azure_core::{credentials::Secret, http::RetryOptions};
use handler::{azure::Connection, config::Config, state::State};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use standins::cosmos::{CosmosFault, CosmosFaultKind};

use crate::wire::{At, What};
use crate::world::{Setting, World, record, record_with, world};

fn of_another(id: &str) -> String {
    record_with(id, json!({"UserId": "alex@contoso.example"}))
}

/// `activity person megan@contoso.example --erase --yes`, in this world.
async fn erase(world: &World) -> anyhow::Result<Erased> {
    let (endpoint, key) = (world.cosmos.endpoint(), world.cosmos.key());
    let container = connect(endpoint.as_str(), Credential::Key(Secret::new(key.to_owned())), "office365", "activity").await?;
    let config = Config::from_vars(|name| world.settings.get(name).cloned())?;
    let state = State::new(&config, &Connection::new(&config, RetryOptions::none())?)?;
    let options = PersonOptions::erasing("Megan@Contoso.example", DatabaseOptions::of(endpoint.as_str(), key));
    Ok(erase_from(&container, &state, &options, &Screen::quiet()).await?.expect("nobody was asked"))
}

async fn erased_lines(world: &World, name: &str) -> Vec<Value> {
    let text = world.storage.read_blob(&world.container, name).await.unwrap().unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn counts(line: &Value) -> [u64; 4] {
    ["records", "documents", "duplicates", "erased"].map(|name| line[name].as_u64().unwrap_or_default())
}

/// Taken out: were repeats looked up before what was erased, the running handler would call the record a duplicate.
#[tokio::test]
async fn what_was_erased_is_not_stored_again_by_the_handler_that_stored_it_nor_by_another() {
    let world = world().await;
    let records: Vec<_> = (0..5).map(|number| record(&format!("hers-{number}"))).chain([of_another("his")]).collect();
    assert_eq!(counts(&world.store_blobs(&[world.publish_records(&records)]).await), [6, 6, 0, 0]);

    assert_eq!(erase(&world).await.unwrap(), Erased { documents: 5 });
    assert_eq!(world.ids().await, ["his"]);

    // In another blob, with something that is new.
    let again: Vec<_> = records.iter().cloned().chain([record("hers-new")]).collect();
    let line = world.store_blobs(&[world.publish_records(&again)]).await;
    assert_eq!(counts(&line), [7, 1, 1, 5]);
    assert_eq!(world.ids().await, ["hers-new", "his"], "an erasure is of records, and not of what comes to be known later");

    world.host.restart().await;
    assert_eq!(counts(&world.store_blobs(&[world.publish_records(&again)]).await), [7, 0, 2, 5]);
    let stored = world.journalled("stored").await;
    assert_eq!(stored.iter().map(counts).collect::<Vec<_>>(), [[6, 6, 0, 0], [7, 1, 1, 5], [7, 0, 2, 5]]);
    let status = world.type_command(&["status"]).await;
    assert!(status.stdout.contains("10 records were not stored again, since they were erased"), "{status:?}");
}

#[tokio::test]
async fn an_erasure_is_on_record_and_names_nobody() {
    let world = world().await;
    world.store_blobs(&[world.publish_records(&[record("hers"), of_another("his")])]).await;
    erase(&world).await.unwrap();
    let erasures = erased_lines(&world, "erasures.ndjson").await;
    let events: Vec<_> = erasures.iter().map(|line| (&line["event"], &line["documents"], &line["erasure"])).collect();
    assert_eq!(events, [(&json!("begun"), &json!(1), &erasures[0]["erasure"]), (&json!("done"), &json!(1), &erasures[0]["erasure"])]);
    assert_eq!(erased_lines(&world, "erased.ndjson").await, [json!({"sha256": format!("{:x}", Sha256::digest("hers"))})]);
    for name in world.storage.list_blobs(&world.container).await.unwrap() {
        let text = world.storage.read_blob(&world.container, &name).await.unwrap().unwrap_or_default().to_lowercase();
        assert!(!text.contains("megan") && !text.contains("hers"), "{name}: {text}");
    }
    assert_eq!(erase(&world).await.unwrap(), Erased { documents: 0 });
}

/// Ended after the ids were noted, before the first document was removed.
#[tokio::test]
async fn an_erasure_that_was_cut_off_goes_on_where_it_was() {
    let world = world().await;
    let records: Vec<_> = (0..3).map(|number| record(&format!("hers-{number}"))).collect();
    world.store_blobs(&[world.publish_records(&records)]).await;
    world.cosmos.fail(CosmosFault::lasting(CosmosFaultKind::status(403)));
    let error = erase(&world).await.unwrap_err();
    assert!(format!("{error:#}").contains("does not let you remove"), "{error:#}");
    world.cosmos.clear_faults();
    assert_eq!((world.ids().await.len(), erased_lines(&world, "erased.ndjson").await.len()), (3, 3));
    // What is noted is not stored again, whether it was removed yet or not.
    assert_eq!(counts(&world.store_blobs(&[world.publish_records(&records)]).await), [3, 0, 0, 3]);

    assert_eq!(erase(&world).await.unwrap(), Erased { documents: 3 });
    assert_eq!(world.ids().await, Vec::<String>::new());
    assert_eq!(counts(&world.store_blobs(&[world.publish_records(&records)]).await), [3, 0, 0, 3]);
    let events: Vec<_> = erased_lines(&world, "erasures.ndjson").await.iter().map(|line| line["event"].clone()).collect();
    assert_eq!(events, ["begun", "begun", "done"], "the one that was cut off is seen to be");
}

#[tokio::test]
async fn a_line_that_a_person_added_by_hand_is_honoured_too() {
    let world = world().await;
    world.storage.create_container(&world.container).await.unwrap();
    let text = format!("{:x}\n", Sha256::digest("hers"));
    world.storage.write_blob(&world.container, "erased.ndjson", &text).await.unwrap();
    let line = world.store_blobs(&[world.publish_records(&[record("hers"), of_another("his")])]).await;
    assert_eq!(counts(&line), [2, 1, 0, 1]);
    // Its file is a block blob now: what a command adds goes on in the next, and both hold.
    world.store_blobs(&[world.publish_records(&[record("hers-2")])]).await;
    erase(&world).await.unwrap();
    assert_eq!(erased_lines(&world, "erased-2.ndjson").await.len(), 1);
    let line = world.store_blobs(&[world.publish_records(&[record("hers"), record("hers-2")])]).await;
    assert_eq!(counts(&line), [2, 0, 0, 2]);
}

/// Taken out: were the documents stored all the same, what was erased would come back as soon as storage is slow.
#[tokio::test]
async fn nothing_is_stored_while_nobody_knows_what_was_erased() {
    let world = Setting::default().wired().start().await;
    let blob = world.publish_records(&[record("hers")]);
    world.wire().spoil(At::Erased, 0, usize::MAX, What::Refused);
    let (invocation, _) = world.store(&world.message(std::slice::from_ref(&blob))).await;
    assert!(!invocation.outcome.is_success(), "{invocation:?}");
    assert_eq!(world.ids().await, Vec::<String>::new());
    world.wire().mend();
    assert_eq!(world.store_blobs(&[blob]).await["documents"], json!(1));
}

/// Its id is the digest of what it says.
#[tokio::test]
async fn a_record_without_an_id_is_erased_too() {
    let world = world().await;
    let anonymous = || {
        let mut record: Value = serde_json::from_str(&record_with("x", json!({"CreationTime": "2026-11-20T10:00:00"}))).unwrap();
        record.as_object_mut().unwrap().remove("Id");
        record.to_string()
    };
    world.store_blobs(&[world.publish_records(&[anonymous()])]).await;
    assert_eq!(erase(&world).await.unwrap(), Erased { documents: 1 });
    assert_eq!(counts(&world.store_blobs(&[world.publish_records(&[anonymous()])]).await), [1, 0, 0, 1]);
    assert_eq!(world.ids().await, Vec::<String>::new());
}
