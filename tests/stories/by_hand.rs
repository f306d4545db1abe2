//! What a person may do to the state container, as the page about it says: rewind, collect a day again, start afresh.

use chrono::{SubsecRound, TimeDelta};
use serde_json::json;
use standins::tenant::Operation;

use crate::world::{EXCHANGE, World, world};

/// A world that has collected three blobs of three hours.
async fn collected() -> World {
    let world = world().await;
    for (hours, id) in [(30, "a"), (20, "b"), (1, "c")] {
        world.publish(hours * 60, &[id]);
    }
    world.tick().await;
    world.store_all().await;
    assert_eq!(world.ids().await, ["a", "b", "c"]);
    world.tenant.clear_calls();
    world
}

#[tokio::test]
async fn a_rewound_checkpoint_lists_again_and_fetches_nothing_that_is_stored() {
    let world = collected().await;
    let back = (world.tenant.now() - TimeDelta::hours(48)).trunc_subsecs(0).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    world.write_checkpoint(EXCHANGE, &back).await;
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["listed"], &tick.exchange()["queued"]), (&json!(3), &json!(0)), "{}", tick.line);
    assert_eq!(tick.exchange()["checkpoint_before"], json!(back.replace('Z', ".000Z")));
    assert!(world.checkpoint(EXCHANGE).await.unwrap() > back, "the checkpoint goes on from there");
    assert!(world.calls(Operation::FetchContent).is_empty());
}

#[tokio::test]
async fn a_day_without_its_journal_is_collected_again_and_documents_stay_as_they_are() {
    let world = collected().await;
    let before = world.documents().await;
    let day = world.ago(20 * 60);
    let hour = format!("journal/{EXCHANGE}/{}.ndjson", day.format("%Y-%m-%dT%H"));
    assert!(world.storage.list_blobs(&world.container).await.unwrap().contains(&hour));
    world.storage.delete_blob(&world.container, &hour).await.unwrap();
    world.write_checkpoint(EXCHANGE, &day.format("%Y-%m-%dT00:00:00Z").to_string()).await;

    let tick = world.tick().await;
    assert_eq!(tick.exchange()["queued"], json!(1), "{}", tick.line);
    let summary = world.store_all().await;
    let line = world.line_of(&summary.invocations[0]).await;
    assert_eq!((&line["stored"], &line["documents"], &line["duplicates"]), (&json!(1), &json!(0), &json!(1)), "{line}");
    assert_eq!(world.documents().await, before);
}

#[tokio::test]
async fn an_emptied_container_is_a_first_start() {
    let world = collected().await;
    let before = world.documents().await;
    for name in world.storage.list_blobs(&world.container).await.unwrap() {
        world.storage.delete_blob(&world.container, &name).await.unwrap();
    }
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["checkpoint_before"], &tick.exchange()["queued"]), (&json!(null), &json!(3)), "{}", tick.line);
    world.store_all().await;
    assert_eq!(world.documents().await, before);
    assert_eq!(world.journalled("stored").await.len(), 3);
}

#[tokio::test]
async fn what_the_container_holds_is_what_the_page_about_it_shows() {
    let world = collected().await;
    let names = world.storage.list_blobs(&world.container).await.unwrap();
    let expected = ["Audit.Exchange.log", "subscriptions.json"];
    assert_eq!(names.iter().filter(|name| !name.starts_with("journal/")).collect::<Vec<_>>(), expected);
    assert_eq!(names.len(), 5, "{names:?}");
    let metadata = world.storage.metadata(&world.container, "Audit.Exchange.log").await.unwrap();
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["deepsweep", "notbefore", "sweep"]);
    let size: usize = world.journal(EXCHANGE).await.iter().map(|line| line.to_string().len() + 1).sum();
    assert!(size < 3 * 600, "a content blob takes {} bytes of journal", size / 3);
}
