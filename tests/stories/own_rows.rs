//! Rows for the table of edges that an administrator puts into the state container.

use serde_json::json;
use standins::azurite::Storage;
use uuid::Uuid;

use crate::world::{Setting, azurite, record_with};

#[tokio::test]
async fn rows_of_the_state_container_make_edges_and_a_bad_one_is_told_and_costs_no_other() {
    let (storage, container) = (Storage::new(azurite()).unwrap(), format!("state-{}", Uuid::new_v4()));
    storage.create_container(&container).await.unwrap();
    let rows =
        "[[edge]]\nname = \"printer\"\nto = { object = \"Printer.Name\" }\n[[edge]]\nname = \"odd\"\nto = { moon = \"Printer.Name\" }\n";
    storage.write_blob(&container, "edges/mine.toml", rows).await.unwrap();
    storage.write_blob(&container, "edges/torn.toml", "[[edge").await.unwrap();

    let world = Setting::default().with("STATE_CONTAINER", &container).start().await;
    world.until(|world| world.logged("INFO").contains("the table of edges has the rows of the state container")).await;
    let told = world.logged("WARN");
    assert!(told.contains("edges/torn.toml") && told.contains("odd") && told.contains("moon"), "{told}");

    let record = record_with("one", json!({"Printer": {"Name": "Lobby"}}));
    world.store_blobs(&[world.publish_records(&[record])]).await;
    let document = world.documents().await.remove("one").unwrap();
    assert!(document["edges"].as_array().unwrap().iter().any(|edge| edge["to"] == "Lobby" && edge["toType"] == "object"), "{document}");
}
