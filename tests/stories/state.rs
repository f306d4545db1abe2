//! What is remembered between runs, where a person or an accident had a hand in it.

use chrono::TimeDelta;
use serde_json::{Value, json};
use standins::tenant::NewBlob;

use crate::world::{EXCHANGE, SHAREPOINT, Setting, reason, record};

#[tokio::test]
async fn a_checkpoint_that_cannot_be_believed_stops_its_workload_alone_and_stays_as_it_is() {
    let world = Setting::default().with("WORKLOADS", "Audit.Exchange,Audit.SharePoint").start().await;
    world.publish(90, &["a"]);
    let ahead = (world.tenant.now() + TimeDelta::minutes(10)).format("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let texts = ["", "yesterday", "2026-11-20", "2026-13-41T10:00:00Z", "{\"at\":\"2026-11-20T10:00:00Z\"}", ahead.as_str()];
    for (number, text) in texts.into_iter().enumerate() {
        world.write_checkpoint(EXCHANGE, text).await;
        let other = NewBlob::new(SHAREPOINT, world.ago(30), vec![record(&format!("s{number}"))]);
        world.tenant.publish(other);
        let tick = world.tick().await;
        assert!(reason(&tick.invocation).contains("500"), "{text:?}");

        let error = world.lines().into_iter().rfind(|line| line["level"] == "ERROR").expect("an error is logged");
        let said = error["error"].as_str().unwrap();
        assert!(said.contains("Audit.Exchange.log") && said.contains(&format!("{text:?}")), "{said}");
        assert!(said.contains(if text == ahead { "in the future" } else { "no UTC time" }), "{said}");
        assert!(!said.contains(SHAREPOINT), "{said}");
        assert_eq!(world.checkpoint(EXCHANGE).await.as_deref(), Some(text), "it is overwritten");
        let exchange = tick.exchange();
        assert_eq!((&exchange["outcome"], &exchange["queued"], &exchange["checkpoint_after"]), (&json!("failed"), &json!(0), &Value::Null));
        let sharepoint = tick.of(SHAREPOINT);
        assert_eq!((&sharepoint["outcome"], &sharepoint["queued"]), (&json!("complete"), &json!(1)), "{text:?}: {sharepoint}");
        assert_eq!(sharepoint["checkpoint_after"], json!(world.checkpoint(SHAREPOINT).await));
    }
    let corrected = (world.tenant.now() - TimeDelta::hours(2)).format("%Y-%m-%dT%H:%M:%S").to_string();
    world.write_checkpoint(EXCHANGE, &format!("\u{feff}{corrected}Z\r\n")).await;
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success());
    assert_eq!(tick.exchange()["checkpoint_before"], json!(format!("{corrected}.000Z")));
    assert_eq!(tick.exchange()["queued"], json!(1));
}

/// Taken out: were a blob that a person uploaded appended to, each append would be refused for good: messages would go to the
/// poison queue, and the workload would list seven days at each tick.
#[tokio::test]
async fn a_journal_that_a_person_edited_and_uploaded_goes_on_in_its_next_part() {
    let world = Setting::default().start().await;
    let at = world.ago(3);
    let publish = |id: &str| world.tenant.publish(NewBlob::new(EXCHANGE, at, vec![record(id)]));
    let first = publish("a");
    world.tick().await;
    world.store_all().await;
    let hour = at.format("%Y-%m-%dT%H");
    let name = |part: &str| format!("journal/{EXCHANGE}/{hour}{part}.ndjson");
    for part in ["", "-2"] {
        let text = world.storage.read_blob(&world.container, &name(part)).await.unwrap().unwrap();
        world.storage.write_blob(&world.container, &name(part), &text).await.unwrap();
        let more = publish(&format!("b{part}"));
        assert_eq!(world.tick().await.exchange()["queued"], json!(1), "{part}: {}", world.logged("ERROR"));
        let summary = world.store_all().await;
        assert_eq!((summary.succeeded(), summary.failed(), summary.poisoned), (1, 0, 0), "{part}: {}", world.logged("WARN"));
        assert!(world.journalled("stored").await.iter().any(|line| line["id"] == json!(more)), "{part}");
        let warned = world.logged("WARN");
        assert_eq!(warned.matches(&name(part)).count(), 1, "said once: {warned}");
    }
    assert!(world.storage.read_blob(&world.container, &name("-3")).await.unwrap().is_some());

    // What all the parts say together counts.
    world.host.restart().await;
    world.travel(TimeDelta::hours(2));
    let tick = world.tick().await;
    assert_eq!((&tick.exchange()["listed"], &tick.exchange()["queued"]), (&json!(3), &json!(0)), "{}", tick.line);
    assert!(world.journalled("stored").await.iter().any(|line| line["id"] == json!(first)));
}

/// Taken out: the same of the gaps: the workload would fail at every tick until somebody deletes the blob.
#[tokio::test]
async fn gaps_that_a_person_edited_and_uploaded_go_on_in_their_next_part() {
    let world = Setting::default().start().await;
    let write = || async { world.write_checkpoint(EXCHANGE, &world.ago(9 * 24 * 60).to_rfc3339()).await };
    write().await;
    world.tick().await;
    let text = world.storage.read_blob(&world.container, "gaps.ndjson").await.unwrap().unwrap();
    world.storage.write_blob(&world.container, "gaps.ndjson", &text).await.unwrap();
    write().await;
    let tick = world.tick().await;
    assert!(tick.invocation.outcome.is_success(), "{}", world.logged("ERROR"));
    assert_eq!(world.storage.read_blob(&world.container, "gaps-2.ndjson").await.unwrap().unwrap().lines().count(), 1);
    let typed = world.type_command(&["status"]).await;
    assert_eq!(typed.stdout.matches("gap: what became available from").count(), 2, "{}", typed.stdout);
}
